"""Fine-tuning of series models: one log odds a task from the representation of a stay.

Optionally many members share the weights of the head and differ in scalings (BatchEnsemble; Wen et al. 2020,
arXiv:2002.06715; TabM, Gorishniy et al. 2024, arXiv:2410.24210): an ensemble for the price of one network.
"""

import math

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chartscan.batch import Loss, SeriesBatch, SeriesModel
from chartscan.errors import ConfigError
from chartscan.kernels import linear


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The head's hidden layer and its members."""

    hidden: int = 64  # units; 0 for a linear head
    dropout: float = 0.2  # before each layer
    members: int = 1  # more than 1: that many heads of shared weights

    def __post_init__(self) -> None:
        if self.hidden < 0:
            raise ConfigError(f"head.hidden is {self.hidden}; expected at least 0.")
        if self.members < 1:
            raise ConfigError(f"head.members is {self.members}; expected at least 1.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"head.dropout is {self.dropout}; expected 0 <= dropout < 1.")


def make(model: SeriesModel, n_tasks: int, config: Config) -> "Classification":
    """The head of `model` for `n_tasks` tasks."""
    return Classification(model.width, n_tasks, config)


class MemberLinear(nn.Module):
    """A linear layer shared by M members: (B, M, in) -> (B, M, out).

    s_m * (W (r_m * x)) + b_m for each of M members; W x + b for one. The members' inputs start with random
    signs where `first`, else with ones: else they would stay equal.
    """

    def __init__(self, n_in: int, n_out: int, members: int, first: bool):
        super().__init__()
        bound = 1 / math.sqrt(n_in)
        self.weight = nn.Parameter(torch.empty(n_out, n_in).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, n_out).uniform_(-bound, bound))
        self.scale_in: nn.Parameter | None = None
        self.scale_out: nn.Parameter | None = None
        if members > 1:
            signs = torch.randint(0, 2, (members, n_in)) * 2.0 - 1
            self.scale_in = nn.Parameter(signs if first else torch.ones(members, n_in))
            self.scale_out = nn.Parameter(torch.ones(members, n_out))

    def forward(self, x: Tensor) -> Tensor:
        if self.scale_in is None or self.scale_out is None:
            return linear(x, self.weight) + self.bias
        return linear(x * self.scale_in, self.weight) * self.scale_out + self.bias


class Classification(nn.Module):
    """Dropout, linear, SiLU, dropout, linear to a logit a task, and the binary cross-entropy."""

    def __init__(self, width: int, n_tasks: int, config: Config | None = None):
        super().__init__()
        self.config = c = config or Config()
        self.hidden = MemberLinear(width, c.hidden, c.members, first=True) if c.hidden else None
        self.last = MemberLinear(c.hidden or width, n_tasks, c.members, first=not c.hidden)
        self.dropout = nn.Dropout(c.dropout)

    def forward(self, representation: Tensor) -> Tensor:
        """Logits (B, T) of the members' mean probability, from representations (B, width)."""
        logits = self.member_logits(representation)
        if self.config.members == 1:
            return logits.squeeze(1)
        return F.logsigmoid(logits).logsumexp(1) - F.logsigmoid(-logits).logsumexp(1)

    def member_logits(self, representation: Tensor) -> Tensor:
        """Logits (B, M, T) of each member."""
        x = representation.unsqueeze(1).expand(-1, self.config.members, -1)
        if self.hidden is not None:
            x = F.silu(self.hidden(self.dropout(x)))
        logits: Tensor = self.last(self.dropout(x))
        return logits.float()

    @torch.no_grad()
    def start_at(self, rates: Tensor) -> None:
        """Makes the base rates (T,), within 0 and 1, the first guess for any representation.

        The last layer's weights become zero and its biases the rates' log odds.
        """
        self.last.weight.zero_()
        self.last.bias.copy_(torch.logit(rates.float()).expand_as(self.last.bias))

    def predict(self, model: SeriesModel, batch: SeriesBatch) -> Tensor:
        """Logits (B, T) of the batch's stays."""
        return self(model(batch))

    def loss(self, model: SeriesModel, batch: SeriesBatch) -> Loss:
        """Loss over the known labels; each is the mean of the members' losses."""
        logits = self.member_logits(model(batch)).transpose(1, 2)  # (B, T, M)
        known = ~batch.labels.isnan()
        labels = batch.labels[known].unsqueeze(1)  # (known, 1)
        chosen = logits[known]
        losses = F.binary_cross_entropy_with_logits(chosen, labels.expand_as(chosen), reduction="none")
        count = int(known.sum())
        return Loss(losses.mean(1).sum(), count, count)
