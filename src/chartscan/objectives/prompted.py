"""Multitask prompted fine-tuning: answers are read from task tokens' states.

All tasks share one head; which task is meant the model knows from the token alone, so that a new task needs
only a new token (Fallahpour et al. 2024, sec. 3.4).
"""

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chartscan.batch import Batch, Loss, SequenceModel
from chartscan.errors import ConfigError


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The head's dropout."""

    dropout: float = 0.1  # before each layer

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"head.dropout is {self.dropout}; expected 0 <= dropout < 1.")


def make(model: SequenceModel, n_tasks: int, config: Config | None) -> "Prompted":
    """The head of `model` for `n_tasks` tasks."""
    return Prompted(model.width, n_tasks, (config or Config()).dropout)


class Prompted(nn.Module):
    """RMSNorm, dropout, Linear, SiLU, dropout, Linear to one logit, and the binary cross-entropy.

    The released head, with the norm that the last block's output needs (there it belongs to the model) and
    one logit in place of two. `n_tasks` sets the size of a bias a task, its base rate, as the first guess.
    """

    def __init__(self, width: int, n_tasks: int, dropout: float = 0.1):
        super().__init__()
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.head = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(width, width), nn.SiLU(), nn.Dropout(dropout), nn.Linear(width, 1)
        )
        self.task_bias = nn.Parameter(torch.zeros(n_tasks))

    def forward(self, hidden: Tensor, tasks: Tensor) -> Tensor:
        """Logits (P,) from the task tokens' hidden states (P, D) and the tasks' indices (P,)."""
        return self.head(self.norm(hidden)).squeeze(1).float() + self.task_bias[tasks]

    @torch.no_grad()
    def start_at(self, rates: Tensor) -> None:
        """Set the head's first predictions to the base rates (T,), between 0 and 1."""
        self.task_bias.copy_(torch.logit(rates.double()))

    def predict(self, model: SequenceModel, batch: Batch) -> Tensor:
        """Logits (P,) of the batch's prompts."""
        assert batch.prompts is not None
        return self(model.prompted(batch), batch.prompts.tasks)

    def loss(self, model: SequenceModel, batch: Batch) -> Loss:
        """Loss over the prompts whose answer is known."""
        assert batch.prompts is not None
        logits, labels = self.predict(model, batch), batch.prompts.labels
        known = ~labels.isnan()
        total = F.binary_cross_entropy_with_logits(logits[known], labels[known], reduction="sum")
        count = int(known.sum())
        return Loss(total, count, count)
