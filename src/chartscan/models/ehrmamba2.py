"""EHRMamba-2: EHRMamba on blocks of Mamba-2 (state-space duality; Dao and Gu 2024, arXiv:2405.21060).

It differs from EHRMamba in the blocks alone: heads whose channels share one step size and decay, more states,
and a scan of matrix products. The released EHRMamba2 has this size but embeds nothing of an event beside its
code; here every attribute is embedded as in EHRMamba, on purpose, so that a comparison of the two says which
blocks are better. B and C are shared by all heads, as released.
"""

from typing import ClassVar, Literal

import msgspec

from chartscan.batch import Pretraining
from chartscan.errors import ConfigError, check_at_least_one
from chartscan.layers.embedding import EventEmbedding
from chartscan.layers.mamba2 import BlockState, Mamba2Block
from chartscan.layers.stack import EventStack, ResidualStack
from chartscan.models import check_dropout, check_task_type


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The released size by default: 24 heads of 64 channels."""

    d_model: int = 768
    n_layers: int = 32
    d_state: int = 64
    d_head: int = 64  # a divisor of expand x d_model
    d_conv: int = 4
    expand: int = 2
    chunk: int = 256  # most steps of one matrix product; changes speed and rounding only
    time_dim: int = 32  # sine waves for each of time, gap and age
    n_types: int = 24
    task_type: int = 6  # the type of task tokens
    max_visits: int = 512  # visit orders 0 .. 511
    dropout: float = 0.1  # of the embedding

    def __post_init__(self) -> None:
        check_at_least_one(
            self,
            "d_model",
            "n_layers",
            "d_state",
            "d_head",
            "d_conv",
            "expand",
            "chunk",
            "time_dim",
            "n_types",
            "max_visits",
        )
        if self.expand * self.d_model % self.d_head:
            raise ConfigError(
                f"model.d_head is {self.d_head}; expected a divisor of model.expand x model.d_model, "
                f"{self.expand * self.d_model}."
            )
        check_task_type(self.task_type, self.n_types)
        check_dropout(self.dropout)


class Model(EventStack[BlockState]):
    """See `EventStack` in layers/stack.py and `CausalModel` in batch.py."""

    INPUT: ClassVar[Literal["tokens"]] = "tokens"
    HEAD: ClassVar[str] = "prompted"
    CAUSAL: ClassVar[bool] = True
    PRETRAINING: ClassVar[Pretraining | None] = "next_event"

    def __init__(self, config: Config, vocab_size: int):
        c = config
        super().__init__(
            EventEmbedding(vocab_size, c.d_model, c.n_types, c.max_visits, c.time_dim, c.dropout),
            ResidualStack(
                Mamba2Block(c.d_model, c.d_state, c.d_head, c.d_conv, c.expand, c.chunk)
                for _ in range(c.n_layers)
            ),
            c.d_model,
            c.task_type,
        )
        self.config = config
