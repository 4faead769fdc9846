"""One step of R sequences through a stack of Mamba blocks, in one native call.

For float32 on the CPU where no gradient is needed. The weights are read where they lie, and nothing derived
from them is kept: a weight changed in place, even unseen by autograd (a fused optimiser), counts at the next
step. What a block computes is in src/step.h.
"""

from array import array
from collections.abc import Sequence
from itertools import chain
from operator import is_
from typing import NamedTuple

import torch
from torch import Tensor

from chartscan.kernels import arguments
from chartscan.kernels.native.library import library

WEIGHTS, POINTERS = 10, 14  # of struct BlockPointers; the last are window, window_after, scan, scan_after


class BlockWeights(NamedTuple):
    """Weights as in struct BlockPointers: width D, E channels, N states, K taps."""

    norm: Tensor  # (D,)
    in_proj: Tensor  # (2E, D): input of the convolution, then the gate
    conv_weight: Tensor  # (E, K)
    conv_bias: Tensor  # (E,)
    x_proj: Tensor  # (rank + 2N, E): low-rank step size, B, C
    dt_proj: Tensor  # (E, rank)
    dt_bias: Tensor  # (E,)
    A_log: Tensor  # (E, N): A = -exp(A_log)
    D: Tensor  # (E,)
    out_proj: Tensor  # (D, E)


class StackStates(NamedTuple):
    """What a stack carries from one step to the next: a tensor for each block."""

    windows: Sequence[Tensor]  # (R, K - 1, E), the latest inputs of the convolution, oldest first
    scans: Sequence[Tensor]  # (R, E, N)


class BlockStack:
    """Blocks of one size, the first nearest to the input. Threads may share it.

    Raises TypeError or ValueError for weights that are not contiguous float32 tensors on the CPU, and
    RuntimeError where the native kernels cannot be used.
    """

    def __init__(self, blocks: Sequence[BlockWeights]):
        if not blocks:
            raise ValueError("a stack needs at least one block")
        self._library = library()
        self._blocks = len(blocks)
        self._weights = tuple(chain.from_iterable(blocks))
        self._check_weights()

    def holds(self, blocks: Sequence[BlockWeights]) -> bool:
        """Whether its weights are these very tensors; a module may have been given others since."""
        return len(blocks) == self._blocks and all(map(is_, self._weights, chain.from_iterable(blocks)))

    def step(self, x: Tensor, states: StackStates) -> tuple[Tensor, StackStates]:
        """Run one step of R sequences: (R, D) and states before -> (R, D) and states after.

        All float32, contiguous and on the CPU; nothing is changed in place. Raises RuntimeError where
        autograd would have to record the step.
        """
        self._check_step(x, states)
        y = torch.empty_like(x)
        windows = list(map(torch.empty_like, states.windows))
        scans = list(map(torch.empty_like, states.scans))
        table = self._table[:]  # a copy: another thread may be in a step
        for place, tensors in enumerate((states.windows, windows, states.scans, scans), start=WEIGHTS):
            table[place::POINTERS] = array("q", map(Tensor.data_ptr, tensors))
        where = (table.buffer_info()[0], x.data_ptr(), y.data_ptr())
        self._library.stack_step((x.shape[0], *self._sizes, self._blocks, *where, torch.get_num_threads()))
        return y, StackStates(windows, scans)

    def _check_step(self, x: Tensor, states: StackStates) -> None:
        if self._seen() != self._checked:  # such as after `parameter.data = ...`
            self._check_weights()
        windows, scans = states
        if torch.is_grad_enabled() and any(t.requires_grad for t in (x, *windows, *scans, *self._weights)):
            raise RuntimeError("the native step records no gradients; call it under torch.no_grad()")
        if not len(windows) == len(scans) == self._blocks:
            raise ValueError(f"{len(windows)} windows and {len(scans)} scans for {self._blocks} blocks")
        width, channels, n, taps, _ = self._sizes
        rows = x.shape[0] if x.dim() else 0
        _check("x", x, (rows, width))
        for window, scan in zip(windows, scans, strict=True):
            _check("window", window, (rows, taps - 1, channels))
            _check("scan", scan, (rows, channels, n))

    def _check_weights(self) -> None:
        """Refuses what C++ could not read; notes where the weights lie."""
        starts = range(0, len(self._weights), WEIGHTS)
        blocks = [BlockWeights._make(self._weights[i : i + WEIGHTS]) for i in starts]
        self._sizes = _sizes(blocks[0])
        for block in blocks:
            for name, tensor, shape in zip(block._fields, block, _shapes(*self._sizes), strict=True):
                _check(name, tensor, shape)
        self._table = array("q", [p for b in blocks for p in (*map(Tensor.data_ptr, b), 0, 0, 0, 0)])
        self._checked = self._seen()  # last: another thread may be about to use the table

    def _seen(self) -> tuple[list[int], list[torch.Size], list[bool]]:
        """All that could make the weights unreadable: where they lie, their shapes, whether contiguous."""
        w = self._weights
        return (
            list(map(Tensor.data_ptr, w)),
            list(map(Tensor.size, w)),
            list(map(Tensor.is_contiguous, w)),
        )


def _sizes(block: BlockWeights) -> tuple[int, int, int, int, int]:
    """Width D, channels E, states N, taps K and rank, as in struct StackStep."""
    (width, channels), taps = block.out_proj.shape, block.conv_weight.shape[1]
    return width, channels, block.A_log.shape[1], taps, block.dt_proj.shape[1]


def _shapes(D: int, E: int, N: int, K: int, rank: int) -> list[tuple[int, ...]]:
    """Of the weights, in order."""
    return [(D,), (2 * E, D), (E, K), (E,), (rank + 2 * N, E), (E, rank), (E,), (E, N), (E,), (D, E)]


def _check(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Raises TypeError or ValueError unless `tensor` is contiguous float32 of this shape on the CPU."""
    plain = tensor.dtype is torch.float32 and tensor.is_cpu and tensor.layout is torch.strided
    if plain and tensor.shape == shape and tensor.is_contiguous():
        return
    arguments.plain(name, tensor, shape)  # says what is wrong
    raise ValueError(f"{name} has the strides {tensor.stride()}; expected a contiguous tensor")
