"""Sums over the first dimension, one after another: unlike `torch.sum`, equal in any company."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from chartscan.kernels.gpu import tiles
from chartscan.kernels.gpu.tiles import launch

_SIZE = 512


def add_partials(partials: Tensor, dtype: torch.dtype) -> Tensor:
    """(P, ...) contiguous float32 -> (...) in `dtype`."""
    total = torch.empty(partials.shape[1:], dtype=dtype, device=partials.device)
    grid = (tiles.count(total.numel(), _SIZE),)
    launch(
        _kernel,
        grid,
        total.device,
        warps=4,
        partials=partials,
        total=total,
        count=len(partials),
        elements=total.numel(),
        SIZE=_SIZE,
    )
    return total


@triton.jit(do_not_specialize=["count"])
def _kernel(partials, total, count, elements, SIZE: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    mask = at < elements
    summed = tl.zeros([SIZE], tl.float32)
    for _ in range(0, count):
        summed += tl.load(partials + at, mask=mask, other=0.0)
        partials += elements
    tl.store(total + at, summed.to(total.dtype.element_ty), mask=mask)
