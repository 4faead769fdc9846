"""Whether this machine can run the Triton kernels, and why not."""

import os
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import torch

_OLDEST_TRITON = (3, 3)  # the first with tuples in kernels
_OLDEST_DEVICE = (8, 0)  # compute capability: the first with bfloat16


def available() -> bool:
    return why_not() is None


@cache
def why_not() -> str | None:
    """What is missing, in words; None if nothing."""
    if not torch.cuda.is_available():
        return "PyTorch finds no CUDA device"
    if torch.cuda.get_device_capability() < _OLDEST_DEVICE:
        return "the device is older than compute capability 8.0"
    try:
        found = version("triton")
    except PackageNotFoundError:
        return "Triton is not installed"
    if tuple(int(part) for part in found.split(".")[:2]) < _OLDEST_TRITON:
        return f"Triton {found} is older than 3.3"
    return None


def interpreted() -> bool:
    """Whether Triton's interpreter runs the kernels, on processors: for tests only."""
    return os.environ.get("TRITON_INTERPRET") == "1"
