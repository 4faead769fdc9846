"""EHRMamba (Fallahpour et al. 2024, arXiv:2405.14567): event embedding, then Mamba blocks.

Heads belong to the objectives and bring their own norm. Prompts are answered without a second pass over the
history: a task token is one more step from the state after its position, so that one pass serves every
prompt of a row and no prompt is seen by what follows.
"""

import math
from typing import ClassVar, Literal

import msgspec

from chartscan.batch import Pretraining
from chartscan.errors import ConfigError, check_at_least_one
from chartscan.layers.embedding import EventEmbedding
from chartscan.layers.mamba import Backend, BlockState, MambaBlock, MambaStack
from chartscan.layers.stack import EventStack
from chartscan.models import check_dropout, check_task_type


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The paper's size by default."""

    d_model: int = 768
    n_layers: int = 32
    d_state: int = 16
    d_conv: int = 4
    expand: int = 2
    dt_rank: int | Literal["auto"] = "auto"  # auto: d_model / 16, rounded up
    time_dim: int = 32  # sine waves for each of time, gap and age
    n_types: int = 24
    task_type: int = 6  # the type of task tokens
    max_visits: int = 512  # visit orders 0 .. 511
    dropout: float = 0.1  # of the embedding
    backend: Backend = "auto"  # of the scan: chartscan.kernels.choice

    def __post_init__(self) -> None:
        check_at_least_one(
            self, "d_model", "n_layers", "d_state", "d_conv", "expand", "time_dim", "n_types", "max_visits"
        )
        if self.dt_rank != "auto" and self.dt_rank < 1:
            raise ConfigError(f"model.dt_rank is {self.dt_rank}; expected 'auto' or at least 1.")
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
        rank = math.ceil(c.d_model / 16) if c.dt_rank == "auto" else c.dt_rank
        super().__init__(
            EventEmbedding(vocab_size, c.d_model, c.n_types, c.max_visits, c.time_dim, c.dropout),
            MambaStack(
                MambaBlock(c.d_model, c.d_state, c.d_conv, c.expand, rank, c.backend)
                for _ in range(c.n_layers)
            ),
            c.d_model,
            c.task_type,
        )
        self.config = config
