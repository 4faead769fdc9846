"""How this process keeps the memory that tensors free."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt, from glibc's malloc.h


def keep_freed_memory() -> bool:
    """Lets freed memory stay with the process, to be used again; whether glibc's malloc is there to be told.

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
