"""The selective scan of Mamba: one function, several implementations (see `choice`)."""

import torch
from torch import Tensor

from chartscan.kernels import chunked, reference
from chartscan.kernels.choice import Backend, check_device, chosen
from chartscan.kernels.native.scan import selective_scan as native_scan
from chartscan.kernels.reference import Read


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
    lengths: Tensor | None = None,
    read: Read | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor, Tensor]:
    """Return output (B, L, E), last state (B, E, N), and states of `read` (R, E, N).

        delta = softplus(dt + dt_bias)
        h_l   = exp(delta_l A) h_(l-1) + delta_l x_l B_l
        y_l   = (h_l C_l + D x_l) * silu(z_l)

    `x`, `dt`, `z` (B, L, E); `A` (E, N), negative; `B`, `C` (B, L, N); `D`, `dt_bias` (E,); `state` (B, E,
    N), zero if absent. `lengths` (B,): steps before padding; later ones leave the state and give 0. `read` =
    (rows, positions): the state after that position of that row, from which a sequence can fork; without
    `read` the third result has no rows. Differentiable in every argument. Computes in the precision of `A`
    (float32; float64 in plain PyTorch), also under autocast; `y` has the type of `x`. `backend`: see
    `choice`. Gu and Dao 2023, arXiv:2312.00752, with the usual simplification of B's discretisation.
    """
    check_device(x, dt=dt, A=A, B=B, C=C, D=D, z=z, dt_bias=dt_bias, state=state, lengths=lengths)
    match chosen(backend, x, A):
        case "native":
            return _native(x, dt, A, B, C, D, z, dt_bias, state, lengths, read)
        case "triton" | "mamba_ssm" as name:
            which = "auto" if backend == "auto" else name
            from chartscan.kernels import gpu  # here, so that only machines with a GPU import it

            return gpu.scan(x, dt, A, B, C, D, z, dt_bias, state, lengths, read, which)
        case "reference":
            return reference.surrounded(
                reference.scan_reference, x, dt, A, B, C, D, z, dt_bias, state, lengths, read
            )
    return reference.surrounded(chunked.scan, x, dt, A, B, C, D, z, dt_bias, state, lengths, read)


def _native(
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
    given = x.dtype
    kinds = {v.dtype for v in (x, dt, B, C, z) if v is not None}
    kind = given if len(kinds) == 1 else A.dtype  # of one type, or all in float32
    x, dt, B, C = (v.to(kind) for v in (x, dt, B, C))
    D, dt_bias, state = (None if v is None else v.to(A.dtype) for v in (D, dt_bias, state))
    z = None if z is None else z.to(kind)
    rows, positions = read if read is not None else (None, None)
    keep = torch.is_grad_enabled()
    y, last, states, _ = native_scan(x, dt, A, B, C, D, z, dt_bias, state, lengths, rows, positions, keep)
    return y.to(given), last, states
