"""Which labelled stays a trained model predicts, and when it was trained to.

A model that learned from the first 24 hours of stays also gives an answer half an hour after admission, and
nothing has shown what that answer is worth. Such questions are counted, and a note says so.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from chartscan import artifact as artifacts
from chartscan.artifact import AnyArtifact
from chartscan.cohort import record_from_events
from chartscan.cohort.labelling import site_of
from chartscan.cohort.record import COLUMNS
from chartscan.cohort.stays import StayConfig
from chartscan.errors import ConfigError, DataError
from chartscan.labels.belonging import check_labels
from chartscan.labels.files import Labels, load_labels
from chartscan.labels.tasks import SetTask, task_modules, title_of
from chartscan.notes import Note, Notes
from chartscan.runs.job import of_subjects
from chartscan.runs.seen import births_of, seen
from chartscan.schema import HELD_OUT, TRAIN, TUNING, Counts
from chartscan.store.dataset import Dataset

SPLITS = (HELD_OUT, TUNING, TRAIN, "all")


def asked(
    artifact: Path,
    model: artifacts.AnyArtifact,
    data: Dataset,
    labels: Path,
    split: str,
    notes: Notes | None = None,
) -> tuple[Labels, dict[str, pa.Table], list[str]]:
    """Return all labels, the split's subjects by task, and tasks without a model.

    A folder may hold more tasks than the model knows; a file of an unknown task is refused by `predict`.
    """
    if split not in SPLITS:
        raise ConfigError(f"--split {split}: expected one of {', '.join(SPLITS)}.")
    found = load_labels(labels, questions=True, notes=notes)
    check_labels(found, data, notes)
    if not model.tasks:
        raise ConfigError(
            f"{artifact} was only pretrained and predicts no task. Fine-tune it: --set start_from=..."
        )
    known = {task: table for task, (table, _) in found.items() if task in model.tasks}
    left_out: list[str] = sorted(set(found) - set(known)) if labels.is_dir() and known else []
    if not left_out:
        known = {task: table for task, (table, _) in found.items()}
    subjects = data.subject_ids(None if split == "all" else split)
    chosen = {task: of_subjects(table, subjects) for task, table in known.items()}
    wanted = {task: table for task, table in chosen.items() if table.num_rows}
    if not wanted:
        raise DataError(
            f"No labels for subjects of the split {split}. If their outcomes are unknown, make questions: "
            "chartscan label TASK DATASET OUT --questions. For all subjects: --split all."
        )
    _check_held_out(model, wanted, split, data)
    return found, wanted, left_out


def asked_of_one_task(
    path: Path, data: Dataset, notes: Notes, option: str = ""
) -> tuple[str, pa.Table, Counts | None]:
    """Return one task's name, labels or questions, and cohort counts, checked.

    They stand in `path` and are checked against the dataset. ConfigError where it holds several; `option` is
    how the command line calls `path`.
    """
    found = load_labels(path, questions=True, notes=notes)
    check_labels(found, data, notes)
    if len(found) > 1:
        raise ConfigError(f"{option}{path}: contains several tasks. Name one file.")
    name, (table, counts) = next(iter(found.items()))
    return name, table, counts


def _check_held_out(
    model: artifacts.AnyArtifact, labels: dict[str, pa.Table], split: str, data: Dataset
) -> None:
    """ConfigError where the model was trained on subjects that are held out here."""
    subjects = np.unique(np.concatenate([table["subject_id"].to_numpy() for table in labels.values()]))
    known = seen(model.run, subjects, births_of(data, subjects)) if split == HELD_OUT else 0
    if known:
        raise ConfigError(
            f"{known} of {len(subjects)} held-out subjects of this dataset were used to train the model, "
            "which has another split. Train on this dataset, or use --split all; reports then state it."
        )


TOLERANCE_HOURS = 1.0  # other tools round prediction times
_MICROSECONDS_PER_HOUR = 3.6e9


def moment_notes(
    model: AnyArtifact, data: Dataset, asked: Mapping[str, tuple[pa.Table, Counts | None]]
) -> list[Note]:
    """Return a note on each task predicted at times unlike those in training.

    `asked` holds the questions by task, and the counts of their labels. Questions that chartscan made of this
    dataset with the learned settings are at the right times as they are, and cost nothing to check.
    """
    notes, unchecked = [], {}
    for task, (table, counts) in asked.items():
        learned = _learned(model, task)
        settings = model.run.get("labels", {}).get(task, {}).get("settings", {})
        if learned is None and counts and "task" in settings and counts.settings == settings:
            continue  # of a task that is not known here, such as a file of the user
        if learned is None:
            text = (
                "The labels that the model learned from do not say how they were made. Nothing checks that "
                "it is asked at the times it learned to answer."
            )
            notes.append(Note("moments_not_known", text, task, warning=False))
        elif counts is None or counts.settings.get("task") != msgspec.to_builtins(learned[0].DEFAULT):
            unchecked[task] = (table, *learned)
    return [*notes, *_apart(data, unchecked)]


def _learned(model: AnyArtifact, task: str) -> tuple[SetTask, StayConfig] | None:
    """The task with the settings that the model learned it with; None where they are not known here."""
    settings: dict[str, Any] = model.run.get("labels", {}).get(task, {}).get("settings", {})
    try:
        module = task_modules([task])[task]
        config = msgspec.convert(settings["task"], type(module.DEFAULT))
        return SetTask(module, config), msgspec.convert(settings.get("stays", {}), StayConfig)
    except (ConfigError, KeyError, msgspec.ValidationError):
        return None


def _apart(data: Dataset, unchecked: Mapping[str, tuple[pa.Table, SetTask, StayConfig]]) -> Iterable[Note]:
    if not unchecked:
        return
    tables = [table for table, _, _ in unchecked.values()]
    subjects = np.unique(np.concatenate([table["subject_id"].to_numpy() for table in tables]))
    site = site_of(data.manifest)
    moments: dict[str, dict[int, list[Any]]] = {task: {} for task in unchecked}
    for path in data.shards():
        for subject, events in data.shard_subjects(path, COLUMNS, subjects):
            for task, (_, learned, stays) in unchecked.items():
                outcomes = learned.label(record_from_events(events, data.follow_up, stays, site))
                found = [o.prediction_time for o in outcomes if o.prediction_time is not None]
                moments[task][subject] = sorted(found)
    for task, (table, learned, _) in unchecked.items():
        distances = hours_apart(table, moments[task])
        if np.any(~(np.abs(distances) <= TOLERANCE_HOURS)):
            yield _note(task, learned, distances)


def hours_apart(questions: pa.Table, moments: Mapping[int, list[Any]]) -> np.ndarray:
    """Return hours from the nearest moment to each question (n,); negative before, else NaN."""
    asked = questions["prediction_time"].cast(pa.timestamp("us")).to_numpy().astype("datetime64[us]")
    found = np.full(len(asked), np.nan)
    for row, subject in enumerate(questions["subject_id"].to_pylist()):
        times = np.array(moments.get(subject, []), dtype="datetime64[us]")
        if len(times):
            hours = (asked[row] - times).astype(np.int64) / _MICROSECONDS_PER_HOUR
            found[row] = hours[np.argmin(np.abs(hours))]
    return found


def _note(task: str, learned: SetTask, distances: np.ndarray) -> Note:
    early, late = distances < -TOLERANCE_HOURS, distances > TOLERANCE_HOURS
    without = np.isnan(distances)
    hours = getattr(learned.DEFAULT, "hours", None)
    when = "at discharge" if hours is None else f"{hours:g} hours after admission"
    parts = [
        f"{np.sum(rows):,} are {word} (in the median by {np.median(np.abs(distances[rows])):,.1f} hours)"
        for rows, word in ((early, "too early"), (late, "too late"))
        if rows.any()
    ]
    if without.any():
        parts.append(f"{np.sum(without):,} are of subjects without such a stay")
    apart = int(np.sum(early | late | without))
    text = (
        f"{apart:,} of {len(distances):,} questions are not asked when the model learned to answer, {when} "
        f"('{title_of(task, {'task': msgspec.to_builtins(learned.DEFAULT)})}'): {', '.join(parts)}. Nothing "
        "shows what these answers are worth."
    )
    return Note("other_moments", text, task)
