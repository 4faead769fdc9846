"""The models of `bench step` and `bench train`: ours, and what they are fed."""

import torch
from torch import Tensor, nn

from chartscan.batch import Batch
from chartscan.kernels import Backend
from chartscan.layers.mamba import MambaBlock
from chartscan.models.ehrmamba import Config, Model
from chartscan.objectives.next_event import NextEvent


def config_of(width: int, layers: int, backend: Backend = "auto") -> Config:
    """The size that all models of a bench share; no dropout, so that they can be compared."""
    return Config(d_model=width, n_layers=layers, dropout=0.0, backend=backend)


class TokenModel(nn.Module):
    """Mamba blocks over a plain table of codes: EHRMamba without what it knows of an event beside its code.

    This is what a language model of the same size computes, and so what can be compared with one. The head
    shares its weights with the table. It meets as much of batch.SequenceModel as NextEvent needs.
    """

    def __init__(self, config: Config, vocab_size: int):
        super().__init__()
        self.width = config.d_model
        self.codes = nn.Embedding(vocab_size, self.width)
        nn.init.normal_(self.codes.weight, std=0.1)
        whole = Model(config, 2)  # its blocks, initialised as there
        self.blocks = whole.blocks
        self.objective = NextEvent(self.width, vocab_size, self.codes)

    def forward(self, batch: Batch) -> Tensor:
        """Hidden states (B, L, D) after the last block, not normed."""
        hidden: Tensor = self.blocks(self.codes(batch.codes), batch.lengths)
        return hidden

    def logits(self, batch: Batch) -> Tensor:
        """Of the next token after every position, (B, L, V)."""
        return self.objective(self(batch))

    def loss(self, batch: Batch) -> Tensor:
        """Mean over the predicted tokens."""
        found = self.objective.loss(self, batch)  # type: ignore[arg-type]
        return found.total / found.weight


class WholeModel(nn.Module):
    """EHRMamba as it is trained: the embedding of events, and a head of its own."""

    def __init__(self, config: Config, vocab_size: int):
        super().__init__()
        self.model, self.objective = Model(config, vocab_size), NextEvent(config.d_model, vocab_size)

    def logits(self, batch: Batch) -> Tensor:
        """Of the next token after every position, (B, L, V)."""
        return self.objective(self.model(batch))

    def loss(self, batch: Batch) -> Tensor:
        """Mean over the predicted tokens."""
        found = self.objective.loss(self.model, batch)
        return found.total / found.weight


def blocks_of(model: TokenModel | Model) -> list[MambaBlock]:
    return [block for block in model.blocks if isinstance(block, MambaBlock)]


def random_batch(rows: int, length: int, vocab_size: int, config: Config, seed: int = 0) -> Batch:
    """Rows of random tokens without padding."""
    g = torch.Generator().manual_seed(seed)
    shape = (rows, length)

    def integers(high: int) -> Tensor:
        return torch.randint(1, high, shape, generator=g)

    gaps = torch.rand(shape, generator=g)
    return Batch(
        codes=integers(vocab_size),
        types=integers(config.n_types),
        ages=torch.full(shape, 60.0),
        times=gaps.cumsum(1),
        gaps=gaps,
        segments=integers(3),
        visit_orders=integers(config.max_visits),
        positions=torch.arange(length).repeat(rows, 1),
        attributed=torch.ones(shape, dtype=torch.bool),
        lengths=torch.full((rows,), length),
    )
