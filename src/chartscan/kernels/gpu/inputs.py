"""The inputs of a scan, checked before any kernel sees a pointer."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from chartscan.kernels.gpu import platform, tiles

TYPES = (torch.float32, torch.bfloat16)


class ScanInputs(NamedTuple):
    """Names and shapes as in `selective_scan`; one device, one type for sequences, float32 for all else."""

    x: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    dt_bias: Tensor | None
    state: Tensor | None
    lengths: Tensor | None

    @property
    def batch(self) -> int:
        return self.x.shape[0]

    @property
    def steps(self) -> int:
        return self.x.shape[1]

    @property
    def channels(self) -> int:
        return self.x.shape[2]

    @property
    def states(self) -> int:
        return self.A.shape[1]

    def checkpoint_shape(self) -> tuple[int, int, int, int]:
        return checkpoint_shape(self.x, self.A)

    def arguments(self) -> dict[str, Any]:
        """The arguments that every kernel of the scan takes: pointers and strides."""
        found: dict[str, Any] = {}
        for name in ("x", "dt", "B", "C", "z"):
            tensor = getattr(self, name)
            rows, steps = (0, 0) if tensor is None else (tensor.stride(0), tensor.stride(1))
            found |= {name: tensor, f"{name}_row": rows, f"{name}_step": steps}
        rest = ("A", "D", "dt_bias", "state", "lengths", "steps", "channels")
        return found | {name: getattr(self, name) for name in rest}

    def unwritten(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Memory for a result of every step before padding; zero at padding, where kernels write nothing."""
        return (
            torch.empty(shape, dtype=dtype, device=self.x.device)
            if self.lengths is None
            else (torch.zeros(shape, dtype=dtype, device=self.x.device))
        )


def checkpoint_shape(x: Tensor, A: Tensor) -> tuple[int, int, int, int]:
    """States every 32 steps: (B, ceil(L / 32), E, N)."""
    return x.shape[0], tiles.count(x.shape[1], tiles.CHECKPOINT_STEPS), *A.shape


def checked(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    state: Tensor | None,
    lengths: Tensor | None,
) -> ScanInputs:
    """Raises TypeError or ValueError that names the argument at fault."""
    if x.dtype not in TYPES:
        raise TypeError(f"x is {x.dtype}; expected {' or '.join(map(str, TYPES))}")
    if x.device.type != "cuda" and not platform.interpreted():
        raise ValueError(f"x is on {x.device}; the Triton kernels need a CUDA device")
    batch, steps, channels = x.shape
    states = A.shape[-1]
    wide, narrow = (batch, steps, channels), (batch, steps, states)
    return ScanInputs(
        sequence("x", x, x, wide),
        sequence("dt", dt, x, wide),
        plain("A", A, x, (channels, states)),
        sequence("B", B, x, narrow),
        sequence("C", C, x, narrow),
        None if D is None else plain("D", D, x, (channels,)),
        None if z is None else sequence("z", z, x, wide),
        None if dt_bias is None else plain("dt_bias", dt_bias, x, (channels,)),
        None if state is None else plain("state", state, x, (batch, channels, states)),
        None if lengths is None else plain("lengths", lengths, x, (batch,), torch.int64),
    )


def sequence(name: str, tensor: Tensor, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A (B, L, .) tensor of the type and device of `x`, its last dimension contiguous; else copied."""
    _expect(name, tensor, x, shape, x.dtype)
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def plain(
    name: str, tensor: Tensor, x: Tensor, shape: tuple[int, ...], dtype: torch.dtype = torch.float32
) -> Tensor:
    """A contiguous tensor of `dtype` on the device of `x`."""
    _expect(name, tensor, x, shape, dtype)
    return tensor.contiguous()


def _expect(name: str, tensor: Tensor, x: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if tensor.device != x.device:
        raise ValueError(f"{name} is on {tensor.device}; expected {x.device}, where x is")
    if tensor.layout != torch.strided:
        raise ValueError(f"{name} is {tensor.layout}; expected a strided tensor")
    if tensor.dtype != dtype:
        raise TypeError(f"{name} is {tensor.dtype}; expected {dtype}")
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} has the shape {tuple(tensor.shape)}; expected {shape}")
