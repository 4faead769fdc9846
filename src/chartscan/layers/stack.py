"""Residual blocks with a state, token models of them, and answers to prompts.

A causal model answers prompts without a second pass over the history: a task token is one more step from the
state after its position (`EventStack.prompted`), and nothing that follows sees it. Where every token sees
every other, no two prompts can share a pass: each prompt's visible history is a row of its own
(`prompt_prefixes`).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Generic, Protocol, Self, TypeVar, cast

import torch
from torch import Tensor, nn

from chartscan.batch import Batch, Prompts
from chartscan.layers.embedding import EventEmbedding

S = TypeVar("S", bound="BlockState")


class BlockState(Protocol):
    """What one block carries from one token to the next."""

    def at(self, rows: Tensor) -> Self: ...

    def detach(self) -> Self: ...


class Block(Protocol[S]):
    """What a stack needs of a block; see MambaBlock for the shapes."""

    out_proj: nn.Linear

    def __call__(self, x: Tensor, lengths: Tensor | None = None) -> Tensor: ...

    def fork(
        self, x: Tensor, rows: Tensor, positions: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, S]: ...

    def step(self, x: Tensor, state: S) -> tuple[Tensor, S]: ...

    def init_state(self, rows: int) -> S: ...


class ResidualStack(nn.ModuleList, Generic[S]):
    """Blocks of one size, the first nearest to the input. States are one a block."""

    def __init__(self, blocks: Iterable[nn.Module]):
        super().__init__(blocks)
        with torch.no_grad():  # the residual stream keeps its scale at any depth, as in GPT-2 and Mamba
            for block in self._blocks():
                block.out_proj.weight /= math.sqrt(len(self))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, L, D) -> (B, L, D); `lengths` as in the blocks."""
        for block in self._blocks():
            x = block(x, lengths)
        return x

    def fork(
        self, x: Tensor, rows: Tensor, positions: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, tuple[S, ...]]:
        """As `forward`, and the states after `positions` of `rows` (R,), from which `step` goes on."""
        states = []
        for block in self._blocks():
            x, state = block.fork(x, rows, positions, lengths)
            states.append(state)
        return x, tuple(states)

    def init_state(self, rows: int) -> tuple[S, ...]:
        """The states before the first step, for `rows` sequences."""
        return tuple(block.init_state(rows) for block in self._blocks())

    def step(self, x: Tensor, states: tuple[S, ...]) -> tuple[Tensor, tuple[S, ...]]:
        """Run one step of R sequences: (R, D) and states before -> (R, D) and states after."""
        after = []
        for block, before in zip(self._blocks(), states, strict=True):
            x, state = block.step(x, before)
            after.append(state)
        return x, tuple(after)

    def _blocks(self) -> list[Block[S]]:
        return cast(list[Block[S]], list(self))


@dataclass(frozen=True)
class State(Generic[S]):
    """What the model carries from one token to the next, for R sequences."""

    blocks: tuple[S, ...]

    def at(self, rows: Tensor) -> "State[S]":
        """The states of `rows`, which may repeat."""
        return State(tuple(block.at(rows) for block in self.blocks))

    def detach(self) -> "State[S]":
        return State(tuple(block.detach() for block in self.blocks))


class EventStack(nn.Module, Generic[S]):
    """`forward`, `prompted`, and the same token by token: `init_state`, `step` (see batch.CausalModel)."""

    def __init__(self, embedding: EventEmbedding, blocks: ResidualStack[S], width: int, task_type: int):
        super().__init__()
        self.embedding, self.blocks = embedding, blocks
        self.width, self.task_type = width, task_type

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
        hidden, _ = self.step(_task_tokens(batch.prompts, self.task_type), state.at(fork_of_prompt))
        return hidden

    def fork(self, batch: Batch, rows: Tensor, positions: Tensor) -> State[S]:
        """The state after `positions` of `rows` (R,), from which `step` goes on."""
        return State(self.blocks.fork(self.embedding(batch), rows, positions, batch.lengths)[1])

    def init_state(self, rows: int) -> State[S]:
        """The state before the first token."""
        return State(self.blocks.init_state(rows))

    def step(self, token: Batch, state: State[S]) -> tuple[Tensor, State[S]]:
        """Run one token of R sequences -> hidden (R, D) and the next state."""
        x, after = self.blocks.step(self.embedding(token).squeeze(1), state.blocks)
        return x, State(after)


def _task_tokens(prompts: Prompts, task_type: int) -> Batch:
    """The task tokens as P sequences of one token: no attributes but their type."""
    codes = prompts.codes.unsqueeze(1)  # (P, 1)
    zeros, zero_times = torch.zeros_like(codes), torch.zeros_like(codes, dtype=torch.float32)
    return Batch(
        codes=codes,
        types=torch.full_like(codes, task_type),
        ages=zero_times,
        times=zero_times,
        gaps=zero_times,
        segments=zeros,
        visit_orders=zeros,
        positions=prompts.positions.unsqueeze(1) + 1,
        attributed=torch.zeros_like(codes, dtype=torch.bool),
        lengths=torch.ones_like(prompts.codes),
    )


def prompt_prefixes(batch: Batch, task_type: int) -> Batch:
    """Return P rows: tokens up to each prompt, its task token, padding.

    Tokens 0 .. position of the prompt's row, padded to the longest. The task token has a code, the type
    `task_type` and a position, and no other attribute. Rows are not cut: the caller leaves room for the task
    token in the model's context.
    """
    if batch.prompts is None:
        raise ValueError("the batch has no prompts")
    prompts = batch.prompts
    steps = torch.arange(int(prompts.positions.max()) + 2, device=prompts.positions.device)
    columns = {
        f.name: _prefixes(getattr(batch, f.name), prompts, steps)
        for f in fields(batch)
        if f.name not in ("lengths", "prompts")
    }
    task = steps == prompts.positions.unsqueeze(1) + 1  # (P, L)
    return replace(
        batch,
        **columns
        | {
            "codes": torch.where(task, prompts.codes.unsqueeze(1), columns["codes"]),
            "types": columns["types"].masked_fill(task, task_type),
            "positions": torch.where(task, steps, columns["positions"]),
        },
        lengths=prompts.positions + 2,
        prompts=None,
    )


def last_of_each(hidden: Tensor, batch: Batch) -> Tensor:
    """The hidden state (B, D) of each row's last token."""
    return hidden[torch.arange(len(hidden), device=hidden.device), batch.lengths - 1]


def _prefixes(column: Tensor, prompts: Prompts, steps: Tensor) -> Tensor:
    """(B, L) -> (P, steps): each prompt's row up to its position, zeros beyond."""
    visible = steps <= prompts.positions.unsqueeze(1)
    found = column[prompts.rows][:, : len(steps)]
    missing = len(steps) - found.shape[1]
    return torch.nn.functional.pad(found, (0, missing)) * visible
