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
from chartscan.schema import COHORT_KEY, MODEL_KEY, PREDICTIONS, TASK_KEY, check

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
    """Writes predictions as one parquet file for its owner alone, whole or not at all.

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
    parquet_files.write_table(path, checked.replace_schema_metadata(metadata))


def read_predictions(path: Path) -> PredictionSet:
    """Predictions with their task and model; DataError where the file is not what `write_predictions` wrote.

    A file of another tool that lacks the metadata has task "unknown" and its own name as model.
    """
    table = parquet_files.read_table(path, "Predict again.")
    table = check(table, PREDICTIONS, str(path))
    _check_probabilities(table, path)
    metadata = table.schema.metadata or {}
    return PredictionSet(
        task=metadata.get(TASK_KEY, b"unknown").decode(),
        model=metadata.get(MODEL_KEY, path.stem.encode()).decode(),
        table=table.replace_schema_metadata(None),
        cohort=_json(metadata, COHORT_KEY, path),
        run=_json(metadata, RUN_KEY, path),
    )


def _check_probabilities(table: pa.Table, path: Path) -> None:
    column = table["predicted_boolean_probability"]
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
    decided = table["predicted_boolean_value"]
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
