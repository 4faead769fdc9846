import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chartscan.errors import DataError
from chartscan.lock import OutputLock
from chartscan.store import publish
from chartscan.store.dataset import Dataset
from hospital import random_events, write

SCRIPT = Path(__file__).parent / "publish_and_die.py"
OLD, NEW, NONE = "old", "new", "none"


def seen_by_a_reader(out: Path) -> str:
    """Which of the two datasets a reader finds, whole, at `out`."""
    try:
        dataset = Dataset.open(out)
    except DataError:
        assert not out.exists()
        return NONE
    dataset.verify()
    events = sum(subject.num_rows for _, subject in dataset.subjects())
    return {20: OLD, 30: NEW}[events]


def deaths(out: Path, way: str, stride: int) -> Iterator[str]:
    """How each run of publish_and_die ended: "died" or, at last, "lived 0"."""
    command = [sys.executable, str(SCRIPT), str(out), way, str(stride)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as dying:
        assert dying.stdin is not None
        assert dying.stdout is not None
        for line in dying.stdout:
            yield line.split(maxsplit=1)[1].strip()
            dying.stdin.write("\n")
            dying.stdin.flush()


def tidy(out: Path) -> None:
    """What the next run does first."""
    lock = OutputLock(out)
    lock.acquire()
    publish.recover(out)
    lock.release()
    assert [p.name for p in out.parent.iterdir()] == [out.name]


# "dirty": the leavings of each death are found by the next run, which dies among them too.
@pytest.mark.parametrize(("way", "dirty"), [("exchange", False), ("renames", True)])
def test_whenever_a_run_is_killed_a_reader_sees_the_old_dataset_or_the_new(tmp_path, way, dirty):
    out = tmp_path / "out"
    write(out, random_events(20, 2, seed=1))
    seen = []
    for outcome in deaths(out, way, stride=1):
        seen.append(seen_by_a_reader(out))
        if not dirty:
            tidy(out)
        if seen[-1] == NEW and outcome == "died":
            write(out, random_events(20, 2, seed=1), overwrite=True)
            assert seen_by_a_reader(out) == OLD
    assert outcome == "lived 0"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert set(seen) == {OLD, NEW}
    assert seen.count(OLD) > 20  # many died before the publication
    assert seen.count(NEW) > (2 if dirty else 8)  # and some after it, while cleaning up


def test_a_first_publication_that_dies_leaves_nothing_that_looks_like_a_dataset(tmp_path):
    seen = []
    for _ in deaths(tmp_path / "out", "exchange", stride=4):
        seen.append(seen_by_a_reader(tmp_path / "out"))
    published = seen.index(NEW)
    assert published > 5
    assert seen == [NONE] * published + [NEW] * (len(seen) - published)
