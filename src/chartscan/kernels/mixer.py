"""What a Mamba block computes between its outer projections: convolution, selection, scan, gate.

The convolution is depthwise and causal, channels last: native, by shifted multiply-adds, or by `F.conv1d`.
`F.conv1d` wants channels first: on a CPU its copies and grouped backward take 5 to 30 times longer than the
multiply-adds here (measured at (32, 350, 256), width 4), whose rows are treated one after the other so that
they stay in cache. Other devices get `F.conv1d`.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from chartscan.kernels.choice import Backend, check_device, chosen
from chartscan.kernels.native.mixer import causal_conv as native_conv
from chartscan.kernels.native.mixer import mixer as native_mixer
from chartscan.kernels.products import linear
from chartscan.kernels.reference import Read
from chartscan.kernels.scan import selective_scan


def causal_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    window: Tensor | None = None,
    silu: bool = False,
    backend: Backend = "auto",
) -> Tensor:
    """y_l = bias + sum_k weight[:, K-1-k] x_(l-k), then SiLU if `silu`.

    `x` (B, L, E), `weight` (E, K), `bias` (E,), `window` (B, K - 1, E) the inputs before the first step,
    oldest first, zero if absent -> (B, L, E) in the type of `x`, computed in the precision of `weight`.
    `backend` as in `selective_scan`; all but "native" are PyTorch.
    """
    check_device(x, weight=weight, bias=bias, window=window)
    if chosen(backend, x, weight) == "native":
        return native_conv(x, weight, bias, window, silu)
    kind, x = x.dtype, x.to(weight.dtype)
    if window is not None:
        x = torch.cat([window, x], 1)
    y = _conv1d(x, weight, bias) if x.device.type != "cpu" else _shifted(x, weight, bias)
    if window is not None:
        y = y[:, window.shape[1] :]
    return (F.silu(y) if silu else y).to(kind)


def _conv1d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    padded = F.pad(x.transpose(1, 2), (weight.shape[1] - 1, 0))
    return F.conv1d(padded, weight.unsqueeze(1), bias, groups=len(weight)).transpose(1, 2)


def _shifted(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return _CausalConv.apply(x, weight, bias)  # type: ignore[no-untyped-call]


class _CausalConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        taps = _taps(weight)
        y = torch.addcmul(bias, x, taps[0])
        for row_x, row_y in zip(x, y, strict=True):
            for k, tap in enumerate(taps[1 : len(row_x)], start=1):
                row_y[k:].addcmul_(row_x[:-k], tap)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        taps = _taps(weight)
        dx = dy * taps[0]
        dtaps = torch.zeros_like(taps)
        product = torch.empty_like(x[0])
        for row_x, row_dx, row_dy in zip(x, dx, dy, strict=True):
            dtaps[0] += torch.mul(row_dy, row_x, out=product).sum(0)
            for k, tap in enumerate(taps[1 : len(row_x)], start=1):
                row_dx[:-k].addcmul_(row_dy[k:], tap)
                dtaps[k] += torch.mul(row_dy[k:], row_x[:-k], out=product[k:]).sum(0)
        return dx, dtaps.flip(0).t(), dy.sum((0, 1))


def _taps(weight: Tensor) -> Tensor:
    """The weights by how many steps they look back, (K, E)."""
    return weight.t().flip(0).contiguous()


class MixerWeights(NamedTuple):
    """E channels, N states, K taps, R the rank of the step size."""

    conv_weight: Tensor  # (E, K)
    conv_bias: Tensor  # (E,)
    x_proj: Tensor  # (R + 2N, E): low-rank step size, B, C
    dt_proj: Tensor  # (E, R)
    dt_bias: Tensor  # (E,)
    A: Tensor  # (E, N), negative
    D: Tensor  # (E,)


def mixer(
    xz: Tensor,
    weights: MixerWeights,
    window: Tensor | None = None,
    state: Tensor | None = None,
    lengths: Tensor | None = None,
    read: Read | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor, Tensor]:
    """Return output (B, L, E), last state (B, E, N), and states of `read` (R, E, N).

        u = silu(conv(x));  low, B, C = W_x u;  y = scan(u, W_dt low, A, B, C, D, gate z)

    `xz` (B, L, 2E) is the input x beside the gate z, as one projection gives them. `window` (B, K - 1, E) are
    the inputs before the first step, oldest first, `state` (B, E, N) the scan's; zero if absent. `lengths`,
    `read` and `backend` as in `selective_scan`. `y` has the type of `xz`; the products run in that type too.
    Gu and Dao 2023, arXiv:2312.00752, figure 3.
    """
    check_device(xz, **weights._asdict(), window=window, state=state, lengths=lengths)
    if chosen(backend, xz, weights.A) == "native":
        rows, positions = read if read is not None else (None, None)
        keep = torch.is_grad_enabled()
        y, last, states, *_ = native_mixer(xz, *weights, window, state, lengths, rows, positions, keep)
        return y, last, states
    with torch.autocast(xz.device.type, enabled=False):  # which would choose the types of the products
        return _composed(xz, weights, window, state, lengths, read, backend)


def _composed(
    xz: Tensor,
    w: MixerWeights,
    window: Tensor | None,
    state: Tensor | None,
    lengths: Tensor | None,
    read: Read | None,
    backend: Backend,
) -> tuple[Tensor, Tensor, Tensor]:
    """`mixer` from its parts, for every backend that has no operator for the whole."""
    kind, n = xz.dtype, w.A.shape[1]
    x, z = xz.chunk(2, dim=2)
    u = causal_conv(x, w.conv_weight, w.conv_bias, window, silu=True, backend=backend)
    low, B, C = linear(u, w.x_proj.to(kind)).split([w.dt_proj.shape[1], n, n], dim=2)
    dt = linear(low, w.dt_proj.to(kind))
    return selective_scan(u, dt, w.A, B, C, w.D, z, w.dt_bias, state, lengths, read, backend)
