"""A disk that fails at any one call: the error names a file, and what was published stays whole."""

import builtins
import errno
import io
import json
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chartscan.errors import ChartscanError, DataError
from chartscan.sources import fhir
from chartscan.store.config import StoreConfig
from chartscan.store.dataset import Dataset
from chartscan.store.writer import DatasetWriter

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT)
WRITES = os.O_WRONLY | os.O_RDWR


class Disk:
    """Counts calls that change the disk; the `fatal` one fails, as the system would tell it: with a name
    where the call has one."""

    def __init__(self, fatal: int = 0):
        self.calls = 0
        self.fatal = fatal
        self.what = ""

    def call(self, what: str, name: object = None) -> None:
        self.calls += 1
        if self.calls == self.fatal:
            self.what = what
            number = ERRORS[self.calls % len(ERRORS)]
            raise OSError(number, os.strerror(number), *([] if name is None else [str(name)]))


@contextmanager
def failing(disk: Disk) -> Iterator[None]:
    """Python's and Arrow's ways to a disk, all through `disk`."""
    real_open = io.open

    class Raw(io.FileIO):
        def write(self, data: Any, /) -> int:
            disk.call("write")
            return super().write(data)

    def opened(name: Any, mode: str = "r", *args: Any, **named: Any) -> Any:
        if not set(mode) & set("wax+"):
            return real_open(name, mode, *args, **named)
        if not isinstance(name, int) and named.get("opener") is None:
            disk.call("open", name)
        raw = Raw(name, mode.replace("b", "").replace("t", ""), opener=named.get("opener"))
        return io.BufferedWriter(raw) if "b" in mode else io.TextIOWrapper(io.BufferedWriter(raw))

    def named(of: Any, name: str) -> Callable[..., Any]:
        real = getattr(of, name)

        def call(*args: Any, **named: Any) -> Any:
            if name != "open" or args[1] & WRITES:
                disk.call(name, None if name == "fsync" else args[0])
            return real(*args, **named)

        return call

    class Writer(pq.ParquetWriter):
        def __init__(self, where: Any, *args: Any, **named: Any):
            disk.call("Arrow's open", where)
            super().__init__(where, *args, **named)

        def write_table(self, *args: Any, **named: Any) -> None:
            disk.call("Arrow's write")
            super().write_table(*args, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", opened)
        patch.setattr(builtins, "open", opened)
        patch.setattr(pq, "ParquetWriter", Writer)
        for name in ("open", "fsync", "rename", "replace", "mkdir", "link"):
            patch.setattr(os, name, named(os, name))
        yield


def export(folder: Path) -> Path:
    """Two patients, a bad line, and a line that a later version replaces."""
    folder.mkdir()
    patients = [{"resourceType": "Patient", "id": name, "birthDate": "1950-01-01"} for name in "ab"]
    lines = patients + [
        {
            "resourceType": "Condition",
            "id": "c",
            "subject": {"reference": "Patient/a"},
            "code": {"coding": [{"system": "http://snomed.info/sct", "code": f"{n}"}]},
            "recordedDate": "2020-01-01T00:00:00Z",
            "meta": {"versionId": f"{n}"},
        }
        for n in (1, 2)
    ]
    text = "\n".join(map(json.dumps, lines))
    (folder / "all.ndjson").write_text(text + '\n{"resourceType": "Patient"\n')
    return folder


def ingest(source: Path, out: Path, seed: int = 0) -> None:
    config = StoreConfig(error_budget=0.5, seed=seed, threads=1)
    with DatasetWriter(out, source="fhir", config=config, overwrite=True) as writer:
        fhir.read(source, writer)


def seen(out: Path) -> int | None:
    """The seed of the dataset at `out`, None without one; whole, with its quarantine."""
    try:
        dataset = Dataset.open(out)
    except DataError:
        assert not out.exists()
        return None
    dataset.verify()
    assert (dataset.path / "quarantine" / "records-main.jsonl").is_file()
    return dataset.manifest["store"]["seed"]


def check(source: Path, out: Path, number: int, replace: bool) -> None:
    """Fail at one call and see what is said, and what is left."""
    disk, error = Disk(number), None
    try:
        with failing(disk):
            ingest(source, out, seed=1)
    except (OSError, ChartscanError) as err:
        error = err
    if error is None:  # a folder that is there already need not be made
        assert disk.what == "mkdir"
        assert seen(out) == 1
        return
    where = error.filename if isinstance(error, OSError) else str(error)
    assert where, f"{disk.what}: {error} names no file"
    assert str(out.parent) in str(where), f"{disk.what}: {error}"
    assert seen(out) in ((0, 1) if replace else (None, 1))
    left = {path.name for path in out.parent.iterdir()} if out.parent.exists() else set()
    assert left <= {"out", "out.quarantine"}, disk.what


def calls(source: Path, out: Path) -> int:
    """How many calls one ingest makes."""
    disk = Disk()
    with failing(disk):
        ingest(source, out, seed=1)
    return disk.calls


@pytest.mark.soak
@pytest.mark.parametrize("replace", [False, True])
def test_whichever_call_to_the_disk_fails_the_error_names_the_file_and_what_was_published_stays(
    tmp_path, replace
):
    source = export(tmp_path / "in")
    if replace:
        ingest(source, tmp_path / "count" / "out")
    number = calls(source, tmp_path / "count" / "out")
    assert number > 43
    for at in range(1, number + 1):
        out = tmp_path / f"{at}" / "out"
        if replace:
            ingest(source, out)
        check(source, out, at, replace)


def test_when_one_of_some_calls_to_the_disk_fails_the_error_names_the_file(tmp_path):
    source = export(tmp_path / "in")
    number = calls(source, tmp_path / "count" / "out")
    for at in random.Random(os.environ.get("CHARTSCAN_SEED", "0")).sample(range(1, number + 1), 12):
        check(source, tmp_path / f"{at}" / "out", at, replace=False)


def test_the_disk_that_fails_at_no_call_is_a_disk(tmp_path):
    source = export(tmp_path / "in")
    assert calls(source, tmp_path / "out") > 43
    assert seen(tmp_path / "out") == 1
    assert isinstance(Dataset.open(tmp_path / "out").codes(), pa.Table)
