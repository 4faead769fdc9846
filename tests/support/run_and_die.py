"""Runs a command and dies by SIGKILL at its n-th step: see test_faults_of_commands.py.

Steps are what Python's audit hooks report (opening to write, renaming, making and removing files and folders)
beside every fsync. Each n is a fork of one process that has already imported everything. Usage:
run_and_die.py FILES_OF COMMAND...; reads from stdin, line by line, the n to die at, 0 to live, and writes
"died N" or "lived CODE N" after each, N steps having been counted.
"""

import os
import signal
import struct
import sys
from pathlib import Path

from chartscan import cli
from chartscan.commands import evaluate, explain, predict, train  # what commands import when they run

AUDITED = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.link"}
FSYNC = os.fsync
IMPORTED = evaluate, explain, predict, train


class Countdown:
    """Kills this process at the n-th step on files below `root`, and tells through `pipe` how far it came."""

    def __init__(self, steps: int, root: Path, pipe: int):
        self.done, self._last, self._root, self._pipe = 0, steps, str(root.resolve()), pipe

    def step(self) -> None:
        self.done += 1
        os.write(self._pipe, struct.pack("i", self.done))
        if self.done == self._last:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(self, event: str, arguments: tuple) -> None:
        writing = event != "open" or (
            isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        named = event in AUDITED and isinstance(arguments[0], str | os.PathLike)
        if named and writing and os.path.abspath(arguments[0]).startswith(self._root):
            self.step()

    def fsync(self, handle: int) -> None:
        FSYNC(handle)
        self.step()


def run(steps: int, root: Path, pipe: int) -> int:
    """The exit code of the command, unless it dies."""
    countdown = Countdown(steps, root, pipe)
    os.fsync = countdown.fsync
    sys.addaudithook(countdown.hook)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def main(root: Path) -> None:
    for line in sys.stdin:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            os._exit(run(int(line), root, writer))
        os.close(writer)
        with os.fdopen(reader, "rb") as counted:
            steps = len(counted.read()) // 4
        _, status = os.waitpid(child, 0)
        print(
            "died" if os.WIFSIGNALED(status) else f"lived {os.waitstatus_to_exitcode(status)}",
            steps,
            flush=True,
        )


if __name__ == "__main__":
    place = Path(sys.argv.pop(1))
    main(place)
