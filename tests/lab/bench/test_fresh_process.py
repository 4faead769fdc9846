import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chartscan.training.checkpoint import interruption
from chartscan_lab.bench.memory import in_fresh_process

BEGIN = """
import sys
from pathlib import Path
from chartscan_lab.bench.memory import in_fresh_process
from tests.lab.bench import test_fresh_process as here

if __name__ == "__main__":
    in_fresh_process(getattr(here, sys.argv[1]), Path(sys.argv[2]))
"""


def doubled(number: int) -> int:
    return 2 * number


def refused(number: int) -> int:
    raise ValueError(f"not {number}")


def waits(folder: Path) -> None:
    """Says its number and does nothing for a minute."""
    (folder / "number").write_text(str(os.getpid()))
    time.sleep(60)


def saves(folder: Path) -> None:
    """As a training does: it goes on until told to stop, saves, and returns."""
    with interruption() as wish:
        (folder / "number").write_text(str(os.getpid()))
        while not wish.requested:
            time.sleep(0.01)
    (folder / "saved").write_text("")


def test_results_and_errors_come_back():
    assert in_fresh_process(doubled, 21) == 42
    with pytest.raises(ValueError, match="not 3"):
        in_fresh_process(refused, 3)


@pytest.mark.parametrize(("how", "what"), [(signal.SIGTERM, "saves"), (signal.SIGKILL, "waits")])
def test_the_process_ends_with_the_one_that_began_it(tmp_path, how, what):
    script = tmp_path / "begin.py"
    script.write_text(BEGIN)
    root = Path(__file__).parents[3]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "src")])}
    beginner = subprocess.Popen([sys.executable, script, what, tmp_path], env=environment)
    number = int(_within(60, lambda: (tmp_path / "number").exists() and (tmp_path / "number").read_text()))
    beginner.send_signal(how)
    beginner.wait(30)
    assert _within(30, lambda: not _runs(number))
    assert (tmp_path / "saved").exists() == (what == "saves")


def _runs(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _within(seconds: float, found):
    end = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return result
