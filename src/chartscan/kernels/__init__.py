"""The selective scan of Mamba and the short causal convolution before it: one function each.

`selective_scan` chooses a backend; `reference` is the recurrence as written, `chunked` the fast one in
plain PyTorch. Channels last throughout: B rows, L steps, E channels, N states a channel. Nothing here knows
what the numbers mean, and nothing happens at import.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from chartscan.kernels import chunked, reference
from chartscan.kernels.causal_conv import causal_conv

__all__ = ["Backend", "Read", "causal_conv", "selective_scan"]

Backend = Literal["auto", "chunked", "reference"]
Read = tuple[Tensor, Tensor]  # rows (R,), positions (R,)

# (x, delta, A, B, C, state, rows, positions) -> (y, last state, states read)
_CORES: dict[str, Callable[..., tuple[Tensor, Tensor, Tensor]]] = {
    "auto": chunked.scan,
    "chunked": chunked.scan,
    "reference": reference.scan,
}


def selective_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    state: Tensor | None = None,
    read: Read | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor, Tensor]:
    """Output (B, L, E), state after the last step (B, E, N), and the states that `read` asks for (R, E, N).

        delta = softplus(dt + dt_bias)
        h_l   = exp(delta_l A) h_(l-1) + delta_l x_l B_l
        y_l   = (h_l C_l + D x_l) * silu(z_l)

    `x`, `dt`, `z` (B, L, E); `A` (E, N), negative; `B`, `C` (B, L, N); `D`, `dt_bias` (E,); `state`
    (B, E, N), zero if absent. `read` = (rows, positions): the state after that position of that row, from
    which a sequence can fork; without `read` the third result has no rows. Differentiable in every argument.
    Computes in the precision of `A` (float32 or float64), whatever autocast made of the others.
    Gu and Dao 2023, arXiv:2312.00752, with the usual simplification of B's discretisation.
    """
    x, dt, B, C = (v.to(A.dtype) for v in (x, dt, B, C))
    if state is None:
        state = x.new_zeros(x.shape[0], *A.shape)
    rows, positions = read if read is not None else (torch.empty(0, dtype=torch.int64, device=x.device),) * 2
    delta = F.softplus(dt if dt_bias is None else dt + dt_bias)
    with torch.autocast(x.device.type, enabled=False):  # else the products inside would run in bf16
        y, last, states = _CORES[backend](x, delta, A, B, C, state.to(A.dtype), rows, positions)
    if D is not None:
        y = torch.addcmul(y, x, D)
    if z is not None:
        y = y * F.silu(z.to(A.dtype))
    return y, last, states
