"""The folder of a dataset: `metadata/`, `manifest.json`, and publishing in one step.

The folder is built as `<out>.staging-<pid>/dataset`, on the file system of `out`. A first publication is a
rename. A replacement exchanges the two names in one system call (Linux, macOS). Where the file system has
no exchange, the old folder is moved aside as `<out>.previous` first: `published` finds it there should the
run die between the two renames, and the next run puts it back. The caller holds the OutputLock of `out`, so
any staging folder found there belongs to a run that died.

A published dataset holds patient ids, so its folder has mode 0700, also after a replacement.
"""

import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import meds
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chartscan.errors import DataError
from chartscan.files import MANIFEST, WINDOWS, check_own, read_bytes, sha256, sync
from chartscan.schema import EVENTS, SPLITS
from chartscan.site_key import is_open

CODES = pa.schema(
    [
        pa.field("code", pa.string(), nullable=False),
        pa.field("description", pa.string()),
        pa.field("parent_codes", pa.list_(pa.string())),
        pa.field("event_count", pa.int64(), nullable=False),
        pa.field("subject_count", pa.int64(), nullable=False),
    ]
)


class CodeBook:
    """Descriptions and parents of codes, gathered while reading; their order of arrival does not matter."""

    def __init__(self) -> None:
        self._descriptions: dict[str, str] = {}
        self._parents: dict[str, set[str]] = {}

    def add(self, code: str, description: str | None, parents: Iterable[str] | None) -> None:
        """Add facts of a code: first description by alphabet, all parents."""
        if description:
            self._descriptions[code] = min(description, self._descriptions.get(code, description))
        if parents:
            self._parents.setdefault(code, set()).update(parents)

    def table(self, counts: pa.Table) -> pa.Table:
        """CODES rows for exactly the codes of `counts` (code, event_count, subject_count)."""
        codes = counts["code"].to_pylist()
        descriptions = pa.array([self._descriptions.get(c) for c in codes], pa.string())
        parents = [sorted(self._parents[c]) if c in self._parents else None for c in codes]
        columns = [counts["code"], descriptions, pa.array(parents, pa.list_(pa.string()))]
        return pa.table([*columns, counts["event_count"], counts["subject_count"]], schema=CODES)


def write_codes(folder: Path, codes: pa.Table) -> None:
    """Write `metadata/codes.parquet`."""
    meds.CodeMetadataSchema.validate(codes)
    _write(codes, folder / meds.code_metadata_filepath)


def write_splits(folder: Path, subject_ids: np.ndarray, splits: np.ndarray) -> None:
    """Write `metadata/subject_splits.parquet`."""
    table = pa.table([pa.array(subject_ids, pa.int64()), pa.array(splits, pa.string())], schema=SPLITS)
    meds.SubjectSplitSchema.validate(table)
    _write(table, folder / meds.subject_splits_filepath)


def write_subjects(folder: Path, subjects: pa.Table) -> None:
    """Write `metadata/subjects.parquet`: the subjects, and where ids are open, their patient ids."""
    _write(subjects, folder / "metadata" / "subjects.parquet")


def write_description(folder: Path, source: str) -> None:
    """Write `metadata/dataset.json`. It has no date, so that equal data gives equal files."""
    extensions = [n for n in EVENTS.names if n not in meds.DataSchema.schema().names]
    of_source = ["encounter_id"] if is_open() else []  # under a key it is none of the source's
    content = {
        "dataset_name": source,
        "etl_name": "chartscan",
        "etl_version": version("chartscan"),
        "meds_version": version("meds"),
        "raw_source_id_columns": of_source,
        "code_modifier_columns": ["unit"],
        "other_extension_columns": [n for n in extensions if n not in (*of_source, "unit")],
    }
    meds.DatasetMetadataSchema.validate(content)
    path = folder / meds.dataset_metadata_filepath
    with writing(path):
        path.write_text(json.dumps(content, indent=1) + "\n")


