"""Mamba blocks one after the other, whose step is one native call where nothing is recorded for gradients."""

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor

from chartscan.kernels.choice import chosen
from chartscan.kernels.native.stack import BlockStack, StackStates
from chartscan.layers.mamba_block import BlockState, MambaBlock
from chartscan.layers.residual_stack import ResidualStack


class MambaStack(ResidualStack[BlockState]):
    """Mamba blocks of one size, the first nearest to the input."""

    def __init__(self, blocks: Iterable[MambaBlock]):
        super().__init__(blocks)
        self._native: BlockStack | None = None  # of these weights, once a step asked for it

    def step(self, x: Tensor, states: tuple[BlockState, ...]) -> tuple[Tensor, tuple[BlockState, ...]]:
        """One step of R sequences: (R, D) and the states before -> (R, D) and the states after."""
        native = self._native_stack() if self._steps_natively(x) else None
        return super().step(x, states) if native is None else _native_step(native, x, states)

    def _mamba_blocks(self) -> list[MambaBlock]:
        return cast(list[MambaBlock], list(self))

    def _steps_natively(self, x: Tensor) -> bool:
        first = self._mamba_blocks()[0]
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
        weights = [block.weights() for block in self._mamba_blocks()]
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
