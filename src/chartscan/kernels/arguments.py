"""What compiled kernels require of tensors: type, shape, strides and device. Errors name the argument.

Both kinds (`native`, `gpu`) check here, before an address leaves Python.
"""

from typing import NamedTuple

import torch
from torch import Tensor

TYPES = {torch.float32: 0, torch.bfloat16: 1}  # enum Type of native/src/arguments.h
ABSENT = (0, 0, 0)
CPU = torch.device("cpu")


def check_type(x: Tensor) -> None:
    """TypeError where the sequence `x` has a type that no kernel computes."""
    if x.dtype not in TYPES:
        raise TypeError(f"x is {x.dtype}; expected {' or '.join(map(str, TYPES))}")


def sequence(
    name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device = CPU
) -> Tensor:
    """Return a (B, L, .) tensor whose last dimension is contiguous; copied only where it is not.

    Raises TypeError or ValueError that names the argument.
    """
    _expect(name, tensor, shape, dtype, device)
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def plain(
    name: str,
    tensor: Tensor,
    shape: tuple[int, ...],
    dtype: torch.dtype = torch.float32,
    device: torch.device = CPU,
) -> Tensor:
    """Return a contiguous tensor of `dtype`; errors as in `sequence`."""
    _expect(name, tensor, shape, dtype, device)
    return tensor.contiguous()


def optional(
    name: str, tensor: Tensor | None, shape: tuple[int, ...], device: torch.device = CPU
) -> Tensor | None:
    """As `plain` in float32, or None."""
    return None if tensor is None else plain(name, tensor, shape, device=device)


def _expect(
    name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> None:
    if tensor.device != device:
        raise ValueError(
            f"{name} is on {tensor.device}; the kernel runs on {device} and needs every tensor there"
        )
    if tensor.layout != torch.strided:
        raise ValueError(f"{name} is {tensor.layout}; expected a strided tensor")
    if tensor.dtype != dtype:
        raise TypeError(f"{name} is {tensor.dtype}; expected {dtype}")
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} has the shape {tuple(tensor.shape)}; expected {shape}")


class SortedReads(NamedTuple):
    """States to read, in the order in which kernels meet them.

    `offsets` (B + 1) cut positions and places (R,) by row; a place is an index into the result.
    """

    offsets: Tensor
    positions: Tensor
    places: Tensor

    def pointers(self) -> tuple[int, int, int]:
        """Addresses, for the native kernels."""
        return pointer(self.offsets), pointer(self.positions), pointer(self.places)


def sorted_reads(rows: Tensor, positions: Tensor, batch: int, steps: int) -> SortedReads:
    """The states to read at `positions` of `rows` (R,), sorted by row, position and place."""
    rows, positions = rows.long(), positions.long()
    order = torch.argsort(rows * steps + positions, stable=True)
    offsets = torch.searchsorted(rows[order], torch.arange(batch + 1, device=rows.device))
    return SortedReads(offsets, positions[order], order)


def check_reads(rows: Tensor, positions: Tensor, lengths: Tensor | None, batch: int, steps: int) -> None:
    """IndexError where a row or a position does not exist (one wait for a GPU)."""
    if rows.shape != positions.shape:
        raise ValueError(f"{len(rows)} rows and {len(positions)} positions; expected as many of each")
    ends = torch.full_like(rows, steps) if lengths is None else lengths[rows.clamp(0, batch - 1)]
    right = (rows >= 0) & (rows < batch) & (positions >= 0) & (positions < ends)
    if not bool(right.all()):
        raise IndexError(
            f"a state to read is in a row outside 0 to {batch - 1}, or at a position outside its row"
        )


def lengths(tensor: Tensor | None, batch: int, steps: int) -> Tensor | None:
    """Tokens before padding (B,) int64, each 0 to L."""
    if tensor is None:
        return None
    tensor = plain("lengths", tensor, (batch,), torch.int64)
    if batch and (tensor.min() < 0 or tensor.max() > steps):
        raise ValueError(f"lengths must be 0 to {steps}, the steps there are")
    return tensor


def strided(tensor: Tensor | None) -> tuple[int, int, int]:
    """struct Strided of a (B, L, .) tensor."""
    return ABSENT if tensor is None else (tensor.data_ptr(), tensor.stride(0), tensor.stride(1))


def pointer(tensor: Tensor | None) -> int:
    """Address of the first element; 0 for no tensor."""
    return 0 if tensor is None else tensor.data_ptr()
