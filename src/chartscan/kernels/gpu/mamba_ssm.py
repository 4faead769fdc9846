"""The selective scan of the package mamba_ssm, if installed; never a dependency.

Its `selective_scan_fn` takes sequences channels first, which costs copies here. It starts from a zero state,
knows no lengths, and gives no state but the last, through which its backward pass does not go.
"""

import importlib.util
from functools import cache
from typing import Any

import torch
from torch import Tensor

from chartscan.kernels.reference import Read

_MOST_STATES = 256  # of a channel, in its CUDA code


@cache
def installed() -> bool:
    return importlib.util.find_spec("mamba_ssm") is not None


def usable(x: Tensor, A: Tensor, state: Tensor | None, lengths: Tensor | None, read: Read | None) -> bool:
    return why_not(x, A, state, lengths, read) is None


def why_not(
    x: Tensor, A: Tensor, state: Tensor | None, lengths: Tensor | None, read: Read | None
) -> str | None:
    """Why mamba_ssm cannot do this scan, in words; None if it can."""
    if not installed():
        return "the package mamba_ssm is not installed"
    if x.device.type != "cuda":
        return f"it needs a CUDA device, and x is on {x.device}"
    if state is not None or lengths is not None or read is not None:
        return "it scans whole sequences from a zero state: no state, no lengths, no states read"
    if A.shape[1] > _MOST_STATES or x.numel() == 0:
        return f"it takes 1 to {_MOST_STATES} states a channel and at least one step"
    return None


def scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """y (B, L, E), last state (B, E, N) and no states read (0, E, N); arguments as in `selective_scan`."""
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    x, dt, B, C = (_channels_first(v) for v in (x, dt, B, C))
    z = None if z is None else _channels_first(z)
    y, last = selective_scan_fn(
        x, dt, A, B, C, D=D, z=z, delta_bias=dt_bias, delta_softplus=True, return_last_state=True
    )
    return y.transpose(1, 2), _NoGradient.apply(last), A.new_empty(0, *A.shape)


def _channels_first(tensor: Tensor) -> Tensor:
    """(B, L, .) -> (B, ., L), contiguous."""
    return tensor.transpose(1, 2).contiguous()


class _NoGradient(torch.autograd.Function):
    """The last state: asking for its gradient is an error, not zero."""

    @staticmethod
    def forward(ctx: Any, last: Tensor) -> Tensor:
        ctx.set_materialize_grads(False)
        return last.view_as(last)

    @staticmethod
    def backward(ctx: Any, dlast: Tensor | None) -> None:  # type: ignore[override]
        if dlast is not None:
            raise RuntimeError("mamba_ssm gives no gradient through the last state; use backend='triton'")
