"""Reading and writing PREDICTIONS files: the MEDS prediction schema, with task, model and settings beside it.

Both predicted columns are always written (readers of the format stumble over a missing one); an unused one
is null. The task, the model, the cohort counts and the settings of the run travel in the file's metadata.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chartscan import parquet_files
from chartscan.errors import DataError
from chartscan.notes import Notes
from chartscan.schema import COHORT_KEY, MODEL_KEY, PREDICTIONS, TASK_KEY, check
from chartscan.task_files import (
    VALUE,
    TaskFiles,
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

_DECISION, _PROBABILITY = "predicted_boolean_value", "predicted_boolean_probability"
RUN_KEY = b"chartscan.run"  # JSON: settings of the run; "calibration" and "threshold" are shown in reports
TRUE_RISK = "true risk"  # the name of the model that knows the probability the simulator drew from


class PredictionSet(msgspec.Struct, frozen=True):
    """The answers of one model to one task."""

    task: str
    model: str
    table: pa.Table  # schema.PREDICTIONS
    cohort: dict[str, Any] | None = None  # eligibility counts with reasons
    run: dict[str, Any] | None = None  # settings of the run


def write_predictions(
    path: Path, table: pa.Table, task: str, model: str, extra: Mapping[str, Any] | None = None
) -> None:
    """Writes predictions as one parquet file for its owner alone, whole or not at all."""
    parquet_files.write_table(path, stored_predictions(table, task, model, extra))


def stored_predictions(
    table: pa.Table, task: str, model: str, extra: Mapping[str, Any] | None = None
) -> pa.Table:
    """Predictions as a file holds them: with task, model and settings in the metadata.

    `table` has the columns of LABELS or QUESTIONS and one or both predicted columns; cohort counts in its
    metadata (where LABELS files keep them) are kept. `extra` is stored as JSON: put `calibration` ("platt",
    "none") and `threshold` (chosen on tuning rows) there.
    """
    checked = check(table, PREDICTIONS, f"predictions of {model} for {task}")
    metadata = {
        **{key: value for key, value in (table.schema.metadata or {}).items() if key == COHORT_KEY},
        TASK_KEY: task.encode(),
        MODEL_KEY: model.encode(),
        RUN_KEY: json.dumps(dict(extra or {}), sort_keys=True).encode(),
    }
    return checked.replace_schema_metadata(metadata)


def read_predictions(path: Path, notes: Notes | None = None) -> PredictionSet:
    """Predictions of the one task of a file or folder, as `read_prediction_files`.

    DataError where `path` holds none or several.
    """
    found = task_files(path)
    if len(found) != 1:
        what = "holds predictions of several tasks" if found else "no such parquet file or folder of them"
        raise DataError(f"{path}: {what}. Name one file.")
    return read_prediction_files(found[0], notes)


def read_prediction_files(given: TaskFiles, notes: Notes | None = None) -> PredictionSet:
    """Predictions of one task from its file or shards, with their task and model.

    Files of other tools lack the metadata: then the task is called as the file is, and the model as its
    folder. DataError for rows without a probability between 0 and 1, and for one question answered twice.
    """
    notes = Notes() if notes is None else notes
    shards = [parquet_files.read_table(file, "Predict again.") for file in given.files]
    metadata = shards[0].schema.metadata or {}
    if any((shard.schema.metadata or {}) != metadata for shard in shards):
        raise DataError(
            f"{given.place}: its shards are of different tasks, models or runs. Name one of them."
        )
    name = metadata.get(TASK_KEY)
    task = checked_name(name.decode(errors="replace"), given.place) if name else given.task
    parts = [_rows(table, file, task, notes) for table, file in zip(shards, given.files, strict=True)]
    table = pa.concat_tables(parts).replace_schema_metadata(None)
    check_no_doubles(table, str(given.place))
    return PredictionSet(
        task=task,
        model=metadata.get(MODEL_KEY, b"").decode(errors="replace") or given.holder or "model",
        table=table,
        cohort=_json(metadata, COHORT_KEY, given.place),
        run=_json(metadata, RUN_KEY, given.place),
    )


def _rows(table: pa.Table, file: Path, task: str, notes: Notes) -> pa.Table:
    """PREDICTIONS of one file; what else stands in it is noted."""
    check_columns(table, file)
    note_unused(table, PREDICTIONS.names, "prediction file", task, notes)
    names = table.column_names
    columns: dict[str, pa.ChunkedArray] = {
        "subject_id": subject_ids(table, file),
        "prediction_time": prediction_times(table, file),
        **{n: booleans(table, n, file) for n in (VALUE, _DECISION) if n in names},
    }
    if _PROBABILITY in names:
        column = table[_PROBABILITY]
        if not (is_number(column.type) or pa.types.is_null(column.type)):
            raise DataError(f"{file}, column {_PROBABILITY}: expected numbers, found {column.type}.")
        columns[_PROBABILITY] = column
    found = check(pa.table(columns), PREDICTIONS, str(file))
    _check_probabilities(found, file)
    return found


def _check_probabilities(table: pa.Table, path: Path) -> None:
    column = table[_PROBABILITY]
    if column.null_count:
        raise DataError(
            f"{path}, column predicted_boolean_probability: {column.null_count} of {len(column)} rows have "
            "none. Every row needs a probability; without it the test sets of two models differ."
        )
    values = column.to_numpy()
    outside = int(np.count_nonzero(~((values >= 0) & (values <= 1))))
    if outside:
        raise DataError(
            f"{path}, column predicted_boolean_probability: {outside} of {len(column)} values are not "
            "between 0 and 1. Scores must be turned into probabilities first."
        )
    decided = table[_DECISION]
    if decided.null_count not in (0, len(decided)):
        raise DataError(
            f"{path}, column predicted_boolean_value: null in {pc.sum(pc.is_null(decided)).as_py()} of "
            f"{len(decided)} rows. Expected a decision for every row, or for none."
        )


def _json(metadata: Mapping[bytes, bytes], key: bytes, path: Path) -> dict[str, Any] | None:
    if key not in metadata:
        return None
    try:
        value = json.loads(metadata[key])
    except ValueError as err:
        raise DataError(f"{path}: its metadata {key.decode()} is not JSON.") from err
    return value if isinstance(value, dict) else {"value": value}
