"""The faster of two scans on a device, by trying both once for each shape met."""

from collections.abc import Callable

import torch
from torch import Tensor

Scan = Callable[[], tuple[Tensor, Tensor, Tensor]]
_CALLS = 5
_first_is_faster: dict[tuple[object, ...], bool] = {}


def faster(first: Scan, second: Scan, x: Tensor, A: Tensor) -> Scan:
    """`first` or `second`, by shape, type and device of `x` and `A`, and whether gradients are kept.

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
