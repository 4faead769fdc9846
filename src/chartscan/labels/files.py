"""LABELS on disk: written whole, read from one task or several, and shown in lines.

A task is one parquet file, or its shards, with the task's name and cohort counts in the metadata. QUESTIONS,
which ask without knowing the answer, are the same files without the column of values. Files of other MEDS
tools are read too: columns beside LABELS are noted and left out, and no number but 0 and 1 is read as a
boolean.
"""

from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from chartscan import parquet_files, schema
from chartscan.errors import ConfigError, DataError
from chartscan.notes import Notes
from chartscan.schema import Counts
from chartscan.task_files import (
    KEYS,
    VALUE,
    TaskFiles,
    all_null,
    booleans,
    check_columns,
    check_no_doubles,
    checked_name,
    is_number,
    note_unused,
    prediction_times,
    subject_ids,
    task_files,
)

_VALUES = (VALUE, "integer_value", "float_value", "categorical_value")
Labels = dict[str, tuple[pa.Table, Counts | None]]


def write_labels(path: Path, table: pa.Table, task: str, counts: Counts, questions: bool = False) -> None:
    """Write one task's labels or questions atomically: readers see old or new.

    For its owner alone: it says who was in hospital, and when.
    """
    parquet_files.write_table(path, stored_labels(table, task, counts, questions))


def stored_labels(table: pa.Table, task: str, counts: Counts, questions: bool = False) -> pa.Table:
    """Return one task's table as stored, with task and counts in its metadata."""
    metadata = {schema.TASK_KEY: task.encode(), schema.COHORT_KEY: msgspec.json.encode(counts)}
    wanted = schema.QUESTIONS if questions else schema.LABELS
    return schema.check(table, wanted, f"labels of {task}").replace_schema_metadata(metadata)


def save_labels(labels: Labels, out: Path, as_folder: bool, questions: bool = False) -> None:
    """Write one file per task into `out`, all or none; one task alone as `out`."""
    stored = {}
    for task, (table, counts) in labels.items():
        assert counts is not None
        path = out / f"{task}.parquet" if as_folder else out
        stored[path] = stored_labels(table, task, counts, questions)
    parquet_files.write_tables(stored)


def load_labels(path: Path, questions: bool = False, notes: Notes | None = None) -> Labels:
    """Return LABELS by task, from a file or folder; with `questions` also QUESTIONS.

    DataError where there is none, or no task has any row.
    """
    given = task_files(path)
    if not given:
        what = "no label files in this folder" if path.is_dir() else "no such file or folder of labels"
        raise DataError(f"{path}: {what}. Make some: chartscan label all DATASET LABELS")
    found: Labels = {}
    for one in given:
        table, task, counts = read_task(one, questions, notes)
        same = next((name for name in found if name.casefold() == task.casefold()), None)
        if same:
            raise ConfigError(f"{path}: two files hold labels of task '{same}'. Keep one.")
        found[task] = table, counts
    if not any(table.num_rows for table, _ in found.values()):
        raise DataError(_without_rows(path, found))
    return found


