"""Labels and predictions as MEDS tools write them: files, tasks, and columns.

The layouts are `TASK.parquet`; `TASK/0.parquet`, `TASK/1.parquet`; `TASK/train/0.parquet`,
`TASK/held_out/0.parquet`; a folder of such tasks, nested ones too; `task=TASK/`. A task names files later, so
its name is checked here, too. Times in any resolution and zone are UTC microseconds, whole numbers in any
width are subjects, 0 and 1 are booleans; nothing else is guessed.
"""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chartscan import schema
from chartscan.errors import DataError
from chartscan.notes import Notes

LONGEST_NAME = 120  # bytes of UTF-8
DEEPEST = 8  # folders within folders; links that lead in a circle end here
KEYS = ("subject_id", "prediction_time")
VALUE = "boolean_value"
_SHOWN = 5  # columns that a note names
_SPLITS = "train|training|tuning|tune|held_out|heldout|holdout|test|testing|val|valid|validation|dev"
_WORDS = "part|shard|chunk|data|file|batch|labels?|predictions?|cohort"
_NUMBER = r"\d+(?:[-_.]of[-_.]\d+)?(?:[-_.][0-9a-f]{8}.*)?"
# A name that says which part of a task a file or folder is: held_out, 0, part-00000, train-00000-of-00002.
_PART = re.compile(
    rf"(?:(?:shard|split)=)?(?:{_SPLITS}|(?:(?:{_WORDS}|{_SPLITS})[-_.]?)?{_NUMBER})", re.IGNORECASE
)
_PLAIN = re.compile(_WORDS, re.IGNORECASE)  # in a folder of its own the folder names the task
_HIVE = re.compile(r"(?:task|label|task_name)=", re.IGNORECASE)
_UNSAFE = set('/\\:*?"<>|')
_RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))}


@dataclass(frozen=True)
class TaskFiles:
    """One task: its name by file or folder, and its shards in order."""

    task: str
    files: tuple[Path, ...]

    @property
    def place(self) -> Path:
        """The file, or the folder of all shards."""
        return self.files[0] if len(self.files) == 1 else Path(os.path.commonpath(self.files))

    @property
    def holder(self) -> str:
        """The name of the folder that holds the task, and perhaps others."""
        above = (_word(p) for p in self.place.absolute().parents)
        return next((w for w in above if not _PART.fullmatch(w) and _HIVE.sub("", w) != self.task), "")


def task_files(path: Path) -> list[TaskFiles]:
    """Return every task in `path`, a file or folder; none without parquet.

    DataError where a folder mixes shards of one task with other tasks, or a name can name no task.
    """
    if path.is_file():
        return [TaskFiles(checked_name(_name_of(path.absolute()), path), (path,))]
    if not path.is_dir():
        return []
    found = list(_in_folder(path, [], path))
    return [TaskFiles(checked_name(one.task, one.files[0]), one.files) for one in found]


def checked_name(task: str, file: Path) -> str:
    """The task's name; DataError naming `file` where no file can safely be called so.

    Such are empty names, and those with separators of paths, control characters or what Windows reserves.
    """
    odd = any(letter in _UNSAFE or unicodedata.category(letter).startswith("C") for letter in task)
    reserved = task.partition(".")[0].strip().upper() in _RESERVED
    too_long = len(task.encode(errors="replace")) > LONGEST_NAME
    if odd or reserved or too_long or not task.strip() or task[0] in ". " or task[-1] in ". ":
        raise DataError(
            f"{file}: its task has a name that no file can have. Expected letters, digits, '_', '-' and '.', "
            f"at most {LONGEST_NAME} bytes. Rename the task."
        )
    return task


def is_free_name(task: str) -> bool:
    """Whether a file of this name means this task, not a shard or split."""
    return not (_PART.fullmatch(task) or _PLAIN.fullmatch(task) or _HIVE.match(task))


