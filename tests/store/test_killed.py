import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chartscan.errors import DataError
from chartscan.lock import OutputLock
from chartscan.store import folder as publish
from chartscan.store.dataset import Dataset
from hospital import random_events, write

SCRIPT = Path(__file__).parent / "publish_and_die.py"
OLD, NEW, NONE = "old", "new", "none"


def seen_by_a_reader(out: Path) -> str:
    """Which of the two datasets a reader finds at `out`: whole, and with its own quarantine."""
    try:
        dataset = Dataset.open(out)
    except DataError:
        assert not out.exists()
        return NONE
    dataset.verify()
    events = sum(subject.num_rows for _, subject in dataset.subjects())
    records = (dataset.path / "quarantine" / "records-main.jsonl").read_bytes().splitlines()
    (reason,) = (json.loads(record)["reason"] for record in records)
    assert reason == {20: OLD, 30: NEW}[events]
    return reason


def deaths(out: Path, way: str, steps: str) -> Iterator[str]:
    """How each run of publish_and_die ended: "died" or, at last, "lived 0"."""
    command = [sys.executable, str(SCRIPT), str(out), way, steps]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as dying:
        assert dying.stdin is not None
        assert dying.stdout is not None
        for line in dying.stdout:
            yield line.split(maxsplit=1)[1].strip()
            dying.stdin.write("\n")
            dying.stdin.flush()


def write_old(out: Path) -> None:
    write(out, random_events(20, 2, seed=1), overwrite=True, bad_line=OLD)


def tidy(out: Path) -> None:
    """What the next run does first."""
    lock = OutputLock(out)
    lock.acquire()
    publish.recover(out)
    lock.release()
    assert [p.name for p in out.parent.iterdir()] in ([out.name], [])


def killed_at(out: Path, way: str, steps: str, first: bool, dirty: bool = False) -> list[tuple[str, str]]:
    """What a reader saw after each death, and how the run ended. After a death that came after the
    publication the old dataset is put back, or nothing for a `first` one. "dirty": the leavings of each
    death are found by the next run, which dies among them too."""
    if not first:
        write_old(out)
    seen = []
    for outcome in deaths(out, way, steps):
        seen.append((seen_by_a_reader(out), outcome))
        if not dirty:
            tidy(out)
        if seen[-1] == (NEW, "died"):
            if first:
                publish.remove_staging(out)
            else:
                write_old(out)
                assert seen_by_a_reader(out) == OLD
    return seen


@pytest.mark.soak
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("way", ["exchange", "renames"])
@pytest.mark.parametrize("dirty", [False, True])
def test_killed_at_any_step_at_all_a_reader_sees_the_old_dataset_or_the_new_with_its_quarantine(
    tmp_path, way, first, dirty
):
    out = tmp_path / "out"
    seen = killed_at(out, way, "1", first, dirty)
    before = NONE if first else OLD
    assert {place for place, _ in seen} == {before, NEW}
    assert sum(place == before for place, _ in seen) > 30  # many died before the publication
    assert sum(place == NEW for place, _ in seen) >= 2  # and some after it, while cleaning up
    assert seen[-1] == (NEW, "lived 0")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(("way", "first"), [("exchange", False), ("renames", False), ("exchange", True)])
def test_killed_at_some_steps_a_reader_sees_the_old_dataset_or_the_new_with_its_quarantine(
    tmp_path, way, first
):
    out = tmp_path / "out"
    rng = random.Random(os.environ.get("CHARTSCAN_SEED", "0"))
    steps = sorted(rng.sample(range(1, 70), 5)) + list(range(70, 110, 4 if first else 3)) + [0]
    seen = killed_at(out, way, ",".join(map(str, steps)), first)
    assert {place for place, _ in seen} == {NONE if first else OLD, NEW}
    assert seen[-1] == (NEW, "lived 0")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
