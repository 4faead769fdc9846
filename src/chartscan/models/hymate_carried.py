"""HyMaTE over the carried state: hourly known values, not raw triplets.

Departures from Mottalib et al. 2025 (arXiv:2509.24118), each because measurements asked for it (docs): the
events of an hour are summed into one step, value and time of each variable embedded by maps of its own (their
summation e_f + e_v + e_t, once an hour); what is carried of each variable is also read directly, the paper's
channel mixing; and everything is causal, so that the model goes on from hour to hour with `step`.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import msgspec
import torch
from torch import Tensor, nn

from chartscan.batch import Pretraining, SeriesBatch
from chartscan.errors import ConfigError, check_at_least_one
from chartscan.layers.attention import AttentionState, Dropout, SelfAttention
from chartscan.layers.mamba import Backend, BlockState, MambaBlock, MambaStack
from chartscan.layers.quantile_bins import QuantileBins, QuantileScores
from chartscan.models import check_dropout, check_heads

# What happened within the hour matters to the sequence alone; the rest is what is carried.
WITHIN_HOUR = ("observed", "count", "low", "high")
SEQUENCE = ("last", "hours_since", *WITHIN_HOUR)


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes; `channels` are the names of the carried state's channels, as inputs.hourly gives them."""

    channels: tuple[str, ...]
    bins: int = 6  # of each feature of the carried state
    d_model: int = 64
    n_layers: int = 1  # Mamba blocks; 0 leaves them out (ablation)
    n_attention: int = 1  # causal self-attention layers; 0 leaves them out (ablation)
    n_heads: int = 4
    d_state: int = 8
    d_conv: int = 4
    expand: int = 2
    dropout: float = 0.3  # of the embedding, the attention's branches and the pooled sequence
    window: int | None = 48  # latest hours that attention sees; None for all
    backend: Backend = "auto"  # of the scan: chartscan.kernels.choice

    def __post_init__(self) -> None:
        check_at_least_one(self, "bins", "d_model", "n_heads", "d_state", "d_conv", "expand")
        for name in ("n_layers", "n_attention"):
            if getattr(self, name) < 0:
                raise ConfigError(f"model.{name} is {getattr(self, name)}; expected at least 0.")
        missing = [name for name in ("ever", *SEQUENCE) if name not in self.channels]
        if missing:
            raise ConfigError(f"model.channels lacks {', '.join(missing)}; expected the carried state's.")
        check_heads(self.n_heads, self.d_model)
        check_dropout(self.dropout)


@dataclass(frozen=True)
class State:
    """What the model carries from one hour to the next, for R stays."""

    statics: Tensor  # (R, S)
    blocks: tuple[BlockState, ...]
    attention: tuple[AttentionState, ...]
    total: Tensor  # (R, D), of the hidden states so far
    highest: Tensor  # (R, D)
    steps: int

    def at(self, rows: Tensor) -> "State":
        """The states of `rows`, which may repeat."""
        return State(
            self.statics[rows],
            tuple(block.at(rows) for block in self.blocks),
            tuple(layer.at(rows) for layer in self.attention),
            self.total[rows],
            self.highest[rows],
            self.steps,
        )

    def detach(self) -> "State":
        return State(
            self.statics.detach(),
            tuple(block.detach() for block in self.blocks),
            tuple(layer.detach() for layer in self.attention),
            self.total.detach(),
            self.highest.detach(),
            self.steps,
        )