def _write(table: pa.Table, path: Path) -> None:
    with writing(path):
        pq.write_table(table, path)


# The manifest's last entry `sha256` is that of its own text without it, so one changed bit is found before
# use.

FORMAT = 2  # since the first instants of inexact times are columns
_OURS = {"format", "fingerprint", "files"}
_SEAL = "sha256"
_AGAIN = "Ingest the data again."
QUARANTINE = "quarantine"  # the folder in a dataset with the lines that could not be used; see quarantine.py


def file_table(folder: Path) -> dict[str, dict[str, Any]]:
    """SHA-256 and size of every file below `folder` but the manifest, by relative path."""
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return {
        f: {"sha256": sha256(folder / f), "bytes": (folder / f).stat().st_size}
        for f in files
        if f != MANIFEST
    }


def _apart(files: dict[str, dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The files of the dataset, and those of its quarantine, which are no part of the data."""
    within = [name for name in files if name.startswith(f"{QUARANTINE}/")]
    return {f: files[f] for f in files if f not in within}, {f: files[f] for f in within}


def fingerprint(files: dict[str, dict[str, Any]]) -> str:
    """Return one SHA-256 of all files' content, the same whenever written."""
    lines = "".join(f"{files[name]['sha256']}  {name}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Write the manifest of the finished `folder`; `facts` are source, settings, accounting, counts, ..."""
    files, quarantine = _apart(file_table(folder))
    content = {
        "format": FORMAT,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: version(name) for name in ("chartscan", "meds", "pyarrow", "duckdb")},
        "fingerprint": fingerprint(files),
        **facts,
        "quarantine": quarantine,
        "files": files,
    }
    with writing(folder / MANIFEST):
        (folder / MANIFEST).write_bytes(_sealed(content))


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a dataset, without its seal.

    DataError with the remedy when `folder` is something else, or a single bit is not as it was written.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise DataError(f"{folder}: no {MANIFEST}. " + (_something_else(folder, {}) or _no_dataset()))
    raw = read_bytes(path)
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or not content.keys() >= _OURS:
        other = _something_else(folder, content) if isinstance(content, dict) else None
        raise DataError(f"{folder}: {other}" if other else _damaged(path))
    if content["format"] != FORMAT:
        raise DataError(f"{path}: format {content['format']}, expected {FORMAT}. {_AGAIN}")
    if not _whole(raw, content):
        raise DataError(_damaged(path))
    return {key: value for key, value in content.items() if key != _SEAL}


def _sealed(content: dict[str, Any]) -> bytes:
    return _text({**content, _SEAL: hashlib.sha256(_text(content)).hexdigest()})


def _text(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=1).encode() + b"\n"


def _whole(raw: bytes, content: dict[str, Any]) -> bool:
    """Whether the text `raw` is what was written, byte by byte, and its fingerprint that of its files."""
    unsealed = {key: value for key, value in content.items() if key != _SEAL}
    if raw != _sealed(unsealed):
        return False
    try:
        return fingerprint(content["files"]) == content["fingerprint"]
    except (KeyError, TypeError):
        return False


def _damaged(path: Path) -> str:
    return f"{path}: damaged, or not the manifest of a dataset. {_AGAIN}"


def _no_dataset() -> str:
    return "Expected a dataset written by chartscan; make one with: chartscan ingest SOURCE IN OUT"


def _something_else(folder: Path, manifest: dict[str, Any]) -> str | None:
    """Say what a folder without our manifest is, with the remedy; None when that is unknown."""
    sealed_files = manifest.get(_SEAL)
    if isinstance(sealed_files, dict):
        kind = "a trained model" if "model.json" in sealed_files else "a folder of a training run"
        return f"This is {kind}, not a dataset. Give the dataset: the OUT of chartscan ingest"
    if "transactionTime" in manifest or any(folder.glob("*.ndjson*")):
        return f"This is a bulk export, not a dataset yet. Make one with: chartscan ingest fhir {folder} OUT"
    if not manifest and (folder / meds.data_subdirectory).is_dir():
        return f"This is a dataset of ours that lost it. {_AGAIN}" if _by_us(folder) else _FOREIGN
    return None


_FOREIGN = (
    "This is a MEDS dataset from elsewhere, which chartscan cannot read yet. Expected one written by "
    "chartscan ingest, from the records it was made of."
)


def _by_us(folder: Path) -> bool:
    try:
        return json.loads((folder / meds.dataset_metadata_filepath).read_bytes())["etl_name"] == "chartscan"
    except (OSError, ValueError, KeyError, TypeError):
        return False


_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # Linux: RENAME_EXCHANGE; macOS: RENAME_SWAP has the same value


def published(out: Path) -> Path:
    """Return where the dataset `out` is now: `out` itself, or `<out>.previous` after an interrupted run."""
    previous = _previous(out)
    return previous if not out.exists() and previous.exists() else out


def recover(out: Path) -> None:
    """Undo what a run that died left behind. The caller holds the lock."""
    previous = _previous(out)
    check_own(previous)
    if previous.exists() and not out.exists():
        os.rename(previous, out)
    ours = re.compile(re.escape(out.name) + r"\.staging-\d+")
    for path in [p for p in out.parent.iterdir() if ours.fullmatch(p.name)]:
        check_own(path)
        shutil.rmtree(path)
    if previous.exists():
        _discard(previous, make_staging(out))


def make_staging(out: Path) -> Path:
    """Make a private folder beside `out` for this process to build in."""
    staging = out.with_name(f"{out.name}.staging-{os.getpid()}")
    staging.mkdir(mode=0o700, parents=True)
    return staging


def remove_staging(staging: Path) -> None:
    """Remove what this process built or replaced. OSError where something cannot be removed."""
    shutil.rmtree(staging, ignore_errors=True)
    if staging.exists():
        shutil.rmtree(staging)


def publish(folder: Path, out: Path) -> None:
    """Put the complete `folder` in place of `out`; old content goes to staging.

    An error means that it was not published. `sync` the folder it is in afterwards.
    """
    folder.chmod(0o700)
    _sync(folder)
    if not out.exists() or not any(out.iterdir()):
        if WINDOWS and out.exists():
            out.rmdir()
        os.rename(folder, out)
    elif not _exchange(folder, out):
        previous = _previous(out)
        os.rename(out, previous)
        os.rename(folder, out)
        os.rename(previous, folder)


def _previous(out: Path) -> Path:
    return out.with_name(out.name + ".previous")


def _discard(path: Path, staging: Path) -> None:
    """Remove `path` so that its name never stands for half a dataset."""
    os.rename(path, staging / "previous")
    shutil.rmtree(staging)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names atomically; False where the system cannot."""
    if WINDOWS:
        return False
    library = ctypes.CDLL(None, use_errno=True)
    first, second = os.fsencode(one), os.fsencode(other)
    if sys.platform == "darwin" and hasattr(library, "renamex_np"):
        return library.renamex_np(first, second, _RENAME_EXCHANGE) == 0
    if hasattr(library, "renameat2"):
        return library.renameat2(_AT_FDCWD, first, _AT_FDCWD, second, _RENAME_EXCHANGE) == 0
    return False


def _sync(folder: Path) -> None:
    """Every file and folder below `folder` on the disk, not only in memory."""
    for place, _, names in os.walk(folder, topdown=False):
        for path in (*(Path(place, name) for name in names), Path(place)):
            with writing(path):
                sync(path)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within, disk and Arrow errors become an OSError naming `path`."""
    try:
        yield
    except (OSError, pa.ArrowInvalid) as err:
        number = getattr(err, "errno", None) or errno.EIO
        raise OSError(number, f"cannot be written: {os.strerror(number)}", str(path)) from err


def let_go(file: pq.ParquetWriter) -> None:
    """Closes a file that is given up, in any state; never raises."""
    with suppress(Exception):
        file.close()
    file.is_open = False  # or its __del__ would close it again, and fail where no one can catch it
