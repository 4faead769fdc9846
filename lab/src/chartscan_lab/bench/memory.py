"""Extra peak memory of a call, in a process of its own: what an allocator keeps would blur a second one.

It ends with the process that began it, however that one ends: a training in it is asked to save and stop.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

T = TypeVar("T")
PATIENCE_SECONDS = 5.0  # between two calls to end
FAILURES = (MemoryError, RuntimeError, BrokenExecutor)  # of an implementation that takes more than there is
_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def in_fresh_process(function: Callable[..., T], *arguments: Any) -> T:
    """What `function` (of a module, not nested) gives in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_while_wanted, function, *arguments).result()


def _while_wanted(function: Callable[..., T], *arguments: Any) -> T:
    """Runs `function` in the new process; SIGTERM asks it to end where the process that began it is gone."""
    wanting = multiprocessing.parent_process()
    assert wanting is not None  # this is a process that another one began
    threading.Thread(target=_end_after, args=(wanting,), daemon=True).start()
    try:
        return function(*arguments)
    finally:
        if not wanting.is_alive():
            os._exit(1)  # no process takes the result, and the pool would wait for ever


def _end_after(wanting: Any) -> None:
    wanting.join()
    while True:  # some work hears the first only between two parts of it
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PATIENCE_SECONDS)


def failed(failure: BaseException) -> str:
    """Why an implementation has no figure, on one line."""
    return f"failed: {' '.join(str(failure).split())[:100] or type(failure).__name__}"


def extra_bytes(call: Callable[[], object]) -> int:
    """How far the memory of this process rises above what it holds now, while `call` runs."""
    forget_peak()
    before = peak_bytes()
    kept = call()  # results count
    after = peak_bytes()
    del kept
    return after - before


def forget_peak() -> None:
    """Begin anew from the memory held now, where the system can; else the peak so far stands."""
    try:
        _FORGET.write_text("5")
    except OSError:
        return


def peak_bytes() -> int:
    """The most memory this process ever held. Linux's ru_maxrss would include the parent's at the fork."""
    if _STATUS.exists():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    if resource is None:
        raise RuntimeError("this system does not tell the peak memory of a process")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
