"""Type, shape, stride and device are checked here before a pointer leaves Python."""

import torch
from torch import Tensor

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
