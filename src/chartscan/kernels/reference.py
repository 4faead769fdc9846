"""The recurrence of the selective scan as written, one step after another; autograd differentiates it.

Slow, and its memory grows with L x E x N: it exists so that every faster scan has something to equal.
"""

import torch
from torch import Tensor


def scan(
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
