"""Mamba-2's scan as products of block matrices, in PyTorch: for scale, not a peer.

It is another and less general model: all channels of a head share one step size and one decay, whatever the
state. Then a block of T steps is a (T, T) matrix. Dao and Gu 2024, arXiv:2405.21060, section 6.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def ssd(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, dt_bias: Tensor, block: int
) -> Tensor:
    """(B, L, H, P), gated; `selective_scan` where all channels of a head have the same dt, dt_bias and decay.

    `x`, `z` (B, L, H, P): H heads of P channels; `dt` (B, L, H); `A`, `D`, `dt_bias` (H,);
    `B`, `C` (B, L, N).
    """
    length = x.shape[1]
    delta = F.softplus(dt + dt_bias)
    u, log_decay, b, c = (_blocks(v, block) for v in (x * delta.unsqueeze(3), delta * A, B, C))
    u = u.transpose(2, 3)  # (B, K, H, T, P), K blocks
    sums = log_decay.transpose(2, 3).cumsum(3)  # (B, K, H, T)
    scores = torch.matmul(c, b.transpose(2, 3)).unsqueeze(2)  # (B, K, 1, T, T)
    inside = torch.matmul(scores * _decays(sums, sums), u)
    weights = torch.exp(sums[..., -1:] - sums)  # decay from each step to the end of its block
    added = torch.matmul(b.unsqueeze(2).transpose(3, 4), u * weights.unsqueeze(4))  # (B, K, H, N, P)
    before = _states_before(added, sums[..., -1])
    outside = torch.matmul(c.unsqueeze(2), before) * sums.exp().unsqueeze(4)
    y = (inside + outside).transpose(2, 3).flatten(1, 2)[:, :length]  # (B, L, H, P)
    return (y + x * D.unsqueeze(1)) * F.silu(z)


def _blocks(tensor: Tensor, block: int) -> Tensor:
    """(B, L, ...) -> (B, K, T, ...), zeros at the end."""
    missing = -tensor.shape[1] % block
    return F.pad(tensor, (*(0, 0) * (tensor.dim() - 2), 0, missing)).unflatten(1, (-1, block))


def _decays(after: Tensor, before: Tensor) -> Tensor:
    """exp(after_t - before_s) where s <= t, else 0: (..., T) and (..., S) -> (..., T, S)."""
    differences = after.unsqueeze(-1) - before.unsqueeze(-2)
    return differences.masked_fill(~torch.ones_like(differences, dtype=torch.bool).tril(), -torch.inf).exp()


def _states_before(added: Tensor, log_decay: Tensor) -> Tensor:
    """The state before each block (B, K, H, N, P), from what each adds and how far it decays (B, K, H)."""
    sums = log_decay.transpose(1, 2).cumsum(2)  # (B, H, K)
    decays = _decays(sums, sums)  # from the end of block s to the end of block t
    after = torch.matmul(decays, added.transpose(1, 2).flatten(3))  # (B, H, K, N P)
    after = after.unflatten(3, added.shape[3:]).transpose(1, 2)
    return F.pad(after[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0))
