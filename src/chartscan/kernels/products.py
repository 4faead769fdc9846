"""Float32 matrix products by the faster of PyTorch's libraries: oneDNN or BLAS.

PyTorch gives float32 products to MKL, which on AMD's processors does not use the full width of AVX-512. One
thread of a Zen 5, GFLOP/s at 8,192 rows, widths 16 to 1,024 (a Mamba block) and a vocabulary of 5,000: result
70-93 by MKL and 127-212 by oneDNN, gradient of the input 44-95 and 134-217, gradient of the weight 42-97 and
86-212. oneDNN computes in full float32 too; the two differ in the last bits. On Intel's processors MKL is at
home, so there, and wherever nothing was measured, PyTorch decides.

oneDNN is reached through a private operation of PyTorch, hence the trial before its first use.
"""

import platform
import sys
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_CPUINFO = Path("/proc/cpuinfo")
_LEAST = 2**20  # multiply-adds from which oneDNN's ten microseconds a call are repaid


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b: `x` (..., K), `weight` (N, K), `bias` (N,) -> (..., N).

    As `torch.nn.functional.linear`, which it is but for float32 on a processor where oneDNN is faster. Under
    autocast, `torch.compile` and `torch.export` PyTorch's own operation is what they know how to treat.
    """
    plain = bias is None or (bias.dtype == weight.dtype and bias.shape == weight.shape[:1])
    if weight.dim() != 2 or not plain or not _by_onednn(x, weight, len(weight)):
        return F.linear(x, weight, bias)
    return _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call,no-any-return]


def by_input(dy: Tensor, weight: Tensor) -> Tensor:
    """dy W, the gradient of the input: (..., N), (N, K) -> (..., K). Not differentiable."""
    with torch.no_grad():
        if _by_onednn(dy, weight, weight.shape[1]):
            return _onednn(dy, weight.t(), None)
        return dy @ weight


def by_weight(dy: Tensor, x: Tensor) -> Tensor:
    """Return the gradient of the weight, dy^T x: (..., N), (..., K) -> (N, K).

    Summed over all rows. Not differentiable. oneDNN wants the rows of its first factor in one piece, so the
    narrower one of the two is transposed. The result then may have the strides of a transposed matrix.
    """
    with torch.no_grad():
        a, b = (v.reshape(-1, v.shape[-1]) for v in (dy, x))
        if not _by_onednn(a, b, b.shape[1]):
            return a.t() @ b
        a, b = a.contiguous(), b.contiguous()
        return _onednn(a.t(), b.t(), None) if a.shape[1] <= b.shape[1] else _onednn(b.t(), a.t(), None).t()


def product_library() -> str:
    """What computes large float32 products on this processor: 'oneDNN', or 'BLAS' for PyTorch's choice."""
    return "oneDNN" if _onednn_is_faster() else "BLAS"


@cache
def is_amd() -> bool:
    """Whether AMD made it; False where that is not known."""
    name = _cpuinfo().get("vendor_id") or platform.processor()
    return "AuthenticAMD" in name


@cache
def has_avx512() -> bool:
    """Whether PyTorch computes with vectors of 512 bits here."""
    return torch.backends.cpu.get_cpu_capability() == "AVX512"


@cache
def has_bf16() -> bool:
    """Whether there are instructions for products of bfloat16; False where that is not known."""
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(_cpuinfo().get("flags", "").split())


def _cpuinfo() -> dict[str, str]:
    """What Linux says of the first core, value by key; nothing elsewhere."""
    if not sys.platform.startswith("linux") or not _CPUINFO.exists():
        return {}
    first = _CPUINFO.read_text().split("\n\n", 1)[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        dx = by_input(dy, weight) if wants_x else None
        dweight = by_weight(dy, x).contiguous() if wants_weight else None
        return dx, dweight, dy.reshape(-1, len(weight)).sum(0) if wants_bias else None


def _by_onednn(a: Tensor, b: Tensor, columns: int) -> bool:
    return (
        a.dtype == b.dtype == torch.float32
        and a.is_cpu
        and b.is_cpu
        and a.numel() * columns >= _LEAST
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and _onednn_is_faster()
    )


@cache
def _onednn_is_faster() -> bool:
    if not (is_amd() and has_avx512() and torch.backends.mkldnn.is_available()):
        return False
    a, b = torch.linspace(-1, 1, 15).view(3, 5), torch.linspace(-1, 2, 20).view(4, 5)
    try:
        return torch.allclose(_onednn(a, b, b[:, 0].contiguous()), F.linear(a, b, b[:, 0]), atol=1e-5)
    except (AttributeError, RuntimeError, TypeError):  # a PyTorch that has not this operation, or another one
        return False


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    bias = None if bias is None else bias.contiguous()  # its strides would be ignored
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return found
