"""What a measurement depends on beside the code: processor, libraries, threads, and what else was running."""

import importlib.metadata
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from chartscan.kernels import native
from chartscan.machine import keep_freed_memory

LIBRARIES = ("torch", "transformers", "mambapy", "mamba_ssm")


@contextmanager
def observed(threads: int, keep_memory: bool = False) -> Iterator[dict[str, Any]]:
    """The conditions, with `threads` set for PyTorch meanwhile; the load afterwards is added at the end.

    `keep_memory`: freed memory stays with the process from now on (see machine.py of chartscan).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    found = {
        "processor": _processor(),
        "logical_processors": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in LIBRARIES},
        "native": _native(),
        "threads": threads,
        "freed_memory_kept": keep_memory and keep_freed_memory(),
        "load_before": load(),
    }
    try:
        yield found
    finally:
        found["load_after"] = load()
        torch.set_num_threads(before)


def load() -> list[float] | None:
    """Processes that wanted a processor, on average over 1, 5 and 15 minutes; None where it is not known."""
    return [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None


def described(found: dict[str, Any]) -> str:
    """The conditions in a line or two."""
    kept = "kept" if found["freed_memory_kept"] else "given back"
    libraries = ", ".join(f"{name} {found[name]}" for name in LIBRARIES if found[name])
    loads = [found[key][0] if found[key] else "unknown" for key in ("load_before", "load_after")]
    return (
        f"{found['processor']}, {found['threads']} of {found['logical_processors']} processors; {libraries}; "
        f"native kernels: {found['native']}; freed memory is {kept}.\n"
        f"Load (1 minute) {loads[0]} before, {loads[1]} after."
    )


def _native() -> str:
    """The instruction set in use and where threads come from, or why there are no native kernels."""
    if not native.available():
        return f"none ({native.why_not()})"
    library = native.library()
    return f"{library.isa()}, threads of {library.runtime()}"


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None
