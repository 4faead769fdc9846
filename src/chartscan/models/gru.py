"""A gated recurrent unit over hours: the baseline that reads the carried state.

Cho et al. 2014, arXiv:1406.1078. A step's input is what is known of every variable by the end of the hour,
beside the statics.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import msgspec
import torch
from torch import Tensor, nn

from chartscan.batch import Pretraining, SeriesBatch
from chartscan.errors import check_at_least_one
from chartscan.models import check_dropout


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Width, layers and dropout; `channels` is that of the carried state."""

    d_model: int = 64
    n_layers: int = 1
    channels: int = 20  # C, numbers that the carried state has of a variable
    dropout: float = 0.2  # of the projected input and between layers

    def __post_init__(self) -> None:
        check_at_least_one(self, "d_model", "n_layers", "channels")
        check_dropout(self.dropout)


@dataclass(frozen=True)
class State:
    """The state of the model after an hour, for R stays."""

    hidden: Tensor  # (layers, R, D)
    statics: Tensor  # (R, S)

    def at(self, rows: Tensor) -> "State":
        """The states of `rows`, which may repeat."""
        return State(self.hidden[:, rows], self.statics[rows])

    def detach(self) -> "State":
        return State(self.hidden.detach(), self.statics.detach())


class Model(nn.Module):
    """`forward`, and the same hour by hour: `init_state`, `step`. The representation is the last output."""

    INPUT: ClassVar[Literal["carried"]] = "carried"
    HEAD: ClassVar[str] = "classification"
    PRETRAINING: ClassVar[Pretraining | None] = "masked_forecast"

    def __init__(self, config: Config, n_variables: int, n_statics: int):
        super().__init__()
        c = config
        self.config, self.width = config, c.d_model
        self.project = nn.Linear(n_variables * c.channels + n_statics, c.d_model)
        self.dropout = nn.Dropout(c.dropout)
        between = c.dropout if c.n_layers > 1 else 0.0
        self.gru = nn.GRU(c.d_model, c.d_model, c.n_layers, batch_first=True, dropout=between)

    def forward(self, batch: SeriesBatch) -> Tensor:
        """Representation (B, D) of each stay at its last hour."""
        if batch.carried is None or batch.steps is None:
            raise ValueError("the batch has no carried state")
        out, _ = self.gru(self._inputs(batch.carried, batch.statics))  # (B, H, D)
        rows = torch.arange(len(out), device=out.device)
        last: Tensor = out[rows, batch.steps - 1]
        return last

    def init_state(self, rows: int, statics: Tensor) -> State:
        """The state before the first hour of stays with `statics` (R, S)."""
        return State(statics.new_zeros(self.config.n_layers, rows, self.config.d_model), statics)

    def step(self, carried: Tensor, state: State) -> tuple[Tensor, State]:
        """Run one hour (R, V, C) of R stays -> representation (R, D) and state."""
        out, hidden = self.gru(self._inputs(carried.unsqueeze(1), state.statics), state.hidden)
        return out.squeeze(1), State(hidden, state.statics)

    def _inputs(self, carried: Tensor, statics: Tensor) -> Tensor:
        """(B, H, D), of the carried state (B, H, V, C) and the statics (B, S)."""
        flat = carried.flatten(2)
        repeated = statics.unsqueeze(1).expand(-1, flat.shape[1], -1)
        projected: Tensor = self.dropout(torch.tanh(self.project(torch.cat([flat, repeated], 2))))
        return projected
