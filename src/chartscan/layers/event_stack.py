"""Embedded events, then residual blocks that carry a state: what causal models of tokens have in common.

Prompts are answered without a second pass over the history: a task token is one more step from the state
after its position, so that one pass serves every prompt of a row and no prompt is seen by what follows.
"""

from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from chartscan.batch import Batch, Prompts
from chartscan.layers.embedding import EventEmbedding
from chartscan.layers.residual_stack import ResidualStack


class BlockState(Protocol):
    """What one block carries from one token to the next."""

    def at(self, rows: Tensor) -> Self: ...

    def detach(self) -> Self: ...


S = TypeVar("S", bound=BlockState)


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
        """One token of each of R sequences (L = 1) -> hidden (R, D) and the state after it."""
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
