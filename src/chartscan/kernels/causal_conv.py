"""Depthwise causal convolution over time, channels last: native, by shifted multiply-adds, or by `F.conv1d`.

`F.conv1d` wants channels first: on a CPU its copies and grouped backward take 5 to 30 times longer than the
multiply-adds here (measured at (32, 350, 256), width 4), whose rows are treated one after the other so that
they stay in cache. Other devices get `F.conv1d`.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from chartscan.kernels.choice import Backend, check_device, chosen
from chartscan.kernels.native.conv import causal_conv as native_conv


def causal_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    window: Tensor | None = None,
    silu: bool = False,
    backend: Backend = "auto",
) -> Tensor:
    """y_l = bias + sum_k weight[:, K-1-k] x_(l-k), then SiLU where asked.

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