class Model(nn.Module):
    """Representation (B, width): the carried state in bins and as scores, then the pooled sequence.

    Each part ends with the statics; `widths` says how wide it is. `fit_inputs` must see the train stays
    before training.
    """

    INPUT: ClassVar[Literal["carried"]] = "carried"
    HEAD: ClassVar[str] = "readouts"
    PRETRAINING: ClassVar[Pretraining | None] = "masked_forecast"

    def __init__(self, config: Config, n_variables: int, n_statics: int):
        super().__init__()
        c = config
        self.config, self.n_variables = config, n_variables
        carried = [i for i, name in enumerate(c.channels) if name not in WITHIN_HOUR]
        self.carried, self.sequence = carried, [c.channels.index(name) for name in SEQUENCE]
        features = n_variables * len(carried)
        self.bins, self.scores = QuantileBins(features, c.bins), QuantileScores(features)
        self.widths = {
            "bins": (c.bins + 1) * features + n_statics,
            "scores": 2 * features + n_statics,
            "sequence": 3 * c.d_model + n_statics,
        }
        self.width = sum(self.widths.values())
        self.embedding = nn.Linear(n_variables * len(SEQUENCE) + n_statics, c.d_model)
        self.dropout = Dropout(c.dropout)
        rank = math.ceil(c.d_model / 16)
        self.blocks = MambaStack(
            MambaBlock(c.d_model, c.d_state, c.d_conv, c.expand, rank, c.backend) for _ in range(c.n_layers)
        )
        self.attention = nn.ModuleList(
            SelfAttention(c.d_model, c.n_heads, c.dropout, causal=True, window=c.window)
            for _ in range(c.n_attention)
        )
        self.norm = nn.RMSNorm(c.d_model, eps=1e-5)

    @torch.no_grad()
    def fit_inputs(self, carried: Tensor, labels: Tensor) -> None:
        """Fit knots and scales on train stays: final states (n, V, C), labels (n, T)."""
        features, seen = self._features(carried)
        self.bins.fit(features, seen)
        self.scores.fit(features, seen, labels)

    def forward(self, batch: SeriesBatch) -> Tensor:
        """The representation at each stay's last step."""
        assert batch.steps is not None
        sequence = self.sequence_at(batch, self.hidden(batch), batch.steps)
        return torch.cat([self.state_at(batch, batch.steps), sequence], 1)

    def hidden(self, batch: SeriesBatch) -> Tensor:
        """The sequence's hidden states (B, H, D); step h has seen steps 0..h of its row."""
        assert batch.carried is not None
        assert batch.steps is not None
        x = self._embedded(batch.carried, batch.statics)
        x = self.blocks(x, batch.steps) if len(self.blocks) else x
        for layer in self.attention:
            x = layer(x, batch.steps)
        return self.norm(x)

    def state_at(self, batch: SeriesBatch, steps: Tensor) -> Tensor:
        """What is carried after each row's first `steps` (B,) steps: bins and scores."""
        assert batch.carried is not None
        rows = torch.arange(len(steps), device=steps.device)
        return self._state(batch.carried[rows, steps - 1], batch.statics)

    def sequence_at(self, batch: SeriesBatch, hidden: Tensor, steps: Tensor) -> Tensor:
        """The hidden states of each row's first `steps` (B,) steps, pooled."""
        rows = torch.arange(len(steps), device=steps.device)
        inside = (torch.arange(hidden.shape[1], device=steps.device) < steps.unsqueeze(1)).unsqueeze(2)
        mean = (hidden * inside).sum(1) / steps.unsqueeze(1)
        highest = hidden.masked_fill(~inside, -math.inf).amax(1)
        return self._pooled(hidden[rows, steps - 1], mean, highest, batch.statics)

    def init_state(self, rows: int, statics: Tensor) -> State:
        """The state before the first hour."""
        zeros = statics.new_zeros(rows, self.config.d_model)
        blocks = self.blocks.init_state(rows) if len(self.blocks) else ()
        layers = (layer for layer in self.attention if isinstance(layer, SelfAttention))
        caches = tuple(layer.init_state(rows) for layer in layers)
        return State(statics, blocks, caches, zeros, torch.full_like(zeros, -math.inf), 0)

    def step(self, carried: Tensor, state: State) -> tuple[Tensor, State]:
        """Run one hour's carried state (R, V, C) -> (R, width) and the next state.

        Equal to `forward` as long as the stay is within the window that `forward` is shown; of longer stays
        `step` remembers every hour. All R stays are equally long.
        """
        x = self._embedded(carried.unsqueeze(1), state.statics).squeeze(1)
        x, blocks = self.blocks.step(x, state.blocks) if state.blocks else (x, ())
        caches = []
        for layer, before in zip(self.attention, state.attention, strict=True):
            assert isinstance(layer, SelfAttention)
            x, after = layer.step(x, before)
            caches.append(after)
        hidden = self.norm(x)
        total, highest = state.total + hidden, torch.maximum(state.highest, hidden)
        steps = state.steps + 1
        pooled = self._pooled(hidden, total / steps, highest, state.statics)
        found = torch.cat([self._state(carried, state.statics), pooled], 1)
        return found, State(state.statics, blocks, tuple(caches), total, highest, steps)

    def _embedded(self, carried: Tensor, statics: Tensor) -> Tensor:
        """(B, H, V, C) -> (B, H, D)."""
        rows, steps = carried.shape[:2]
        within = carried[..., self.sequence].flatten(2)
        facts = statics.unsqueeze(1).expand(rows, steps, -1)
        x = self.embedding(torch.cat([within, facts], 2)).float()  # the residual stream, under autocast too
        return self.dropout(x)

    def _features(self, carried: Tensor) -> tuple[Tensor, Tensor]:
        """(n, V, C) -> what is carried (n, V x carried) and whether it was ever seen."""
        kept = carried[..., self.carried]
        ever = self.config.channels.index("ever")
        seen = (carried[..., ever : ever + 1] > 0).expand_as(kept).clone()
        seen[..., self.carried.index(ever)] = True
        return kept.flatten(1), seen.flatten(1)

    def _state(self, carried: Tensor, statics: Tensor) -> Tensor:
        features, seen = self._features(carried)
        return torch.cat([self.bins(features), statics, self.scores(features, seen), statics], 1)

    def _pooled(self, last: Tensor, mean: Tensor, highest: Tensor, statics: Tensor) -> Tensor:
        return torch.cat([self.dropout(torch.cat([last, mean, highest], 1)), statics], 1)
