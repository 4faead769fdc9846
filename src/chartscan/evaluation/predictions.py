"""PREDICTIONS files, written and read, told apart, and checked against model and dataset.

A file follows the MEDS prediction schema. Both predicted columns are always written (readers of the format
fail on a missing one); an unused one is null. Its metadata hold the task, the model, the cohort counts and
the settings of the run.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chartscan import files, parquet_files
from chartscan.errors import ConfigError, DataError
from chartscan.notes import Notes
from chartscan.schema import COHORT_KEY, MODEL_KEY, PREDICTIONS, TASK_KEY, check
from chartscan.store.dataset import Dataset
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


@dataclass(frozen=True)
class Given:
    """Predictions of one task: their file or folder, and the name the user gave."""

    path: Path
    file: Path
    predictions: PredictionSet

    @property
    def artifact(self) -> str | None:
        """SHA-256 of the manifest of the artifact that predicted, where the predictions say it."""
        return (self.predictions.run or {}).get("artifact")

    @property
    def dataset(self) -> str | None:
        """Fingerprint of the dataset predicted on, where the predictions say it."""
        return (self.predictions.run or {}).get("dataset")


def read_given(paths: Sequence[Path], notes: Notes | None = None) -> list[Given]:
    """Every task of `paths`, in order.

    DataError for a path without any, ConfigError for a file given twice.
    """
    found = [
        Given(path, one.place, read_prediction_files(one, notes)) for path in paths for one in _tasks(path)
    ]
    places = [one.file.resolve() for one in found]
    twice = [one.file for k, one in enumerate(found) if places[k] in places[:k]]
    if twice:
        raise ConfigError(f"{twice[0]} is given twice. A model cannot be compared with itself.")
    return found


def _tasks(path: Path) -> list[TaskFiles]:
    found = task_files(path)
    if not found:
        what = "no predictions in this folder" if path.is_dir() else "no such file or folder of predictions"
        raise DataError(f"{path}: {what}. Make some: chartscan predict RUN DATASET LABELS OUT")
    return found


def check_artifact(given: Sequence[Given], model: Path) -> None:
    """ConfigError where `given` say that another artifact than `model` made them."""
    expected = files.sha256(model / files.MANIFEST)
    for one in given:
        if one.artifact not in (None, expected):
            raise ConfigError(
                f"--model {model} did not write {one.file} (by '{one.predictions.model}'). Name the model "
                "that chartscan predict used, or leave --model out."
            )


def check_dataset(given: Sequence[Given], dataset: Dataset) -> None:
    """ConfigError where `given` say that they were made on another dataset."""
    for one in given:
        if one.dataset not in (None, dataset.fingerprint):
            raise ConfigError(
                f"--data {dataset.path} is not the dataset that {one.file} was predicted on. Name that one, "
                "or predict again on this one."
            )


def told_apart(given: Sequence[Given]) -> list[PredictionSet]:
    """The predictions, in which different models of one name have names that differ.

    The first keeps its name; a later one is also called as its folder or file: `ehrmamba (frozen)`. All
    files of one trained model keep one name. ConfigError where one model answers a task twice.
    """
    models: list[_Model] = []
    for one in given:
        same = next((m for m in models if m.made(one)), None)
        if same is None:
            models.append(_Model([one]))
        else:
            same.add(one)
    named: list[tuple[str, _Model]] = []
    for model in models:
        named.append((_free_name(model, named), model))
    names = {id(one): name for name, model in named for one in model.given}
    return [msgspec.structs.replace(one.predictions, model=names[id(one)]) for one in given]


@dataclass(frozen=True)
class _Model:
    """The files of one trained model, as far as the predictions tell."""

    given: list[Given]

    @property
    def name(self) -> str:
        return self.given[0].predictions.model

    @property
    def tasks(self) -> set[str]:
        return {one.predictions.task for one in self.given}

    def made(self, one: Given) -> bool:
        """Whether `one` is of this model: by its artifact, or else by name and the place it was read from."""
        first = self.given[0]
        if one.predictions.model != self.name or one.artifact != first.artifact:
            return False
        return one.artifact is not None or (one.path == first.path and one.predictions.task not in self.tasks)

    def add(self, one: Given) -> None:
        """Add `one` to the files of this model."""
        for other in self.given:
            if other.predictions.task == one.predictions.task:
                raise ConfigError(
                    f"{other.file} and {one.file} both contain predictions of {one.predictions.task} by the "
                    "same trained model. Give one of them."
                )
        self.given.append(one)

    def words(self) -> Iterator[str]:
        """Yield words that may tell this model from others of its name, the most readable first."""
        first = self.given[0]
        if first.path.is_dir():
            yield first.path.resolve().name
        yield from (first.file.stem, first.file.resolve().parent.name)
        yield f"{first.file.resolve().parent.name}/{first.file.stem}"


def _free_name(model: _Model, others: Sequence[tuple[str, _Model]]) -> str:
    """The model's own name, or with a word about where it was read from if that name is taken."""
    taken = {name for name, other in others if other.tasks & model.tasks}
    if model.name not in taken:
        return model.name
    theirs = {word for _, other in others if other.name == model.name for word in other.words()}
    words = [w for w in model.words() if w not in theirs | model.tasks | {model.name}]
    candidates = [f"{model.name} ({word})" for word in words]
    candidates += [f"{model.name} ({k})" for k in range(2, len(others) + 3)]
    return next(name for name in candidates if name not in taken)
