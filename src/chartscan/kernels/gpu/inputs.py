"""Whether Triton kernels can run here, and the checked inputs of a scan."""

import os
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import torch
from torch import Tensor

from chartscan.kernels.arguments import check_type, optional, plain, sequence
from chartscan.kernels.gpu import tiles

_OLDEST_TRITON = (3, 3)  # the first with tuples in kernels
_OLDEST_DEVICE = (8, 0)  # compute capability: the first with bfloat16


def available() -> bool:
    return why_not() is None


@cache
def why_not() -> str | None:
    """What is missing, in words; None if nothing."""
    if not torch.cuda.is_available():
        return "PyTorch finds no CUDA device"
    if torch.cuda.get_device_capability() < _OLDEST_DEVICE:
        return "the device is older than compute capability 8.0"
    try:
        found = version("triton")
    except PackageNotFoundError:
        return "Triton is not installed"
    if tuple(int(part) for part in found.split(".")[:2]) < _OLDEST_TRITON:
        return f"Triton {found} is older than 3.3"
    return None


def interpreted() -> bool:
    """Whether Triton's interpreter runs the kernels, on processors: for tests only."""
    return os.environ.get("TRITON_INTERPRET") == "1"


class ScanInputs(NamedTuple):
    """Inputs of a scan, named and shaped as in `selective_scan`.

    One device, one type for sequences, float32 for all else.
    """

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
        """Return memory with zeros at padding, where kernels write nothing."""
        make = torch.empty if self.lengths is None else torch.zeros
        return make(shape, dtype=dtype, device=self.x.device)


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
    check_type(x)
    if x.device.type != "cuda" and not interpreted():
        raise ValueError(f"x is on {x.device}; the Triton kernels need a CUDA device")
    batch, steps, channels = x.shape
    states, kind, device = A.shape[-1], x.dtype, x.device
    wide, narrow = (batch, steps, channels), (batch, steps, states)
    return ScanInputs(
        sequence("x", x, wide, kind, device),
        sequence("dt", dt, wide, kind, device),
        plain("A", A, (channels, states), device=device),
        sequence("B", B, narrow, kind, device),
        sequence("C", C, narrow, kind, device),
        optional("D", D, (channels,), device),
        None if z is None else sequence("z", z, wide, kind, device),
        optional("dt_bias", dt_bias, (channels,), device),
        optional("state", state, (batch, channels, states), device),
        None if lengths is None else plain("lengths", lengths, (batch,), torch.int64, device),
    )
