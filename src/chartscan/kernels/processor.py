"""What kind of processor this is: its maker and the instructions it knows."""

import platform
import sys
from functools import cache
from pathlib import Path

import torch

_CPUINFO = Path("/proc/cpuinfo")


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
