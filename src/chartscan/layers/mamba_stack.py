"""Mamba blocks one after the other, over sequences and step by step.

Where nothing has to be recorded for gradients, a step of all blocks is one native call.
"""

import math
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from chartscan.kernels.choice import chosen
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
        native = self._native_stack() if self._steps_natively(x) else None
        if native is not None:
            return _native_step(native, x, states)
        after = []
        for block, before in zip(self._blocks(), states, strict=True):
            x, state = block.step(x, before)
            after.append(state)
        return x, tuple(after)

    def _blocks(self) -> list[MambaBlock]:
        return cast(list[MambaBlock], list(self))

    def _steps_natively(self, x: Tensor) -> bool:
        first = self._blocks()[0]
        return (
            not torch.is_grad_enabled()
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling()
            and type(x) is Tensor  # and not a stand-in without memory
            and x.dtype == torch.float32
            and chosen(first.backend, x, first.D) == "native"
        )

    def _native_stack(self) -> BlockStack | None:
        """The stack of the weights as they are now; None where a step must go block by block."""
        weights = [block.weights() for block in self._blocks()]
        found = [w for w in weights if w is not None]
        if len(found) < len(weights):
            return None
        if self._native is None or not self._native.holds(found):
            self._native = BlockStack(found)
        return self._native

    def __getstate__(self) -> dict[str, Any]:
        """Without the native stack: a copy has weights of its own."""
        return self.__dict__ | {"_native": None}


def _native_step(
    stack: BlockStack, x: Tensor, states: tuple[BlockState, ...]
) -> tuple[Tensor, tuple[BlockState, ...]]:
    before = StackStates(
        [state.window.contiguous() for state in states], [state.scan.contiguous() for state in states]
    )
    y, after = stack.step(x.resolve_neg().contiguous(), before)
    return y, tuple(map(BlockState, after.windows, after.scans))
