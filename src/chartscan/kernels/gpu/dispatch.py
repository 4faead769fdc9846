"""Chooses the GPU scan: Triton's, mamba_ssm's if named, or the faster.

The faster is found by trying both once for each shape met.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from chartscan.errors import ConfigError
from chartscan.kernels.gpu import mamba_ssm
from chartscan.kernels.gpu.operator import gpu_scan
from chartscan.kernels.reference import Read

Scanned = tuple[Tensor, Tensor, Tensor]
Scan = Callable[[], Scanned]
_CALLS = 5
_first_is_faster: dict[tuple[object, ...], bool] = {}


def scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    state: Tensor | None = None,
    lengths: Tensor | None = None,
    read: Read | None = None,
    backend: Literal["auto", "triton", "mamba_ssm"] = "auto",
) -> Scanned:
    """`selective_scan` on a GPU: y (B, L, E), last state (B, E, N), states read (R, E, N).

    "auto" times both the first time that it meets a shape, where mamba_ssm is installed and can do this scan.
    """
    kinds = {v.dtype for v in (x, dt, B, C, z) if v is not None}
    given, kind = x.dtype, x.dtype if len(kinds) == 1 else A.dtype  # of one type, or all in float32
    x, dt, B, C = (v.to(kind) for v in (x, dt, B, C))
    D, dt_bias, state = (None if v is None else v.to(A.dtype) for v in (D, dt_bias, state))
    z = None if z is None else z.to(kind)

    def triton() -> Scanned:
        rows, positions = read if read is not None else (None, None)
        inputs = (x, dt, A, B, C, D, z, dt_bias, state, lengths, rows, positions)
        return gpu_scan(*inputs, torch.is_grad_enabled())[:3]

    def other() -> Scanned:
        return mamba_ssm.scan(x, dt, A, B, C, D, z, dt_bias)

    if backend == "auto" and torch.compiler.is_compiling():
        backend = "triton"  # nothing can be timed while it is traced
    reason = "not asked" if backend == "triton" else mamba_ssm.why_not(x, A, state, lengths, read)
    if backend == "mamba_ssm" and reason:
        raise ConfigError(f"The scan cannot run as 'mamba_ssm': {reason}. Use backend='auto'.")
    run = other if backend == "mamba_ssm" else triton
    if backend == "auto" and not reason:
        run = faster(triton, other, x, A)
    y, last, states = run()
    return y.to(given), last, states


def faster(first: Scan, second: Scan, x: Tensor, A: Tensor) -> Scan:
    """Return `first` or `second`, by shape, type, device, and whether gradients are kept.

    Measured by calls with the gradient of y where gradients are kept; the choice holds for this process.
    """
    with_gradient = torch.is_grad_enabled() and x.requires_grad
    key = (x.device, x.dtype, *x.shape, A.shape[1], with_gradient)
    if key not in _first_is_faster:
        _first_is_faster[key] = _seconds(first, x, with_gradient) <= _seconds(second, x, with_gradient)
    return first if _first_is_faster[key] else second


def _seconds(scan: Scan, x: Tensor, with_gradient: bool) -> float:
    """The fastest of some calls on the current CUDA stream, after one that may compile."""
    times = []
    for _ in range(_CALLS + 1):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        y = scan()[0]
        if with_gradient:
            torch.autograd.grad(y, x, torch.ones_like(y))
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1000)
    return min(times[1:])
