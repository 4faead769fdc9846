"""Mamba-2's recurrence as written, one step after another; autograd differentiates it.

Slow, and its memory grows with L x H x P x N: it exists so that `ssd` has something to equal.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from chartscan.kernels.reads import Read


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
