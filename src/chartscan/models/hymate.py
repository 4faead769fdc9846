"""HyMaTE (Mottalib et al. 2025, arXiv:2509.24118): triplet embedding, Mamba blocks, self-attention, fusion.

As the paper describes it: every Mamba block has weights of its own, attention is scaled and its output used,
and padding takes part in nothing. With `causal` the representation can be carried from event to event.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chartscan.batch import Pretraining, SeriesBatch
from chartscan.errors import ConfigError, check_at_least_one
from chartscan.layers.attention import AttentionState, Dropout, Fusion, FusionState, SelfAttention
from chartscan.layers.embedding import Combine, TripletEmbedding
from chartscan.layers.mamba import Backend, BlockState, MambaBlock, MambaStack
from chartscan.models import check_dropout, check_heads


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A small model by default; the paper does not say how large its own was."""

    d_model: int = 64
    n_layers: int = 2  # Mamba blocks
    n_attention: int = 1  # self-attention layers; 0 leaves them out (ablation)
    n_heads: int = 4
    d_state: int = 16
    d_conv: int = 4
    expand: int = 2
    dropout: float = 0.2  # of the embedding and of every residual branch of the attention
    combine: Combine = "sum"  # how variable, value and time are joined
    use_value: bool = True  # False: ablation
    use_time: bool = True  # False: ablation
    span_hours: float = 48.0  # of the record, scaled to -1 .. 1
    causal: bool = False  # attention sees no later event, so that the model can be stepped
    window: int | None = None  # latest events that attention sees, where causal; None for all
    backend: Backend = "auto"  # of the scan: chartscan.kernels.choice

    def __post_init__(self) -> None:
        check_at_least_one(self, "d_model", "n_layers", "n_heads", "d_state", "d_conv", "expand")
        if self.n_attention < 0:
            raise ConfigError(f"model.n_attention is {self.n_attention}; expected at least 0.")
        check_heads(self.n_heads, self.d_model)
        if self.window is not None and not (self.causal and self.window >= 1):
            raise ConfigError(
                f"model.window is {self.window}; expected at least 1, and model.causal to be true."
            )
        check_dropout(self.dropout)
        if self.span_hours <= 0:
            raise ConfigError(f"model.span_hours is {self.span_hours}; expected more than 0.")


@dataclass(frozen=True)
class State:
    """What the model carries from one event to the next, for R stays."""

    statics: Tensor  # (R, D), encoded
    blocks: tuple[BlockState, ...]
    attention: tuple[AttentionState, ...]
    fusion: FusionState

    def at(self, rows: Tensor) -> "State":
        """The states of `rows`, which may repeat."""
        return State(
            self.statics[rows],
            tuple(block.at(rows) for block in self.blocks),
            tuple(layer.at(rows) for layer in self.attention),
            self.fusion.at(rows),
        )

    def detach(self) -> "State":
        return State(
            self.statics.detach(),
            tuple(block.detach() for block in self.blocks),
            tuple(layer.detach() for layer in self.attention),
            self.fusion.detach(),
        )


class Model(nn.Module):
    """`forward`, `attention` (why), and where causal the same event by event: `init_state`, `step`.

    The representation is [z; e_d], (B, 2 D): the events' fusion beside the statics.
    """

    INPUT: ClassVar[Literal["triplets"]] = "triplets"
    HEAD: ClassVar[str] = "classification"
    PRETRAINING: ClassVar[Pretraining | None] = "masked_forecast"

    def __init__(self, config: Config, n_variables: int, n_statics: int):
        super().__init__()
        c = config
        self.config, self.width = config, 2 * c.d_model
        self.embedding = TripletEmbedding(
            n_variables, c.d_model, c.combine, c.span_hours, c.use_value, c.use_time
        )
        self.dropout = Dropout(c.dropout)
        rank = math.ceil(c.d_model / 16)
        self.blocks = MambaStack(
            MambaBlock(c.d_model, c.d_state, c.d_conv, c.expand, rank, c.backend) for _ in range(c.n_layers)
        )
        self.attentions = nn.ModuleList(
            SelfAttention(c.d_model, c.n_heads, c.dropout, c.causal, c.window) for _ in range(c.n_attention)
        )
        self.norm = nn.LayerNorm(c.d_model)
        self.fusion = Fusion(c.d_model)
        self.statics = nn.Sequential(
            nn.Linear(n_statics, 2 * c.d_model), nn.Tanh(), nn.Linear(2 * c.d_model, c.d_model)
        )

    def forward(self, batch: SeriesBatch) -> Tensor:
        """Return each stay's representation (B, 2 D) at its end; [0; e_d] without events."""
        fused = self.fusion(self.hidden(batch), batch.lengths)
        return torch.cat([fused, self.statics(batch.statics)], 1)

    def attention(self, batch: SeriesBatch) -> Tensor:
        """Return each event's weight in the fusion (B, L): sum 1, padding 0."""
        weights = self.fusion.weights(self.hidden(batch), batch.lengths)
        return weights[:, : batch.hours.shape[1]]

    def hidden(self, batch: SeriesBatch) -> Tensor:
        """What fusion weighs: (B, max(L, 1), D), normed."""
        empty = batch.hours.shape[1] == 0  # then one step of padding, for layers that want a step
        hours, variables, values = (
            F.pad(x, (0, int(empty)), value=0) for x in (batch.hours, batch.variables, batch.values)
        )
        x = self.blocks(self.dropout(self.embedding(hours, variables, values)), batch.lengths)
        for layer in self._attention_layers():
            x = layer(x, batch.lengths)
        normed: Tensor = self.norm(x)
        return normed

    def init_state(self, rows: int, statics: Tensor) -> State:
        """The state before the first event of stays with `statics` (R, S)."""
        if not self.config.causal:
            raise ValueError("only a causal model can be stepped; set model.causal to true and train it so")
        return State(
            self.statics(statics),
            self.blocks.init_state(rows),
            tuple(layer.init_state(rows) for layer in self._attention_layers()),
            self.fusion.init_state(rows),
        )

    def step(self, hours: Tensor, variables: Tensor, values: Tensor, state: State) -> tuple[Tensor, State]:
        """Run one event (R,) of R stays -> representation (R, 2 D) and state."""
        x, blocks = self.blocks.step(self.dropout(self.embedding(hours, variables, values)), state.blocks)
        attention = []
        for layer, before in zip(self._attention_layers(), state.attention, strict=True):
            x, after = layer.step(x, before)
            attention.append(after)
        fused, fusion = self.fusion.step(self.norm(x), state.fusion)
        representation = torch.cat([fused, state.statics], 1)
        return representation, State(state.statics, blocks, tuple(attention), fusion)

    def _attention_layers(self) -> list[SelfAttention]:
        return cast(list[SelfAttention], list(self.attentions))
