"""Chooses a kernel's implementation: named by the caller, or the fastest available.

native     C++ for processors, built at installation where a compiler is present; float32 states
triton     GPUs, through the Triton that comes with PyTorch
mamba_ssm  GPUs, where that package is installed; only whole sequences from a zero state
chunked    plain PyTorch, any device, float32 and float64
reference  the recurrence as written, slow
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from chartscan.errors import ConfigError
from chartscan.kernels import native
from chartscan.kernels.products import product_library

Backend = Literal["auto", "native", "triton", "mamba_ssm", "chunked", "reference"]
BACKENDS: tuple[str, ...] = get_args(Backend)


def chosen(backend: Backend, x: Tensor, A: Tensor) -> Backend:
    """The backend that scans `x` with `A`; "auto" is the fastest usable.

    Raises ConfigError for one that is asked for by name and cannot run here.
    """
    if backend == "auto":
        return _fastest(x, A)
    reason = _obstacle(backend, x, A)
    if reason:
        raise ConfigError(f"The scan cannot run as {backend!r}: {reason}. Use backend='auto'.")
    return backend


def check_device(x: Tensor, **others: Tensor | None) -> None:
    """ValueError naming a tensor that is not where `x` is.

    With one on "meta" PyTorch would run the operators for their shapes alone and give memory without values.
    """
    for name, tensor in others.items():
        if tensor is not None and tensor.device != x.device:
            raise ValueError(f"{name} is on {tensor.device}, and the first tensor on {x.device}")


def _fastest(x: Tensor, A: Tensor) -> Backend:
    if x.device.type == "cuda" and not _obstacle("triton", x, A) and _trusted(x.device):
        return "triton"
    if x.device.type == "cpu" and A.dtype == torch.float32 and not torch.compiler.is_compiling():
        native.warn_once()  # where the kernels are missing or outdated
    return "chunked" if _obstacle("native", x, A) else "native"


def _obstacle(backend: Backend, x: Tensor, A: Tensor) -> str | None:
    """Why `backend` cannot scan these tensors; None if it can."""
    if backend in ("chunked", "reference"):
        return None
    if backend not in BACKENDS:
        return f"there is no such backend; there are {', '.join(BACKENDS)}"
    device = "cpu" if backend == "native" else "cuda"
    if x.device.type != device:
        return f"it needs tensors on {device!r}, and these are on {x.device.type!r}"
    if A.dtype != torch.float32 or x.dtype not in (torch.float32, torch.bfloat16):
        return f"it computes float32 and bfloat16 with A in float32, not {x.dtype} with A in {A.dtype}"
    if backend == "native":
        return _no_native()
    return _no_triton() if backend == "triton" else None


def _no_native() -> str | None:
    return native.why_not()


def _no_triton() -> str | None:
    from chartscan.kernels import gpu  # here, so that only machines with a GPU import it

    return gpu.why_not()


def _trusted(device: torch.device) -> bool:
    from chartscan.kernels.gpu import self_check  # with Triton, only where there is a device

    return self_check.passes(device)


# What torch.compiler.assume_constant_result does, without importing the compiler: or torch.compile would
# trace the search for extension and device.
for _function in (_no_native, _no_triton, _trusted):
    vars(_function)["_dynamo_marked_constant"] = True


def described(backend: Backend | None = "auto") -> dict[str, str]:
    """Return what computes for `backend` on this machine's processor, for the record of a run.

    None: of a model without a selective scan.
    """
    products = {"matrix products": product_library()}
    if backend is None:
        return products
    if backend not in ("auto", "native"):
        return {"scan": backend} | products
    if not native.available():
        return {"scan": "chunked", "reason": str(native.why_not())} | products
    library = native.library()
    return {"scan": "native", "instruction set": library.isa(), "threads of": library.runtime()} | products