def _in_folder(folder: Path, above: list[str], top: Path) -> Iterator[TaskFiles]:
    """The tasks below `folder`; `above` are the names of the folders between `top` and it, and its own."""
    if len(above) > DEEPEST:
        raise DataError(f"{top}: folders lie more than {DEEPEST} deep. Name the folder of one task.")
    entries = [p for p in _children(folder) if next(_parquet(p), None)]
    shards = [p for p in entries if _PART.fullmatch(_word(p)) or _PLAIN.fullmatch(_word(p))]
    if not shards:
        for entry in entries:
            names = [*above, _HIVE.sub("", _word(entry))]
            if entry.is_dir():
                yield from _in_folder(entry, names, top)
            else:
                yield TaskFiles(".".join(names), (entry,))
        return
    others = [p for p in entries if p not in shards]
    if others:
        raise DataError(
            f"{folder}: holds {shards[0].name}, a shard or split of one task, beside {others[0].name}. "
            "Keep each task in a folder of its own."
        )
    name = ".".join(above) or _name_of(folder.resolve())
    yield TaskFiles(name, tuple(file for entry in shards for file in _parquet(entry)))


def _name_of(path: Path) -> str:
    """What a path calls its task: its own name, or that of the folder whose shard or split it is."""
    whole = next((p for p in (path, *path.parents) if not _PART.fullmatch(_word(p))), path)
    return _HIVE.sub("", _word(whole))


def _word(path: Path) -> str:
    """A name without `.parquet` and what compression adds to it."""
    return re.sub(r"(\.(snappy|gz|gzip|zstd|lz4))?\.(parquet|pq)$", "", path.name, flags=re.IGNORECASE)


def _children(folder: Path) -> list[Path]:
    return sorted((p for p in folder.iterdir() if p.name[0] not in "._"), key=_order)


def _parquet(path: Path, depth: int = 0) -> Iterator[Path]:
    """The file itself if it is parquet, or all that are below the folder, in the order of their numbers."""
    if path.is_dir():
        if depth > DEEPEST:
            raise DataError(f"{path}: folders lie more than {DEEPEST} deep. Name the folder of one task.")
        for child in _children(path):
            yield from _parquet(child, depth + 1)
    elif path.suffix.lower() in (".parquet", ".pq"):
        yield path


def _order(path: Path) -> list[tuple[int, str]]:
    """Names in the order of the numbers in them: 2 before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def note_unused(table: pa.Table, used: Iterable[str], what: str, task: str, notes: Notes) -> None:
    """Add a note naming filled columns that are not `used`."""
    unused = [n for n in table.column_names if n not in set(used) and not all_null(table[n])]
    if unused:
        shown = ", ".join(map(ascii, unused[:_SHOWN])) + (", ..." if len(unused) > _SHOWN else "")
        notes.add(
            "unused_columns", f"{len(unused)} columns of its {what} are not used: {shown}.", task, False
        )


def check_columns(table: pa.Table, file: Path) -> None:
    """Raise DataError where a key is missing, or a column name occurs twice."""
    names = table.column_names
    double = sorted({name for name in names if names.count(name) > 1})
    missing = [name for name in KEYS if name not in names]
    if double or missing:
        raise DataError(f"{file}: missing columns {missing}, columns given twice {double}.")


def check_no_doubles(table: pa.Table, place: str) -> None:
    """Raise DataError where rows share subject and time, with the number that contradict each other."""
    group = table.select(KEYS).append_column("answer", _answers(table)).group_by(list(KEYS))
    found = group.aggregate([("answer", "count_distinct"), ([], "count_all")])
    doubles = pc.sum(pc.greater(found["count_all"], 1)).as_py() or 0
    if doubles:
        both = pc.sum(pc.greater(found["answer_count_distinct"], 1)).as_py()
        raise DataError(
            f"{place}: {doubles:,} of {len(found):,} questions (subject_id and prediction_time) are given "
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
    """The column prediction_time as UTC microseconds, rounded down: never later than the prediction.

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
