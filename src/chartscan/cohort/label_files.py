"""LABELS on disk: one parquet file per task, with the task's name and cohort counts in its metadata.

QUESTIONS, which ask without knowing the answer, are the same files without the column of values.
"""

from pathlib import Path

import msgspec
import pyarrow as pa

from chartscan import parquet_files, schema
from chartscan.cohort.counts import Counts
from chartscan.errors import DataError

_VALUE = "boolean_value"
_OTHER_VALUES = ("integer_value", "float_value", "categorical_value")


def write_labels(path: Path, table: pa.Table, task: str, counts: Counts, questions: bool = False) -> None:
    """Write one task's labels, or questions, whole or not at all: a reader sees the old file or the new.

    For its owner alone: it says who was in hospital, and when.
    """
    metadata = {schema.TASK_KEY: task.encode(), schema.COHORT_KEY: msgspec.json.encode(counts)}
    wanted = schema.QUESTIONS if questions else schema.LABELS
    checked = schema.check(table, wanted, f"labels of {task}").replace_schema_metadata(metadata)
    parquet_files.write_table(path, checked)


def read_labels(path: Path, questions: bool = False) -> tuple[pa.Table, str, Counts | None]:
    """Labels of one task, its name, and its cohort counts where the file holds them.

    `path` is a parquet file, or a folder of them (all `*.parquet` below it, by name). Files of other MEDS
    tools are welcome: value columns that are null throughout are dropped first, and without metadata the
    task is called as the file or folder is. DataError where there are no boolean labels, unless `questions`
    are welcome too: then files without them (missing, or null throughout) give QUESTIONS.
    """
    found = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
    if not found:
        raise DataError(f"{path}: no labels found. Expected a parquet file or a folder with some.")
    tables = [_read(file, questions) for file in found]
    if any(_VALUE not in table.column_names for table in tables):
        tables = [table.select(schema.QUESTIONS.names) for table in tables]
    tasks = {(t.schema.metadata or {}).get(schema.TASK_KEY, path.stem.encode()).decode() for t in tables}
    if len(tasks) > 1:
        raise DataError(f"{path}: holds labels of several tasks ({', '.join(sorted(tasks))}). Name one file.")
    counts = _counts(tables[0], found[0]) if len(tables) == 1 else None
    merged = pa.concat_tables([t.replace_schema_metadata(None) for t in tables])
    return merged, tasks.pop(), counts


def _read(file: Path, questions: bool) -> pa.Table:
    table = parquet_files.read_table(file, "Write the labels again.")
    unused = [n for n in _OTHER_VALUES if n in table.column_names and _all_null(table[n])]
    table = table.drop_columns(unused)
    empty = _VALUE in table.column_names and table.num_rows > 0 and _all_null(table[_VALUE])
    if questions and (empty or _VALUE not in table.column_names):
        asked = table.drop_columns([_VALUE] if empty else [])
        return schema.check(asked, schema.QUESTIONS, str(file))
    if empty:
        raise DataError(f"{file}: boolean_value is null throughout. Expected boolean labels.")
    if _VALUE not in table.column_names:
        raise DataError(
            f"{file}: missing columns ['{_VALUE}']. Questions without answers can be predicted; to train or "
            "evaluate, label the dataset without --questions."
        )
    return schema.check(table, schema.LABELS, str(file))


def _all_null(column: pa.ChunkedArray) -> bool:
    return column.null_count == len(column)


def _counts(table: pa.Table, file: Path) -> Counts | None:
    stored = (table.schema.metadata or {}).get(schema.COHORT_KEY)
    if stored is None:
        return None
    try:
        return msgspec.json.decode(stored, type=Counts)
    except msgspec.DecodeError as err:
        raise DataError(f"{file}: its cohort counts cannot be read. Label the dataset again.") from err
