"""LABELS on disk: one parquet file per task, with the task's name and cohort counts in its metadata.

QUESTIONS, which ask without knowing the answer, are the same files without the column of values. Files of
other MEDS tools are read too: what stands beside LABELS is noted and left out, and no number but 0 and 1 is
taken for a boolean.
"""

from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chartscan import parquet_files, schema
from chartscan.cohort.counts import Counts
from chartscan.errors import DataError
from chartscan.notes import Notes
from chartscan.task_files import TaskFiles, checked_name, task_files

KEYS = ("subject_id", "prediction_time")
VALUE = "boolean_value"
_NUMBERS = ("integer_value", "float_value")
_OTHER_VALUES = (*_NUMBERS, "categorical_value")
_SHOWN = 5  # columns that a note names


def write_labels(path: Path, table: pa.Table, task: str, counts: Counts, questions: bool = False) -> None:
    """Write one task's labels, or questions, whole or not at all: a reader sees the old file or the new.

    For its owner alone: it says who was in hospital, and when.
    """
    metadata = {schema.TASK_KEY: task.encode(), schema.COHORT_KEY: msgspec.json.encode(counts)}
    wanted = schema.QUESTIONS if questions else schema.LABELS
    checked = schema.check(table, wanted, f"labels of {task}").replace_schema_metadata(metadata)
    parquet_files.write_table(path, checked)


def read_labels(
    path: Path, questions: bool = False, notes: Notes | None = None
) -> tuple[pa.Table, str, Counts | None]:
    """Labels of the one task of a file or folder, its name, and its cohort counts where the file has them.

    As `read_task`; DataError where `path` holds none or several.
    """
    found = task_files(path)
    if not found:
        raise DataError(f"{path}: no labels found. Expected a parquet file or a folder with some.")
    read = [read_task(one, questions, notes) for one in found]
    if len(read) > 1:
        tasks = ", ".join(sorted({task for _, task, _ in read}))
        raise DataError(f"{path}: holds labels of several tasks ({tasks}). Name one file.")
    return read[0]


def read_task(
    given: TaskFiles, questions: bool = False, notes: Notes | None = None
) -> tuple[pa.Table, str, Counts | None]:
    """Labels of one task from its file or shards, its name, and its cohort counts where one file has them.

    Rows without a value are unknown: left out and noted. Where no row has one, the table is QUESTIONS if
    those are welcome. DataError where labels are not boolean, or one subject and time stand there twice.
    """
    shards = [_Shard(file) for file in given.files]
    notes = Notes() if notes is None else notes
    task = _task(given, shards)
    table = pa.concat_tables([shard.rows(task, notes) for shard in shards])
    place = str(given.files[0] if len(given.files) == 1 else given.files[0].parent)
    table = _answered(table, shards, place, task, questions, notes)
    check_no_doubles(table, place)
    return table, task, shards[0].counts() if len(shards) == 1 else None


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


