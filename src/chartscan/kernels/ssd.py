"""Mamba-2's scan (state-space duality): matrix products in chunks, a recurrence between them.

It is less general than `selective_scan`: all channels of a head share one step size and one decay for
all states, so that what T steps do to one another is a (T, T) matrix a head. Dao and Gu 2024,
arXiv:2405.21060, section 6, in plain PyTorch for any device. The matrices of a few chunks at a time are made
and dropped, and made again for the backward pass: memory is linear in L, and without a factor T.

H heads of P channels each; E = H x P. exp2 is used for exp, as in `chunked`.
"""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from chartscan.kernels.choice import check_device
from chartscan.kernels.chunked import LOG2_E
from chartscan.kernels.reference import Read

LN_2 = math.log(2)
_CPU_ELEMENTS = 2**18  # of the matrices made at once: 1 MiB in float32, which stays in cache
_ELEMENTS = 2**28  # elsewhere


def ssd(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    dt_bias: Tensor,
    chunk: int,
    state: Tensor | None = None,
    lengths: Tensor | None = None,
    read: Read | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Output (B, L, H, P), state after the last step (B, H, P, N), and the states that `read` asks for.

        delta = softplus(dt + dt_bias)
        h_l   = exp(delta_l A) h_(l-1) + delta_l x_l B_l    a head: (P, N), outer product of x_l and B_l
        y_l   = h_l C_l + D x_l

    `x` (B, L, H, P); `dt` (B, L, H); `A` (H,), negative; `B`, `C` (B, L, N), of all heads; `D`, `dt_bias`
    (H,); `state` (B, H, P, N), zero if absent. Chunks have at most `chunk` steps. `lengths` (B,): steps
    before padding; later ones leave the state; their output is finite and has no meaning. `read` = (rows,
    positions): the states (R, H, P, N) after that position of that row. Differentiable in every tensor.
    Computes in the precision of `A`, also under autocast; `y` has the type of `x`.

    Decays are taken from differences of sums over a chunk: a relative error of about 1e-7 times the sum. No
    difference is taken between a step and itself, whose gradients would cancel but for rounding.
    """
    check_device(x, dt=dt, A=A, B=B, C=C, D=D, dt_bias=dt_bias, state=state, lengths=lengths)
    given, kind = x.dtype, A.dtype
    x, dt, B, C = (v.to(kind) for v in (x, dt, B, C))
    shape = (x.shape[0], *x.shape[2:], B.shape[2])
    state = x.new_zeros(shape) if state is None else state.to(kind)
    with torch.autocast(x.device.type, enabled=False):  # else the products would run in bf16
        delta = _step_sizes(dt, dt_bias, lengths)
        chunks = _Chunks.of(x * delta.unsqueeze(3), delta * (A * LOG2_E), B, C, chunk)
        before, last = _states(chunks, state.flatten(1, 2))
        y = chunks.outputs(before)[:, : x.shape[1]] + x * D.unsqueeze(1)  # addcmul: a pass more backwards
        states = last[:0] if read is None else chunks.states_at(before, *read)
    heads = x.shape[2:]
    return y.to(given), last.unflatten(1, heads), states.unflatten(1, heads)


def ssd_step(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, dt_bias: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Return y (B, H, P) and the next state, one step of `ssd`.

    `x` (B, H, P), `dt` (B, H), `B` and `C` (B, N).
    """
    given = x.dtype
    x, dt, B, C = (v.to(A.dtype) for v in (x, dt, B, C))
    with torch.autocast(x.device.type, enabled=False):
        delta = F.softplus(dt + dt_bias)
        added = (x * delta.unsqueeze(2)).unsqueeze(3) * B[:, None, None]
        after = torch.addcmul(added, state, torch.exp(delta * A)[:, :, None, None])
        y = torch.matmul(after, C[:, None, :, None]).squeeze(3)
        return torch.addcmul(y, x, D.unsqueeze(1)).to(given), after


def _step_sizes(dt: Tensor, dt_bias: Tensor, lengths: Tensor | None) -> Tensor:
    """delta (B, L, H), 0 in the padding: decay 1 and input 0, so that the state stays."""
    delta = F.softplus(dt + dt_bias)
    if lengths is None:
        return delta
    outside = torch.arange(dt.shape[1], device=dt.device) >= lengths.unsqueeze(1)
    return delta.masked_fill(outside.unsqueeze(2), 0)


class _Chunks(NamedTuple):
    """Inputs cut into K chunks of T steps."""

    u: Tensor  # (B, K, T, H, P), delta x
    sums: Tensor  # (B, K, T, H), log2 of the decay from before the chunk to after the step
    B: Tensor  # (B, K, T, N)
    C: Tensor  # (B, K, T, N)

    @classmethod
    def of(cls, u: Tensor, log2_decay: Tensor, B: Tensor, C: Tensor, chunk: int) -> "_Chunks":
        """Of (B, L, ...), in chunks of one size, with steps at the end that leave the state."""
        length = u.shape[1]
        count = max(1, -(-length // chunk))
        steps = max(1, -(-length // count))
        u, log2_decay, B, C = (_cut(v, count, steps) for v in (u, log2_decay, B, C))
        return cls(u, log2_decay.cumsum(2), B, C)

    def outputs(self, before: Tensor) -> Tensor:
        """y without skip (B, K T, H, P), from the states before the chunks (B, K, E, N)."""
        flat = (v.flatten(0, 1) for v in (self.C, self.B, self.u, self.sums))
        inside: Tensor = _Inside.apply(*flat)  # type: ignore[no-untyped-call]
        carried = torch.matmul(self.C, before.transpose(2, 3)).view_as(self.u)
        return (inside.view_as(self.u) + carried * self.sums.exp2().unsqueeze(4)).flatten(1, 2)

    def states_at(self, before: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
        """States (R, E, N) after `positions` of `rows`."""
        states: Tensor = _Read.apply(self.u, self.sums, self.B, before, rows, positions)  # type: ignore[no-untyped-call]
        return states


def _cut(tensor: Tensor, count: int, steps: int) -> Tensor:
    """(B, L, ...) -> (B, K, T, ...), zeros at the end."""
    missing = count * steps - tensor.shape[1]
    if missing:
        tensor = F.pad(tensor, (*(0, 0) * (tensor.dim() - 2), 0, missing))
    return tensor.unflatten(1, (count, steps))


def _states(chunks: _Chunks, state: Tensor) -> tuple[Tensor, Tensor]:
    """States before every chunk (B, K, E, N) and after the last (B, E, N), from the one before all."""
    ends = chunks.sums[:, :, -1]  # (B, K, H)
    to_end = (ends.unsqueeze(2) - chunks.sums[:, :, :-1]).exp2()  # decay from each step but the last
    weights = F.pad(to_end, (0, 0, 0, 1), value=1.0).unsqueeze(4)  # (B, K, T, H, 1)
    added = torch.matmul((chunks.u * weights).flatten(3).transpose(2, 3), chunks.B)  # (B, K, E, N)
    decay = ends.exp2().repeat_interleave(chunks.u.shape[4], 2).unsqueeze(3)  # (B, K, E, 1)
    before = []
    for add, keep in zip(added.unbind(1), decay.unbind(1), strict=True):
        before.append(state)
        state = torch.addcmul(add, state, keep)
    return torch.stack(before, 1), state


class _Read(torch.autograd.Function):
    """`_states_at`, computed again for the backward pass: it gathers a whole chunk for every state."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*inputs)
        return _states_at(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dstates: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        saved = ctx.saved_tensors  # read once, or blocks could not be checkpointed
        u, sums, B, before = again = [tensor.detach().requires_grad_() for tensor in saved[:4]]
        with torch.enable_grad():
            states = _states_at(u, sums, B, before, *saved[4:])
        return (*torch.autograd.grad(states, again, dstates), None, None)


def _states_at(u: Tensor, sums: Tensor, B: Tensor, before: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
    """States (R, E, N) after `positions` of `rows`: each from its chunk's steps and the state before it."""
    steps = u.shape[2]
    where, within = (rows, positions // steps), (positions % steps).view(-1, 1, 1)
    found = sums[where]  # (R, T, H)
    until = found.gather(1, within.expand(-1, 1, found.shape[2]))  # (R, 1, H)
    step = torch.arange(steps, device=u.device).view(1, -1, 1)
    difference = (until - found).masked_fill(step > within, -torch.inf).masked_fill(step == within, 0)
    added = torch.matmul((u[where] * difference.exp2().unsqueeze(3)).flatten(2).transpose(1, 2), B[where])
    kept = until.squeeze(1).exp2().repeat_interleave(u.shape[4], 1).unsqueeze(2)
    return torch.addcmul(added, before[where], kept)


class _Inside(torch.autograd.Function):
    """What the steps of a chunk give one another: y_t = sum_(s <= t) (C_t . B_s) 2^(sums_t - sums_s) u_s.

    G chunks: `C`, `B` (G, T, N), `u` (G, T, H, P), `sums` (G, T, H) -> (G, T, H, P).
    """

    @staticmethod
    def forward(ctx: Any, C: Tensor, B: Tensor, u: Tensor, sums: Tensor) -> Tensor:
        ctx.save_for_backward(C, B, u, sums)
        y = torch.empty_like(u, memory_format=torch.contiguous_format)
        for part in _parts(sums):
            matrix = _decays(sums[part]).mul_(_products(C[part], B[part]).unsqueeze(1))
            y[part] = torch.matmul(matrix, u[part].transpose(1, 2)).transpose(1, 2)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        C, B, u, sums = ctx.saved_tensors
        gradients = tuple(torch.empty_like(v, memory_format=torch.contiguous_format) for v in (C, B, u, sums))
        dC, dB, du, dsums = gradients
        for part in _parts(sums):
            products, decays = _products(C[part], B[part]).unsqueeze(1), _decays(sums[part])
            heads_dy = dy[part].transpose(1, 2)
            du[part] = torch.matmul((decays * products).transpose(2, 3), heads_dy).transpose(1, 2)
            by_decays = torch.matmul(heads_dy, u[part].permute(0, 2, 3, 1)).mul_(decays)  # (g, H, T, T)
            by_products = by_decays.sum(1)
            torch.bmm(by_products, B[part], out=dC[part])
            torch.bmm(by_products.transpose(1, 2), C[part], out=dB[part])
            by_differences = by_decays.mul_(products).tril_(-1)  # a step's own decay is always 1
            dsums[part] = (by_differences.sum(3) - by_differences.sum(2)).mul_(LN_2).transpose(1, 2)
        return gradients


def _parts(sums: Tensor) -> list[slice]:
    """Groups of chunks whose matrices are made at once."""
    chunks, steps, heads = sums.shape
    most = _CPU_ELEMENTS if sums.device.type == "cpu" else _ELEMENTS
    size = max(1, most // (heads * steps * steps))
    return [slice(start, start + size) for start in range(0, chunks, size)]


def _products(C: Tensor, B: Tensor) -> Tensor:
    """C_t . B_s, (g, T, T)."""
    return torch.bmm(C, B.transpose(1, 2))


def _decays(sums: Tensor) -> Tensor:
    """2^(sums_t - sums_s) where s <= t, else 0: (g, T, H) -> (g, H, T, T)."""
    by_head = sums.transpose(1, 2)
    return (by_head.unsqueeze(3) - by_head.unsqueeze(2)).exp2_().tril_()
