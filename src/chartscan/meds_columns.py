"""Columns of MEDS labels and predictions as other tools write them, read as what they mean or refused.

Times in any resolution and zone are UTC microseconds, whole numbers in any width are subjects, 0 and 1 are
booleans; nothing else is guessed. This module knows no file layout and no task.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chartscan import schema
from chartscan.errors import DataError
from chartscan.notes import Notes

KEYS = ("subject_id", "prediction_time")
VALUE = "boolean_value"
_SHOWN = 5  # columns that a note names


def note_unused(table: pa.Table, used: Iterable[str], what: str, task: str, notes: Notes) -> None:
    """A note with the names of the columns that hold something and are not among those `used`."""
    unused = [n for n in table.column_names if n not in set(used) and not all_null(table[n])]
    if unused:
        shown = ", ".join(map(ascii, unused[:_SHOWN])) + (", ..." if len(unused) > _SHOWN else "")
        notes.add(
            "unused_columns", f"{len(unused)} columns of its {what} are not used: {shown}.", task, False
        )


def check_columns(table: pa.Table, file: Path) -> None:
    """DataError where a key is missing or a column stands there twice."""
    names = table.column_names
    double = sorted({name for name in names if names.count(name) > 1})
    missing = [name for name in KEYS if name not in names]
    if double or missing:
        raise DataError(f"{file}: missing columns {missing}, columns that stand there twice {double}.")


def check_no_doubles(table: pa.Table, place: str) -> None:
    """DataError where two rows have one subject and time; it counts those that contradict each other."""
    group = table.select(KEYS).append_column("answer", _answers(table)).group_by(list(KEYS))
    found = group.aggregate([("answer", "count_distinct"), ([], "count_all")])
    doubles = pc.sum(pc.greater(found["count_all"], 1)).as_py() or 0
    if doubles:
        both = pc.sum(pc.greater(found["answer_count_distinct"], 1)).as_py()
        raise DataError(
            f"{place}: {doubles:,} of {len(found):,} questions (subject_id and prediction_time) stand there "
            f"more than once, {both:,} of them with both answers. Keep one row of each."
        )


def _answers(table: pa.Table) -> pa.ChunkedArray | pa.Array:
    return table[VALUE] if VALUE in table.column_names else pa.nulls(len(table), pa.bool_())


def booleans(table: pa.Table, name: str, file: Path) -> pa.ChunkedArray:
    """The column `name` as booleans, where numbers are 0 and 1 and null is unknown.

    DataError with the count of what is neither: 2 is not true.
    """
    column = table[name]
    if pa.types.is_boolean(column.type) or all_null(column):
        return column.cast(pa.bool_())
    number = is_number(column.type)
    other = _other_than_0_and_1(column) if number else len(column) - column.null_count
    if other:
        raise DataError(
            f"{file}, column {name}: {other:,} of {len(column):,} values are neither true nor false "
            "(nor 0 or 1). Expected booleans."
        )
    return pc.equal(column, 1)


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type holds numbers."""
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def subject_ids(table: pa.Table, file: Path) -> pa.ChunkedArray:
    """The column subject_id as int64; DataError where it is of another kind, or null."""
    column = _complete(table, "subject_id", file)
    try:
        if is_number(column.type) or not len(column):
            return column.cast(pa.int64())
    except pa.ArrowInvalid:
        pass
    raise DataError(f"{file}, column subject_id: expected whole numbers (int64), found {column.type}.")


def prediction_times(table: pa.Table, file: Path) -> pa.ChunkedArray:
    """The column prediction_time as UTC microseconds, rounded down: never later than the instant asked about.

    DataError where it holds no instants, as dates, texts and plain numbers, or one that is out of range.
    """
    column = _complete(table, "prediction_time", file)
    if not pa.types.is_timestamp(column.type) and len(column):
        raise DataError(
            f"{file}, column prediction_time: expected a timestamp, found {column.type}. "
            "Write instants in UTC with a resolution of microseconds."
        )
    try:
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp(column.type.unit))  # of another zone: its instants are in UTC
            if column.type.unit == "ns":
                instants = column.cast(pa.int64()).to_numpy() // 1000
                return pa.chunked_array([pa.array(instants).cast(schema.TIME)])
        return column.cast(schema.TIME)
    except pa.ArrowInvalid as err:
        raise DataError(f"{file}, column prediction_time: holds times out of range of microseconds.") from err


def _complete(table: pa.Table, name: str, file: Path) -> pa.ChunkedArray:
    column = table[name]
    if column.null_count:
        raise DataError(f"{file}, column {name}: {column.null_count:,} null values where none may be.")
    return column


def _other_than_0_and_1(column: pa.ChunkedArray) -> int:
    values = column.drop_null().to_numpy()
    return int(np.count_nonzero((values != 0) & (values != 1)))


def all_null(column: pa.ChunkedArray) -> bool:
    return column.null_count == len(column)