def read_labels(
    path: Path, questions: bool = False, notes: Notes | None = None
) -> tuple[pa.Table, str, Counts | None]:
    """Return one task's labels, name, and cohort counts, from a file or folder.

    Counts are None where the file has none. As `read_task`; DataError where `path` holds none or several.
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
    """Return one task's labels, name and cohort counts, from a file or shards.

    Only a single file has counts. Rows without a value are unknown: left out and noted. Where no row has one,
    the table is QUESTIONS if those are welcome. DataError where labels are not boolean, or one subject and
    time stand there twice.
    """
    shards = [_Shard(file) for file in given.files]
    notes = Notes() if notes is None else notes
    task = _task_of(given, shards)
    table = pa.concat_tables([shard.rows(task, notes) for shard in shards])
    table = _answered(table, shards, str(given.place), task, questions, notes)
    check_no_doubles(table, str(given.place))
    return table, task, shards[0].counts() if len(shards) == 1 else None


def check_out(out: Path, as_folder: bool, names: str = "OUT") -> None:
    """Raise ConfigError where a folder would replace a file `out`, or vice versa."""
    if as_folder and out.exists() and not out.is_dir():
        raise ConfigError(
            f"{out} is a file. With several tasks {names} is a folder: name a new one, or one that exists."
        )
    if not as_folder and out.is_dir():
        raise ConfigError(
            f"{out} is a folder. With one task {names} is a file: name one in it, such as {out}/TASK.parquet."
        )


def cohort_lines(labels: Labels) -> list[str]:
    """Return lines per task: stays, eligible, positive, negative, and reasons for no label."""
    lines = []
    for task, (table, counts) in sorted(labels.items()):
        if counts is None:
            lines.append(f"{task}: {table.num_rows:,} labels")
            continue
        lines.append(
            f"{task}: {counts.index_stays:,} stays, {counts.eligible:,} eligible, "
            f"{counts.positive:,} positive, {counts.negative:,} negative"
        )
        if "boolean_value" not in table.column_names:
            lines.append(f"    {table.num_rows:,} questions, answers left out")
        lines += [f"    not eligible: {n:,} {reason}" for reason, n in counts.excluded.items()]
        lines += [f"    no label: {n:,} {reason}" for reason, n in counts.absent.items()]
    return lines


def labels_line(labels: Labels) -> str:
    """Return one line with the labels and positives of each task."""
    parts = []
    for task, (table, _) in sorted(labels.items()):
        positives = pc.sum(table["boolean_value"]).as_py() or 0
        parts.append(f"{task} {positives:,} of {table.num_rows:,}")
    return f"Positive labels: {', '.join(parts)}"


def _without_rows(path: Path, labels: Labels) -> str:
    """The error for labels without rows, with their counts where the files hold them."""
    told = [
        f"{task}: {counts.index_stays:,} stays, {counts.eligible:,} eligible, "
        f"{sum(counts.absent.values()):,} without a known outcome"
        for task, (_, counts) in sorted(labels.items())
        if counts is not None
    ]
    because = f" ({'; '.join(told)})" if told else ""
    return (
        f"{path}: contains no rows, so nothing can be predicted{because}. Name other labels, or make them "
        "again: chartscan label TASK DATASET OUT. --questions includes stays with unknown outcomes."
    )


class _Shard:
    """One file of labels as it was read."""

    def __init__(self, file: Path):
        self.file = file
        self.table = parquet_files.read_table(file, "Write the labels again.")
        check_columns(self.table, file)
        self.has_column = VALUE in self.table.column_names

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
        note_unused(self.table, (*KEYS, taken), "label file", task, notes)
        columns = [subject_ids(self.table, self.file), prediction_times(self.table, self.file), values]
        return pa.table(columns, names=[*KEYS, VALUE])

    def _values(self, task: str, notes: Notes) -> tuple[pa.ChunkedArray | pa.Array, str]:
        """Booleans, null where unknown, and the column they are taken from."""
        table = self.table
        filled = [n for n in _VALUES if n in table.column_names and not all_null(table[n])]
        if not filled:
            return pa.nulls(len(table), pa.bool_()), VALUE
        name = filled[0]
        found = booleans(table, name, self.file)
        if is_number(table[name].type):
            text = f"Its labels are the numbers 0 and 1 of {name}, read as false and true."
            notes.add("label_numbers", text, task, False)
        return found, name


def _task_of(given: TaskFiles, shards: list[_Shard]) -> str:
    """The task as its files say; where they do not, as they are called."""
    said = {shard.task for shard in shards} - {None}
    if len(said) > 1:
        raise DataError(
            f"{given.place}: holds labels of several tasks ({', '.join(sorted(map(str, said)))}). "
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
