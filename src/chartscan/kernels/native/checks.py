"""What is asked of tensors before the compiled kernels see them."""

from typing import NamedTuple

import torch
from torch import Tensor

# Type, shape, stride and device are checked here before a pointer leaves Python.

TYPES = {torch.float32: 0, torch.bfloat16: 1}  # enum Type of src/arguments.h
ABSENT = (0, 0, 0)


def sequence(name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A (B, L, .) tensor of `dtype` whose last dimension is contiguous; copied only where it is not.

    Raises TypeError or ValueError that names the argument.
    """
    _expect(name, tensor, shape, dtype)
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def plain(name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """A contiguous tensor of `dtype`."""
    _expect(name, tensor, shape, dtype)
    return tensor.contiguous()


def optional(
    name: str, tensor: Tensor | None, shape: tuple[int, ...], dtype: torch.dtype = torch.float32
) -> Tensor | None:
    """As `plain`, or None."""
    return None if tensor is None else plain(name, tensor, shape, dtype)


def strided(tensor: Tensor | None) -> tuple[int, int, int]:
    """struct Strided of a (B, L, .) tensor."""
    return ABSENT if tensor is None else (tensor.data_ptr(), tensor.stride(0), tensor.stride(1))


def pointer(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _expect(name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if tensor.device.type != "cpu":
        raise ValueError(f"{name} is on {tensor.device}; the native kernels need every tensor on the CPU")
    if tensor.layout != torch.strided:
        raise ValueError(f"{name} is {tensor.layout}; expected a strided tensor")
    if tensor.dtype != dtype:
        raise TypeError(f"{name} is {tensor.dtype}; expected {dtype}")
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} has the shape {tuple(tensor.shape)}; expected {shape}")


def lengths(tensor: Tensor | None, batch: int, steps: int) -> Tensor | None:
    """Tokens before padding (B,) int64, each 0 to L."""
    if tensor is None:
        return None
    tensor = plain("lengths", tensor, (batch,), torch.int64)
    if batch and (tensor.min() < 0 or tensor.max() > steps):
        raise ValueError(f"lengths must be 0 to {steps}, the steps there are")
    return tensor


# States asked for, in the order in which the kernels meet them.


class Reads(NamedTuple):
    """`offsets` (B + 1) cut positions and places (R,) by row; a place is an index into the result."""

    offsets: Tensor
    positions: Tensor
    places: Tensor

    def pointers(self) -> tuple[int, int, int]:
        return pointer(self.offsets), pointer(self.positions), pointer(self.places)


def reads(
    rows: Tensor | None, positions: Tensor | None, lengths: Tensor | None, shape: torch.Size
) -> Reads | None:
    """What `rows`, `positions` (R,) ask of a (B, L, .) sequence, by row and position; None for nothing.

    Raises IndexError where a row or a position does not exist.
    """
    if rows is None or positions is None or len(rows) == 0:
        return None
    if rows.shape != positions.shape:
        raise ValueError(f"{len(rows)} rows and {len(positions)} positions; expected as many of each")
    batch, steps = shape[:2]
    rows, positions = rows.long(), positions.long()
    if rows.min() < 0 or rows.max() >= batch:
        raise IndexError(f"a state is asked of a row outside 0 to {batch - 1}")
    ends = torch.full_like(rows, steps) if lengths is None else lengths[rows]
    if positions.min() < 0 or bool((positions >= ends).any()):
        raise IndexError("a state is asked at a position outside its row")
    order = torch.argsort(rows * steps + positions, stable=True)
    offsets = torch.searchsorted(rows[order], torch.arange(batch + 1))
    return Reads(offsets, positions[order].contiguous(), order)
