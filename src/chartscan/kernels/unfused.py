"""What surrounds a bare recurrence, in PyTorch: step size, lengths, skip and gate.

`reference` and `chunked` compute the recurrence alone; the native and GPU scans have all of this inside.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from chartscan.kernels.reads import Read

# (x, delta, A, B, C, state, rows, positions) -> (y, last state, states read)
Core = Callable[..., tuple[Tensor, Tensor, Tensor]]


def scan(
    core: Core,
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
    read: Read | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """`selective_scan` around `core`, which computes in the precision of `A`."""
    given = x.dtype
    x, dt, B, C = (v.to(A.dtype) for v in (x, dt, B, C))
    outside = None if lengths is None else _outside(lengths, x.shape[1])
    if outside is not None:  # whatever stands in the padding
        x, dt, B, C = (v.masked_fill(outside, 0) for v in (x, dt, B, C))
        z = None if z is None else z.masked_fill(outside, 0)
    state = x.new_zeros(x.shape[0], *A.shape) if state is None else state.to(A.dtype)
    rows, positions = read if read is not None else (torch.empty(0, dtype=torch.int64, device=x.device),) * 2
    delta = F.softplus(dt if dt_bias is None else dt + dt_bias)
    if outside is not None:
        delta = delta.masked_fill(outside, 0)  # decay 1 and input 0: the state stays
    with torch.autocast(x.device.type, enabled=False):  # else the products inside would run in bf16
        y, last, states = core(x, delta, A, B, C, state, rows, positions)
    if D is not None:
        y = torch.addcmul(y, x, D)
    if z is not None:
        y = y * F.silu(z.to(A.dtype))
    if outside is not None:
        y = y.masked_fill(outside, 0)
    return y.to(given), last, states


def _outside(lengths: Tensor, steps: int) -> Tensor:
    """True at padding, (B, L, 1)."""
    return (torch.arange(steps, device=lengths.device) >= lengths.unsqueeze(1)).unsqueeze(2)
