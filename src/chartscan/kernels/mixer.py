"""What a Mamba block computes between its two outer projections: convolution, selection, scan, gate."""

from typing import NamedTuple

import torch
from torch import Tensor

from chartscan.kernels.causal_conv import causal_conv
from chartscan.kernels.choice import Backend, check_device, chosen
from chartscan.kernels.native.mixer import mixer as native_mixer
from chartscan.kernels.products import linear
from chartscan.kernels.reads import Read
from chartscan.kernels.scan import selective_scan


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
    """Output (B, L, E), state after the last step (B, E, N), and the states that `read` asks for (R, E, N).

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
