"""Which GPU scan runs: Triton's, mamba_ssm's where asked for, or the faster of both where both can."""

from typing import Literal

import torch
from torch import Tensor

from chartscan.errors import ConfigError
from chartscan.kernels import mamba_ssm
from chartscan.kernels.gpu.operator import gpu_scan
from chartscan.kernels.gpu.trial import faster
from chartscan.kernels.reads import Read

Scanned = tuple[Tensor, Tensor, Tensor]


def scan(
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
    backend: Literal["auto", "triton", "mamba_ssm"] = "auto",
) -> Scanned:
    """`selective_scan` on a GPU: y (B, L, E), last state (B, E, N), states read (R, E, N).

    "auto" times both the first time that it meets a shape, where mamba_ssm is installed and can do this scan.
    """
    kinds = {v.dtype for v in (x, dt, B, C, z) if v is not None}
    given, kind = x.dtype, x.dtype if len(kinds) == 1 else A.dtype  # of one type, or all in float32
    x, dt, B, C = (v.to(kind) for v in (x, dt, B, C))
    D, dt_bias, state = (None if v is None else v.to(A.dtype) for v in (D, dt_bias, state))
    z = None if z is None else z.to(kind)

    def triton() -> Scanned:
        rows, positions = read if read is not None else (None, None)
        inputs = (x, dt, A, B, C, D, z, dt_bias, state, lengths, rows, positions)
        return gpu_scan(*inputs, torch.is_grad_enabled())[:3]

    def other() -> Scanned:
        return mamba_ssm.scan(x, dt, A, B, C, D, z, dt_bias)

    if backend == "auto" and torch.compiler.is_compiling():
        backend = "triton"  # nothing can be timed while it is traced
    reason = "not asked" if backend == "triton" else mamba_ssm.why_not(x, A, state, lengths, read)
    if backend == "mamba_ssm" and reason:
        raise ConfigError(f"The scan cannot run as 'mamba_ssm': {reason}. Use backend='auto'.")
    run = other if backend == "mamba_ssm" else triton
    if backend == "auto" and not reason:
        run = faster(triton, other, x, A)
    y, last, states = run()
    return y.to(given), last, states
