"""EHRMamba-2: EHRMamba on blocks of Mamba-2 (state-space duality; Dao and Gu 2024, arXiv:2405.21060).

It differs from EHRMamba in the blocks alone: heads whose channels share one step size and decay, more states,
and a scan of matrix products. The released EHRMamba2 has this size but embeds nothing of an event beside its
code; here every attribute is embedded as in EHRMamba, on purpose, so that a comparison of the two says which
blocks are better. B and C are shared by all heads, as released.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import msgspec
import torch
from torch import Tensor, nn

from chartscan.batch import Batch, Pretraining, Prompts
from chartscan.errors import ConfigError
from chartscan.layers.embedding import EventEmbedding
from chartscan.layers.mamba2_block import BlockState, Mamba2Block
from chartscan.layers.residual_stack import ResidualStack


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
        for name in (
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
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name} is {getattr(self, name)}; expected at least 1.")
        if self.expand * self.d_model % self.d_head:
            raise ConfigError(
                f"model.d_head is {self.d_head}; expected a divisor of model.expand x model.d_model, "
                f"{self.expand * self.d_model}."
            )
        if not 0 <= self.task_type < self.n_types:
            raise ConfigError(f"model.task_type is {self.task_type}; expected 0 to {self.n_types - 1}.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"model.dropout is {self.dropout}; expected 0 <= dropout < 1.")


@dataclass(frozen=True)
class State:
    """What the model carries from one token to the next, for R sequences."""

    blocks: tuple[BlockState, ...]

    def at(self, rows: Tensor) -> "State":
        """The states of `rows`, which may repeat."""
        return State(tuple(block.at(rows) for block in self.blocks))

    def detach(self) -> "State":
        return State(tuple(block.detach() for block in self.blocks))


class Model(nn.Module):
    """`forward`, `prompted`, and the same token by token: `init_state`, `step` (see batch.SequenceModel)."""

    INPUT: ClassVar[Literal["tokens"]] = "tokens"
    CAUSAL: ClassVar[bool] = True
    PRETRAINING: ClassVar[Pretraining | None] = "next_event"

    def __init__(self, config: Config, vocab_size: int):
        super().__init__()
        c = config
        self.config, self.width = config, c.d_model
        self.embedding = EventEmbedding(vocab_size, c.d_model, c.n_types, c.max_visits, c.time_dim, c.dropout)
        self.blocks: ResidualStack[BlockState] = ResidualStack(
            Mamba2Block(c.d_model, c.d_state, c.d_head, c.d_conv, c.expand, c.chunk)
            for _ in range(c.n_layers)
        )

    def forward(self, batch: Batch) -> Tensor:
        """Hidden states (B, L, D) after the last block, not normed."""
        hidden: Tensor = self.blocks(self.embedding(batch), batch.lengths)
        return hidden

    def prompted(self, batch: Batch) -> Tensor:
        """Hidden states (P, D) of the task tokens, each the next token after its position."""
        if batch.prompts is None:
            raise ValueError("the batch has no prompts")
        forks, fork_of_prompt = torch.unique(
            torch.stack([batch.prompts.rows, batch.prompts.positions]), dim=1, return_inverse=True
        )
        state = self.fork(batch, forks[0], forks[1])
        hidden, _ = self.step(self._task_tokens(batch.prompts), state.at(fork_of_prompt))
        return hidden

    def fork(self, batch: Batch, rows: Tensor, positions: Tensor) -> State:
        """The state after `positions` of `rows` (R,), from which `step` goes on."""
        return State(self.blocks.fork(self.embedding(batch), rows, positions, batch.lengths)[1])

    def init_state(self, rows: int) -> State:
        """The state before the first token."""
        return State(self.blocks.init_state(rows))

    def step(self, token: Batch, state: State) -> tuple[Tensor, State]:
        """One token of each of R sequences (L = 1) -> hidden (R, D) and the state after it."""
        x, after = self.blocks.step(self.embedding(token).squeeze(1), state.blocks)
        return x, State(after)

    def _task_tokens(self, prompts: Prompts) -> Batch:
        """The task tokens as P sequences of one token: no attributes but their type."""
        codes = prompts.codes.unsqueeze(1)  # (P, 1)
        zeros, zero_times = torch.zeros_like(codes), torch.zeros_like(codes, dtype=torch.float32)
        return Batch(
            codes=codes,
            types=torch.full_like(codes, self.config.task_type),
            ages=zero_times,
            times=zero_times,
            gaps=zero_times,
            segments=zeros,
            visit_orders=zeros,
            positions=prompts.positions.unsqueeze(1) + 1,
            attributed=torch.zeros_like(codes, dtype=torch.bool),
            lengths=torch.ones_like(prompts.codes),
        )
