"""What a command uses of the machine: threads, the GPU, and freed memory.

Known here are only the names of devices and the settings of the C library.
"""

import ctypes
import os
import sys

from chartscan.errors import ConfigError, check_settings


def threads_of(threads: int) -> int:
    """The number of threads to use: all that this process may have, if 0."""
    check_settings({"threads (0: all)": threads >= 0})
    if threads:
        return threads
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def device_of(name: str) -> str:
    """The device `name`; ConfigError where there is none such, or this machine lacks it."""
    if name not in ("cpu", "cuda"):
        raise ConfigError(f"--device {name}: expected cpu or cuda.")
    if name == "cuda":
        import torch

        if not torch.cuda.is_available():
            why = (
                "this PyTorch was built for the CPU" if not torch.version.cuda else "no usable GPU was found"
            )
            raise ConfigError(
                f"--device cuda: {why}. Leave --device out to compute on the CPU, or install a PyTorch with "
                "CUDA (https://pytorch.org/get-started) on a machine with an NVIDIA GPU and driver."
            )
    return name


_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt, from glibc's malloc.h


def keep_freed_memory() -> bool:
    """Let the process keep freed memory; return whether glibc's malloc allowed it.

    By default glibc gives every large block back at once, and each new tensor then costs a page fault for
    every 4 KiB of it: a third of the time of a training step (log/2026-11-21-native-scan.md). Nothing changes
    with another C library. A process then keeps as much as it once needed at most, to its end: for commands
    that own their process.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # musl
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, -1))
