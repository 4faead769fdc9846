"""Kills trainings and resumes them, each in a forked process; prints one JSON line per kill.

Run by test_resume.py in a process of its own, where torch has one thread and forking is safe.
"""

import json
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import msgspec
import torch

from chartscan import files
from toy_training import CONFIG, ToyBatches, toy_fit, trace

DURABILITY_CALLS = ("fsync", "rename", "replace", "rmdir")
SHORT = msgspec.structs.replace(CONFIG, epochs=1, checkpoint_every_steps=1, patience=None, evaluate_every=2)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_child(work: Callable[[], object]) -> int:
    """What ended a forked process that did `work`: 0, or the number of a signal."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)


class DeadlyBatches(ToyBatches):
    """Kills the process when batch number `fatal`, counted over the run, is asked for."""

    def __init__(self, fatal: int):
        super().__init__()
        self.left = fatal

    def batch(self, epoch: int, index: int) -> torch.Tensor:
        self.left -= 1
        if self.left < 0:
            die()
        return super().batch(epoch, index)


def count_durability_calls(fatal: int | None) -> list[int]:
    """Counts calls that make files durable, from now on; dies instead of making call number `fatal`."""
    counter = [0]
    for name in DURABILITY_CALLS:
        original = getattr(os, name)

        def counting(*args, original=original, **kwargs):
            if counter[0] == fatal:
                die()
            counter[0] += 1
            return original(*args, **kwargs)

        setattr(os, name, counting)
    return counter


def short_run(folder: Path, fatal: int | None) -> None:
    counter = count_durability_calls(fatal)
    toy_fit(folder, config=SHORT)
    (folder / "calls").write_text(str(counter[0]))


def sound(folder: Path) -> bool:
    """Whether every checkpoint that a reader can see is whole."""
    return all(files.verify(path) for path in (folder / "checkpoints").glob("[a-z]*"))


def tell(kind: str, at: int, ended_by: int, resumed: int, same: bool, whole: bool) -> None:
    row = {"kind": kind, "at": at, "killed": ended_by == signal.SIGKILL, "resumed": resumed == 0}
    print(json.dumps(row | {"same": same, "whole": whole}), flush=True)


def kill_at_batches(root: Path, n_kills: int) -> None:
    """Kills at random batches, the middle of an accumulation included."""
    whole = root / "unbroken"
    assert in_child(lambda: toy_fit(whole)) == 0
    expected = trace(whole)
    n_batches = 3 * len(expected["losses"])
    for kill, fatal in enumerate(sorted(random.Random(5).sample(range(n_batches - 2), n_kills))):
        folder = root / f"batch-{kill}"
        ended = in_child(lambda f=folder, n=fatal: toy_fit(f, data=DeadlyBatches(n)))
        seen_whole = sound(folder)
        resumed = in_child(lambda f=folder: toy_fit(f, resume=True))
        tell("batch", fatal, ended, resumed, trace(folder) == expected, seen_whole)


def kill_at_durability_calls(root: Path) -> None:
    """Kills before every single fsync, rename and removal of a folder."""
    whole = root / "short"
    assert in_child(lambda: short_run(whole, None)) == 0
    expected = trace(whole)
    for fatal in range(int((whole / "calls").read_text())):
        folder = root / f"call-{fatal}"
        ended = in_child(lambda f=folder, n=fatal: short_run(f, n))
        seen_whole = sound(folder)
        resumed = in_child(lambda f=folder: toy_fit(f, config=SHORT, resume=True))
        tell("call", fatal, ended, resumed, trace(folder) == expected, seen_whole)


if __name__ == "__main__":
    torch.set_num_threads(1)
    toy_fit(
        Path(sys.argv[1]) / "imports", config=SHORT
    )  # what torch imports late, it imports before the forks
    kill_at_batches(Path(sys.argv[1]), n_kills=10)
    kill_at_durability_calls(Path(sys.argv[1]))
