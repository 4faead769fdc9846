"""Publishes a dataset over another and dies by SIGKILL at the n-th step, for every n: see test_killed.py.

Steps are what Python's audit hooks report (opening to write, renaming, making and removing files and
folders) beside every fsync and every exchange of names, before and after. Each n is a fork of one process
that has already imported everything. Usage: publish_and_die.py FOLDER {exchange,renames} STRIDE; writes,
line by line, "n died" or "n lived" after each run and waits for a line on stdin before the next. STRIDE is
a number of steps, or the numbers of all steps to die at, with commas, and "0" at the end to live.
"""

import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

from chartscan.store import folder as publish
from hospital import random_events, write

AUDITED = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.link"}
EXCHANGE = publish._exchange
FSYNC = os.fsync


class Countdown:
    """Kills this process at the n-th step."""

    def __init__(self, steps: int):
        self.left = steps

    def step(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(self, event: str, arguments: tuple) -> None:
        writing = event != "open" or (
            isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if event in AUDITED and writing:
            self.step()


def run(out: Path, steps: int, exchanges: bool) -> None:
    """Publish three subjects over whatever is at `out`, dying at step `steps`."""
    countdown = Countdown(steps)

    def exchange(one: Path, other: Path) -> bool:
        countdown.step()
        done = exchanges and EXCHANGE(one, other)
        countdown.step()
        return done

    def fsync(handle: int) -> None:
        FSYNC(handle)
        countdown.step()

    publish._exchange = exchange
    os.fsync = fsync
    sys.addaudithook(countdown.hook)
    write(out, random_events(30, 3, seed=2), overwrite=True, bad_line="new", threads=1)


def main(out: Path, exchanges: bool, numbers: Iterable[int]) -> None:
    for steps in numbers:
        child = os.fork()
        if child == 0:
            try:
                run(out, steps, exchanges)
            except BaseException as err:
                sys.stderr.write(repr(err))
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        died = os.WIFSIGNALED(status)
        print(steps, "died" if died else f"lived {os.waitstatus_to_exitcode(status)}", flush=True)
        sys.stdin.readline()
        if not died:
            return


if __name__ == "__main__":
    given = [int(number) for number in sys.argv[3].split(",")]
    numbers = given if len(given) > 1 else range(1, 10_000, given[0])
    main(Path(sys.argv[1]), sys.argv[2] == "exchange", numbers)
