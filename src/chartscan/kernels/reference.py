"""Both scans' recurrences step by step, and the operations around them, in PyTorch.

Autograd differentiates them. Slow, and their memory grows with the states of all steps: every faster scan is
tested against them.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# States to read in the middle of a scan, from which a sequence can fork: rows (R,), positions (R,)
Read = tuple[Tensor, Tensor]

# (x, delta, A, B, C, state, rows, positions) -> (y, last state, states read)
Core = Callable[..., tuple[Tensor, Tensor, Tensor]]


def scan_reference(
    x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor, rows: Tensor, positions: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """y (B, L, E) without skip and gate, last state (B, E, N), states after (rows, positions) (R, E, N)."""
    if not x.shape[1]:
        return torch.empty_like(x), state, state.new_empty(len(rows), *A.shape)
    h = state
    ys, states = [], []
    # unbind, not indexing: indexing a step writes a full-sized zero gradient at every step, O(L^2)
    for x_l, delta_l, B_l, C_l in zip(x.unbind(1), delta.unbind(1), B.unbind(1), C.unbind(1), strict=True):
        decay = torch.exp(delta_l.unsqueeze(2) * A)  # (B, E, N)
        h = decay * h + (delta_l * x_l).unsqueeze(2) * B_l.unsqueeze(1)
        ys.append((h * C_l.unsqueeze(1)).sum(2))
        states.append(h)
    read = torch.stack(
        [states[p][r] for r, p in zip(rows.tolist(), positions.tolist(), strict=True)] or [h[:0]]
    )
    return torch.stack(ys, 1), h, read.view(-1, *A.shape)


def ssd_reference(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    dt_bias: Tensor,
    state: Tensor,
    lengths: Tensor | None = None,
    read: Read | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """As `ssd`; outputs in the padding are 0."""
    h, ys, states = state, [], []
    for step in range(x.shape[1]):
        delta = F.softplus(dt[:, step] + dt_bias)  # (B, H)
        u = delta.unsqueeze(2) * x[:, step]  # (B, H, P)
        after = torch.exp(delta * A)[:, :, None, None] * h + torch.einsum("bhp,bn->bhpn", u, B[:, step])
        y = torch.einsum("bhpn,bn->bhp", after, C[:, step]) + D.unsqueeze(1) * x[:, step]
        if lengths is not None:
            inside = lengths > step
            after, y = torch.where(inside[:, None, None, None], after, h), y * inside[:, None, None]
        h = after
        ys.append(y)
        states.append(h)
    rows, positions = ([], []) if read is None else (read[0].tolist(), read[1].tolist())
    found = [states[position][row] for row, position in zip(rows, positions, strict=True)]
    read_states = torch.stack(found) if found else state.new_empty(0, *state.shape[1:])
    return torch.stack(ys, 1) if ys else torch.empty_like(x), h, read_states


def surrounded(
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
    if outside is not None:  # padding may hold anything
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
