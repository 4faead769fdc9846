"""Residual blocks one after the other, over sequences and step by step."""

import math
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

S = TypeVar("S")  # what one block carries from one step to the next


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
        with torch.no_grad():  # the residual stream keeps its scale whatever the depth, as in GPT-2 and Mamba
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
        """One step of R sequences: (R, D) and the states before -> (R, D) and the states after."""
        after = []
        for block, before in zip(self._blocks(), states, strict=True):
            x, state = block.step(x, before)
            after.append(state)
        return x, tuple(after)

    def _blocks(self) -> list[Block[S]]:
        return cast(list[Block[S]], list(self))
