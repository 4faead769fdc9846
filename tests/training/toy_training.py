"""A training small enough to be run a hundred times, with everything on that makes resuming hard."""

import hashlib
import json
from pathlib import Path

import torch
from torch import nn

from chartscan.batch import Loss
from chartscan.training import FitResult, TrainConfig, fit

VOCABULARY = 20
CONFIG = TrainConfig(
    learning_rate=0.3,
    accumulate=3,
    epochs=6,
    evaluate_every=3,
    patience=2,
    average_decay=0.9,
    checkpoint_every_steps=4,
    checkpoint_every_seconds=None,
)


class Toy(nn.Sequential):
    """A bigram network; called on tokens (B, L), it returns the summed cross-entropy of each next token."""

    def forward(self, tokens: torch.Tensor) -> Loss:
        logits = self.logits(tokens[:, :-1]).flatten(0, 1)
        total = nn.functional.cross_entropy(logits, tokens[:, 1:].flatten(), reduction="sum")
        return Loss(total, float(tokens[:, 1:].numel()), tokens[:, 1:].numel())

    def logits(self, tokens: torch.Tensor) -> torch.Tensor:
        """Of the next token after each of `tokens`."""
        for layer in self:
            tokens = layer(tokens)
        return tokens


def toy_model(dropout: float = 0.3) -> Toy:
    """A seeded bigram network with dropout."""
    torch.manual_seed(7)
    return Toy(nn.Embedding(VOCABULARY, 8), nn.Dropout(dropout), nn.LayerNorm(8), nn.Linear(8, VOCABULARY))


class ToyBatches:
    """Seeded random tokens; rows and lengths differ from batch to batch, so that token counts do too."""

    def __init__(self, n: int = 11):
        self.n = n

    def n_batches(self, epoch: int) -> int:
        return self.n + epoch % 2

    def batch(self, epoch: int, index: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(1000 * epoch + index)
        steps = torch.randint(1, 4, (2 + index % 3, 5 + index % 4), generator=generator)
        return steps.cumsum(1) % VOCABULARY


def toy_evaluation(module: nn.Module) -> dict[str, float]:
    """Mean loss on tokens of its own; draws random numbers, which must not disturb the training."""
    torch.rand(3)
    total, n, _ = module(ToyBatches().batch(99, 0))
    return {"loss": float(total) / n, "tokens": n}


def toy_fit(
    folder: Path, *, resume: bool = False, config: TrainConfig = CONFIG, data=None, **rest
) -> FitResult:
    """One run of it all."""
    module = rest.pop("module", None) or toy_model()
    evaluate = rest.pop("evaluate", toy_evaluation)
    result = fit(
        module,
        data or ToyBatches(),
        config,
        folder=folder,
        evaluate=evaluate,
        resume=resume,
        **rest,
    )
    if not result.interrupted:
        digest = hashlib.sha256(b"".join(t.numpy().tobytes() for t in module.state_dict().values()))
        (folder / "final").write_text(digest.hexdigest())
    return result


def trace(folder: Path) -> dict:
    """Everything a run computed, to the last bit, without the wall-clock."""
    losses = [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]
    evaluations = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]
    return {
        "losses": [{k: v for k, v in row.items() if k != "seconds"} for row in losses],
        "evaluations": evaluations,
        "final weights": (folder / "final").read_text(),
    }
