"""MEDS rules over a whole folder, including those its own validators skip.

Works on any MEDS dataset, ours or not: schema of every file, time order, contiguity, one file per subject,
code coverage. Files with our columns are also checked against schema.EVENTS and the full order of
schema.SORT_KEYS. Everything wrong is listed, by file and count, never by content.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import meds
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from flexible_schema import SchemaValidationError, TableValidationError

from chartscan.schema import EVENTS, SORT_KEYS, TYPE_NAMES, subject_starts


def violations(folder: Path) -> list[str]:
    """Return a sentence for each rule that the dataset breaks; empty if valid."""
    files = sorted((folder / meds.data_subdirectory).rglob("*.parquet"))
    if not files:
        return [f"{meds.data_subdirectory}/: no Parquet files."]
    found: list[str] = []
    subjects: list[np.ndarray] = []
    codes: set[str] = set()
    for path in files:
        name = path.relative_to(folder).as_posix()
        table, problems = _read(path, name, meds.DataSchema)
        found += problems
        if table is not None:
            found += _of_events(table, name)
            subjects.append(_distinct(table, "subject_id", pa.int64()))
            codes.update(_distinct(table, "code", pa.string()).tolist())
    ids = np.concatenate([*subjects, np.array([], np.int64)])
    twice = len(ids) - len(np.unique(ids))
    if twice:
        found.append(f"{meds.data_subdirectory}/: {twice} subjects are in more than one file.")
    return [*found, *_of_codes(folder, codes), *_of_splits(folder, ids), *_of_description(folder)]


def _read(path: Path, name: str, schema: Any) -> tuple[pa.Table | None, list[str]]:
    """The table of a file (None when it cannot be read), and what `schema` of meds says against it."""
    try:
        table = pq.ParquetFile(path).read()
        table.validate(full=True)  # damaged text would fail later, with its content in the message
    except (OSError, pa.ArrowException):
        return None, [f"{name}: missing or damaged."]
    try:
        schema.validate(table)
    except (SchemaValidationError, TableValidationError) as err:
        return table, [f"{name}: {err}."]
    return table, []


def _of_events(table: pa.Table, name: str) -> Iterator[str]:
    """Rules about rows; those that need a column which is missing or of another type are left out."""
    if not _has(table, "subject_id", pa.int64()) or table["subject_id"].null_count:
        return
    ids = table["subject_id"].to_numpy()
    split = len(subject_starts(ids)) - len(np.unique(ids))
    if split:
        yield f"{name}: rows of a subject are not contiguous ({split} breaks)."
    ours = "available_time" in table.column_names
    if ours and (table.schema.names, table.schema.types) != (EVENTS.names, EVENTS.types):
        yield f"{name}: columns or types differ from schema.EVENTS."
    elif ours:
        yield from _of_our_events(table, ids, name)
    elif _has(table, "time", EVENTS.field("time").type):
        rows = _disorder(table, ids, ("time",))
        if rows:
            yield f"{name}: {rows} rows earlier than the row before them (no time comes first)."


def _of_our_events(table: pa.Table, ids: np.ndarray, name: str) -> Iterator[str]:
    ranked = table.append_column("event_rank", pc.index_in(table["event_type"], value_set=TYPE_NAMES))
    backwards = int((ids[1:] < ids[:-1]).sum())
    counts = {
        "rows out of the order of schema.SORT_KEYS": backwards + _disorder(ranked, ids, SORT_KEYS[1:]),
        "rows with an unknown event_type": ranked["event_rank"].null_count,
        "rows with a numeric_value that is not finite": _true(
            pc.invert(pc.is_finite(table["numeric_value"]))
        ),
        "rows with an available_time before time": _true(pc.less(table["available_time"], table["time"])),
    }
    for what, rows in counts.items():
        if rows:
            yield f"{name}: {rows} {what}."


def _disorder(table: pa.Table, ids: np.ndarray, keys: tuple[str, ...]) -> int:
    """How many rows come before the previous row of their subject by `keys`, nulls first."""
    undecided = ids[1:] == ids[:-1]
    wrong = np.zeros(len(undecided), bool)
    for key in keys:
        before, after = table[key][:-1].combine_chunks(), table[key][1:].combine_chunks()
        no_before, no_after = _mask(before.is_null()), _mask(after.is_null())
        wrong |= undecided & (_mask(pc.greater(before, after)) | (no_after & ~no_before))
        undecided &= _mask(pc.equal(before, after)) | (no_before & no_after)
    return int(wrong.sum())


def _of_codes(folder: Path, codes: set[str]) -> list[str]:
    name = meds.code_metadata_filepath
    table, found = _read(folder / name, name, meds.CodeMetadataSchema)
    if table is not None:
        lacking = len(codes - set(_distinct(table, "code", pa.string()).tolist()))
        found += [f"{name}: {lacking} codes of the data are missing."] if lacking else []
    return found


def _of_splits(folder: Path, ids: np.ndarray) -> list[str]:
    name = meds.subject_splits_filepath
    table, found = _read(folder / name, name, meds.SubjectSplitSchema)
    if table is not None:
        known = _distinct(table, "subject_id", pa.int64())
        lacking, twice = int((~np.isin(ids, known)).sum()), table.num_rows - len(known)
        found += [f"{name}: {lacking} subjects of the data are missing."] if lacking else []
        found += [f"{name}: {twice} subjects are named more than once."] if twice else []
    return found


def _of_description(folder: Path) -> list[str]:
    name = meds.dataset_metadata_filepath
    try:
        meds.DatasetMetadataSchema.validate(json.loads((folder / name).read_bytes()))
    except FileNotFoundError:
        return [f"{name}: missing."]
    except (ValueError, TypeError, SchemaValidationError, TableValidationError) as err:
        return [f"{name}: not as MEDS wants it ({type(err).__name__})."]
    return []


def _has(table: pa.Table, name: str, kind: pa.DataType) -> bool:
    return name in table.column_names and table[name].type == kind


def _distinct(table: pa.Table, name: str, kind: pa.DataType) -> np.ndarray:
    """Sorted distinct values of a column, nulls apart; empty when it is missing or of another type."""
    if not _has(table, name, kind):
        return np.array([], kind.to_pandas_dtype())
    values = table[name].unique().drop_null()
    return np.sort(values.to_numpy(zero_copy_only=False))


def _mask(values: pa.Array) -> np.ndarray:
    return values.fill_null(False).to_numpy(zero_copy_only=False)


def _true(values: pa.ChunkedArray) -> int:
    return pc.sum(values).as_py() or 0
