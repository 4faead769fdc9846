"""Several readouts of one representation, each trained with a loss of its own.

Two read the carried state, one wide and nearly linear, one a small network; a third reads the sequence. Their
log odds are averaged. Trained with one loss they would share their mistakes; apart they make different
ones. Beside them the sequence is trained to forecast every variable: a dense forecast in place of the paper's
pretraining.
"""

import math
from typing import Any

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chartscan.batch import Loss, SeriesBatch
from chartscan.errors import check_settings
from chartscan.kernels import linear
from chartscan.objectives.classification import MemberLinear


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How readouts are built, trained and averaged; weight 0 removes one (ablation)."""

    wide_weight: float = 0.4  # of its log odds in the mean
    network_weight: float = 0.4
    sequence_weight: float = 0.2
    wide_hidden: int = 64  # units beside the wide readout's linear map
    wide_l2: float = 0.05  # times the squared weights of the linear map, beside each label's loss
    wide_hidden_l2: float = 0.01
    hidden: int = 64  # units of the network's two layers
    members: int = 8  # networks of shared weights
    network_l2: float = 1e-3
    input_dropout: float = 0.1  # of what the network reads
    hidden_dropout: float = 0.5
    sequence_hidden: int = 64  # units between the pooled sequence and its log odds
    forecast_weight: float = 0.3  # of the forecasting loss; 0: none
    forecast_hours: int = 2
    earlier: float = 0.5  # share of batches whose state is read at an earlier hour, in the later half

    def __post_init__(self) -> None:
        shares = (self.input_dropout, self.hidden_dropout, self.earlier)
        weights = (self.wide_weight, self.network_weight, self.sequence_weight)
        penalties = (self.wide_l2, self.wide_hidden_l2, self.network_l2, self.forecast_weight)
        sizes = (self.wide_hidden, self.hidden, self.members, self.sequence_hidden, self.forecast_hours)
        sound = {
            "the weights of the readouts": min(weights) >= 0 and sum(weights) > 0,
            "wide_l2, wide_hidden_l2, network_l2, forecast_weight": min(penalties) >= 0,
            "wide_hidden, hidden, members, sequence_hidden, forecast_hours": min(sizes) >= 1,
            "input_dropout, hidden_dropout, earlier": all(0 <= share < 1 for share in shares),
        }
        check_settings(sound, "head settings")


def make(model: Any, n_tasks: int, config: Config) -> "Readouts":
    """The head of `model` for `n_tasks` tasks."""
    return Readouts(model, n_tasks, config)


class Network(nn.Module):
    """(B, width) -> logits (B, M, T); the first layer is shared, scaled per member."""

    def __init__(self, width: int, n_tasks: int, config: Config):
        super().__init__()
        c = config
        self.first = nn.Linear(width, c.hidden)
        self.scale = nn.Parameter(1 + 0.5 * torch.randn(c.members, c.hidden))
        self.shift = nn.Parameter(torch.zeros(c.members, c.hidden))
        self.second = MemberLinear(c.hidden, c.hidden, c.members, first=False)
        self.last = nn.Parameter(torch.randn(c.members, c.hidden, n_tasks) / math.sqrt(c.hidden))
        self.bias = nn.Parameter(torch.zeros(c.members, n_tasks))
        self.input_dropout, self.hidden_dropout = nn.Dropout(c.input_dropout), nn.Dropout(c.hidden_dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = linear(self.input_dropout(x), self.first.weight, self.first.bias).unsqueeze(1)
        x = self.hidden_dropout(F.relu(x * self.scale + self.shift))
        x = self.hidden_dropout(F.relu(self.second(x)))
        return torch.einsum("bmh,mht->bmt", x, self.last) + self.bias

    def penalty(self) -> Tensor:
        """Squared weights of the matrices."""
        return self.first.weight.square().sum() + self.second.weight.square().sum() + self.last.square().sum()


class Wide(nn.Module):
    """(B, width) -> logits (B, 1, T): linear plus one hidden layer, both penalised."""

    def __init__(self, width: int, n_tasks: int, config: Config):
        super().__init__()
        self.config = config
        self.direct = nn.Linear(width, n_tasks, bias=False)
        self.hidden = nn.Linear(width, config.wide_hidden)
        self.last = nn.Linear(config.wide_hidden, n_tasks)
        self.dropout = nn.Dropout(config.hidden_dropout)
        nn.init.zeros_(self.direct.weight)
        nn.init.normal_(self.hidden.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.dropout(F.relu(linear(x, self.hidden.weight, self.hidden.bias)))
        return (linear(x, self.direct.weight) + self.last(hidden)).unsqueeze(1)

    def penalty(self) -> Tensor:
        """The squared weights, each with its price."""
        direct, hidden = self.direct.weight.square().sum(), self.hidden.weight.square().sum()
        return self.config.wide_l2 * direct + self.config.wide_hidden_l2 * hidden


class Readouts(nn.Module):
    """The readouts and the forecast of a model with `widths`, `hidden`, `state_at` and `sequence_at`."""

    def __init__(self, model: Any, n_tasks: int, config: Config | None = None):
        super().__init__()
        self.config = c = config or Config()
        self.widths, channels = dict(model.widths), model.config.channels
        self.last_channel, self.observed_channel = channels.index("last"), channels.index("observed")
        self.base = nn.Parameter(torch.zeros(n_tasks))
        self.wide = Wide(self.widths["bins"], n_tasks, c) if c.wide_weight else None
        self.network = Network(self.widths["scores"], n_tasks, c) if c.network_weight else None
        self.sequence = _sequence_readout(self.widths["sequence"], n_tasks, c) if c.sequence_weight else None
        width = model.config.d_model
        forecasts = c.forecast_weight and c.sequence_weight
        self.forecast = nn.Linear(width, 2 * model.n_variables) if forecasts else None

    def forward(self, representation: Tensor) -> Tensor:
        """Logits (B, T): the weighted mean of the readouts' log odds."""
        c = self.config
        weights = {"wide": c.wide_weight, "network": c.network_weight, "sequence": c.sequence_weight}
        found = self.readouts(representation)
        total = sum(weights[name] for name in found)
        return torch.stack([weights[name] / total * _mean_logit(one) for name, one in found.items()]).sum(0)

    def readouts(self, representation: Tensor) -> dict[str, Tensor]:
        """Logits (B, M, T) of the members of each readout there is."""
        bins, scores, sequence = representation.split(list(self.widths.values()), 1)
        found = {}
        if self.wide is not None:
            found["wide"] = self.wide(bins)
        if self.network is not None:
            found["network"] = self.network(scores)
        if self.sequence is not None:
            found["sequence"] = self.sequence(sequence).unsqueeze(1)
        return {name: logits.float() + self.base for name, logits in found.items()}

    @torch.no_grad()
    def start_at(self, rates: Tensor) -> None:
        """Set every readout's first predictions to the base rates (T,), between 0 and 1."""
        self.base.copy_(torch.logit(rates.float()))

    def predict(self, model: Any, batch: SeriesBatch) -> Tensor:
        """Logits (B, T) of the batch's stays."""
        return self(model(batch))

    def loss(self, model: Any, batch: SeriesBatch) -> Loss:
        """Return the loss over known labels; in training also penalties and the forecast."""
        c = self.config
        assert batch.steps is not None
        hidden = model.hidden(batch)
        state = model.state_at(batch, self._asked(batch.steps) if self.training else batch.steps)
        found = self.readouts(torch.cat([state, model.sequence_at(batch, hidden, batch.steps)], 1))
        known = ~batch.labels.isnan()
        labels, count = batch.labels[known].unsqueeze(1), int(known.sum())
        total = hidden.new_zeros(())
        for logits in found.values():
            chosen = logits.transpose(1, 2)[known]  # (known, M)
            losses = F.binary_cross_entropy_with_logits(chosen, labels.expand_as(chosen), reduction="none")
            total = total + losses.mean(1).sum()
        if self.training:
            total = total + count * self._penalty()
            if self.forecast is not None:
                total = total + count * c.forecast_weight * self.forecast_loss(hidden, batch)
        return Loss(total, count, count)

    def forecast_loss(self, hidden: Tensor, batch: SeriesBatch) -> Tensor:
        """Return the squared error of the next hours, and cross-entropy of presence."""
        assert self.forecast is not None
        assert batch.carried is not None
        assert batch.steps is not None
        ahead = self.config.forecast_hours
        if hidden.shape[1] <= ahead:
            return hidden.new_zeros(())
        values, logits = linear(hidden[:, :-ahead], self.forecast.weight, self.forecast.bias).chunk(2, 2)
        observed = batch.carried[..., self.observed_channel]
        observed = observed[:, 1:].unfold(1, ahead, 1).amax(3)  # (B, H - ahead, V): in any of the next hours
        later = batch.carried[:, ahead:, :, self.last_channel]
        real = torch.arange(ahead, hidden.shape[1], device=hidden.device) < batch.steps.unsqueeze(1)
        real = real.unsqueeze(2).expand_as(values).float()
        foreseen = real * observed
        squared = ((values - later).square() * foreseen).sum() / foreseen.sum().clamp(min=1)
        entropy = F.binary_cross_entropy_with_logits(logits, observed, reduction="none")
        return squared + (entropy * real).sum() / real.sum().clamp(min=1)

    def _asked(self, steps: Tensor) -> Tensor:
        """The steps after which each row is asked: its last, or in some batches one of its later half."""
        if torch.rand(()) >= self.config.earlier:
            return steps
        share = 0.5 + 0.5 * torch.rand(()).item()
        return (steps * share).ceil().long().clamp(min=1)

    def _penalty(self) -> Tensor:
        total = self.base.new_zeros(())
        if self.wide is not None:
            total = total + self.wide.penalty()
        if self.network is not None:
            total = total + self.config.network_l2 * self.network.penalty()
        return total


def _sequence_readout(width: int, n_tasks: int, config: Config) -> nn.Sequential:
    hidden = nn.Linear(width, config.sequence_hidden)
    return nn.Sequential(
        hidden, nn.ReLU(), nn.Dropout(config.hidden_dropout), nn.Linear(config.sequence_hidden, n_tasks)
    )


def _mean_logit(logits: Tensor) -> Tensor:
    """The log odds (B, T) of the mean probability of the members' (B, M, T)."""
    return F.logsigmoid(logits).logsumexp(1) - F.logsigmoid(-logits).logsumexp(1)