class _Shard:
    """One file of labels as it was read."""

    def __init__(self, file: Path):
        self.file = file
        self.table = parquet_files.read_table(file, "Write the labels again.")
        names = self.table.column_names
        double = sorted({name for name in names if names.count(name) > 1})
        missing = [name for name in KEYS if name not in names]
        if double or missing:
            raise DataError(f"{file}: missing columns {missing}, columns that stand there twice {double}.")
        self.has_column = VALUE in names

    @property
    def task(self) -> str | None:
        """The name of the task where the file holds it."""
        stored = (self.table.schema.metadata or {}).get(schema.TASK_KEY)
        return None if stored is None else checked_name(stored.decode(errors="replace"), self.file)

    def counts(self) -> Counts | None:
        """The cohort counts where the file holds them."""
        stored = (self.table.schema.metadata or {}).get(schema.COHORT_KEY)
        if stored is None:
            return None
        try:
            return msgspec.json.decode(stored, type=Counts)
        except (msgspec.DecodeError, UnicodeDecodeError) as err:
            raise DataError(
                f"{self.file}: its cohort counts cannot be read. Label the dataset again."
            ) from err

    def rows(self, task: str, notes: Notes) -> pa.Table:
        """LABELS, in which values may be null; what else stands in the file is noted."""
        values, taken = self._values(task, notes)
        unused = [name for name in self.table.column_names if name not in (*KEYS, taken)]
        extra = [name for name in unused if not _all_null(self.table[name])]
        if extra:
            shown = ", ".join(map(ascii, extra[:_SHOWN])) + (", ..." if len(extra) > _SHOWN else "")
            notes.add(
                "label_columns", f"{len(extra)} columns of its label file are not used: {shown}.", task, False
            )
        columns = [subject_ids(self.table, self.file), prediction_times(self.table, self.file), values]
        return pa.table(columns, names=[*KEYS, VALUE])

    def _values(self, task: str, notes: Notes) -> tuple[pa.ChunkedArray | pa.Array, str]:
        """Booleans, null where unknown, and the column they are taken from."""
        filled = [
            n
            for n in (VALUE, *_OTHER_VALUES)
            if n in self.table.column_names and not _all_null(self.table[n])
        ]
        if not filled:
            return pa.nulls(len(self.table), pa.bool_()), VALUE
        name = filled[0]
        column = self.table[name]
        if pa.types.is_boolean(column.type):
            return column, name
        numbers = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        other = _neither_0_nor_1(column) if numbers else len(column) - column.null_count
        if other:
            raise DataError(
                f"{self.file}, column {name}: {other:,} of {len(column):,} values are neither true nor false "
                f"(nor 0 or 1). Expected boolean labels in {VALUE}."
            )
        notes.add(
            "label_numbers",
            f"Its labels are the numbers 0 and 1 of {name}, read as false and true.",
            task,
            False,
        )
        return pc.equal(column, 1), name


def _task(given: TaskFiles, shards: list[_Shard]) -> str:
    """The task as its files say; where they do not, as they are called."""
    said = {shard.task for shard in shards} - {None}
    if len(said) > 1:
        raise DataError(
            f"{given.files[0].parent}: holds labels of several tasks ({', '.join(sorted(map(str, said)))}). "
            "Keep each task in a folder of its own."
        )
    return next(iter(said), None) or given.task


def _answered(
    table: pa.Table, shards: list[_Shard], place: str, task: str, questions: bool, notes: Notes
) -> pa.Table:
    """LABELS of the rows with a value; QUESTIONS where no row has one and they are welcome."""
    unknown = table[VALUE].null_count
    named = any(shard.has_column for shard in shards)
    if unknown == len(table) and (unknown or not named):
        if questions:
            return schema.check(table.drop_columns([VALUE]), schema.QUESTIONS, place)
        if named:
            raise DataError(f"{place}: {VALUE} is null throughout. Expected boolean labels.")
        raise DataError(
            f"{place}: missing columns ['{VALUE}']. Questions without answers can be predicted; to train or "
            "evaluate, label the dataset without --questions."
        )
    if unknown:
        notes.add(
            "label_unknown",
            f"{unknown:,} of {len(table):,} rows of its label file have no value: their outcome is unknown, "
            "and they are left out.",
            task,
        )
    return schema.check(table.filter(table[VALUE].is_valid()), schema.LABELS, place)


def subject_ids(table: pa.Table, file: Path) -> pa.ChunkedArray:
    """The column subject_id as int64; DataError where it is of another kind, or null."""
    column = _complete(table, "subject_id", file)
    numbers = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    try:
        if numbers or not len(column):
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


def _neither_0_nor_1(column: pa.ChunkedArray) -> int:
    values = column.drop_null().to_numpy()
    return int(np.count_nonzero((values != 0) & (values != 1)))


def _all_null(column: pa.ChunkedArray) -> bool:
    return column.null_count == len(column)
