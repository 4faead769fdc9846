"""Mamba blocks one after the other, over sequences and step by step.

Where nothing has to be recorded for gradients, a step of all blocks is one native call.
"""

import math
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from chartscan.kernels.native import available
from chartscan.kernels.native.stack import BlockStack, StackStates
from chartscan.layers.mamba_block import BlockState, MambaBlock


class MambaStack(nn.ModuleList):
    """Blocks of one size, the first nearest to the input. States are one BlockState a block."""

    def __init__(self, blocks: Iterable[MambaBlock]):
        super().__init__(blocks)
        self._native: BlockStack | None = None  # of these weights, once a step asked for it
        with torch.no_grad():  # the residual stream keeps its scale whatever the depth, as in GPT-2 and Mamba
            for block in self._blocks():
                block.out_proj.weight /= math.sqrt(len(self))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, L, D) -> (B, L, D); `lengths` as in MambaBlock."""
        for block in self._blocks():
            x = block(x, lengths)
        return x

    def fork(
        self, x: Tensor, rows: Tensor, positions: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, tuple[BlockState, ...]]:
        """As `forward`, and the states after `positions` of `rows` (R,), from which `step` goes on."""
        states = []
        for block in self._blocks():
            x, state = block.fork(x, rows, positions, lengths)
            states.append(state)
        return x, tuple(states)

    def init_state(self, rows: int) -> tuple[BlockState, ...]:
        """The states before the first step, for `rows` sequences."""
        return tuple(block.init_state(rows) for block in self._blocks())

    def step(self, x: Tensor, states: tuple[BlockState, ...]) -> tuple[Tensor, tuple[BlockState, ...]]:
        """One step of R sequences: (R, D) and the states before -> (R, D) and the states after."""
        if self._steps_natively(x):
            return self._native_step(x, states)
        after = []
        for block, before in zip(self._blocks(), states, strict=True):
            x, state = block.step(x, before)
            after.append(state)
        return x, tuple(after)

    def _blocks(self) -> list[MambaBlock]:
        return cast(list[MambaBlock], list(self))

    def _steps_natively(self, x: Tensor) -> bool:
        return (
            x.is_cpu
            and x.dtype == torch.float32 == self[0].D.dtype
            and self[0].backend in ("auto", "native")
            and not torch.is_grad_enabled()
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling()
            and available()
        )

    def _native_step(
        self, x: Tensor, states: tuple[BlockState, ...]
    ) -> tuple[Tensor, tuple[BlockState, ...]]:
        weights = [block.weights() for block in self._blocks()]
        if self._native is None or not self._native.holds(weights):
            self._native = BlockStack(weights)
        before = StackStates(
            [state.window.contiguous() for state in states], [state.scan.contiguous() for state in states]
        )
        y, after = self._native.step(x.contiguous(), before)
        return y, tuple(map(BlockState, after.windows, after.scans))

    def __getstate__(self) -> dict[str, Any]:
        """Without the native stack: a copy has weights of its own."""
        return self.__dict__ | {"_native": None}
