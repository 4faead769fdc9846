"""Calibration and scores on tuning subjects, and what too few labels allow."""

import zlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chartscan.artifact import Calibration
from chartscan.errors import DataError
from chartscan.metrics.calibration import apply_platt, fit_platt
from chartscan.metrics.decisions import best_f1_threshold
from chartscan.metrics.discrimination import auroc, average_precision
from chartscan.notes import Note, Notes
from chartscan.runs.job import Job
from chartscan.schema import TRAIN, TUNING

# Few labels: the same selection for every model.

LEAST_EVENTS = 10  # of either class
FEW_EVENTS = 20  # of either class among train labels: below, what a model learns is mostly chance
TUNING_SHARE = 4  # train labels for each tuning label


def limited(labels: pa.Table, task: str, split: str, limit: int | None, seed: int) -> pa.Table:
    """At most `limit` train rows, or a quarter of it of another split.

    Drawn by task and seed.
    """
    if limit is None:
        return labels
    most = limit if split == TRAIN else max(1, limit // TUNING_SHARE)
    random = np.random.default_rng([seed, zlib.crc32(task.encode())])
    return labels.take(np.sort(random.permutation(labels.num_rows)[:most]))


def few_train_events(job: Job, limit: int | None, seed: int) -> list[Note]:
    """A note on each task with fewer than FEW_EVENTS train labels of either class."""
    found = []
    for task in job.tasks:
        labels = limited(job.labels_of(task, TRAIN), task, TRAIN, limit, seed)
        positives = int(pc.sum(labels["boolean_value"]).as_py() or 0)
        rarer, word = min((positives, "events"), (labels.num_rows - positives, "non-events"))
        if rarer < FEW_EVENTS:
            text = (
                f"{rarer:,} {word} among {labels.num_rows:,} train labels. A model "
                f"needs {FEW_EVENTS} or more. Label more subjects, or use longer follow-up."
            )
            found.append(Note("few_train_events", text, task))
    return found


def learnable(job: Job, limit: int | None, seed: int) -> list[str]:
    """Tasks with train labels of both classes and tuning labels.

    The others are noted and left out; DataError where those are all.
    """
    found = []
    for task in job.tasks:
        train, tuning = (
            limited(job.labels_of(task, split), task, split, limit, seed)["boolean_value"].to_pylist()
            for split in (TRAIN, TUNING)
        )
        if len(set(train)) == 2 and tuning:
            found.append(task)
        else:
            why = "No tuning labels" if len(set(train)) == 2 else "The train labels are all of one class"
            job.notes.add("left_out", f"{why}. Not learned.", task)
    if not found:
        raise DataError("No task has train labels of both classes and tuning labels. Label more subjects.")
    return found


def enough(answers: np.ndarray) -> bool:
    """Whether there are LEAST_EVENTS answers of either class."""
    positives = int(np.sum(answers > 0.5))
    return min(positives, len(answers) - positives) >= LEAST_EVENTS


DIRECTIONS = {"loss": "min", "auroc": "max", "average_precision": "max"}  # which way each is better


def scores(labels: np.ndarray, log_odds: np.ndarray) -> dict[str, float]:
    """Mean log loss, AUROC and average precision of one task, where they are defined."""
    y = np.asarray(labels, bool)
    if not len(y):
        return {}
    loss = float(np.mean(np.logaddexp(0, log_odds) - y * log_odds))
    ranks = {"auroc": auroc(y, log_odds), "average_precision": average_precision(y, log_odds)}
    return {"loss": loss} | {name: value for name, value in ranks.items() if np.isfinite(value)}


def mean_scores(tasks: np.ndarray, answers: np.ndarray, log_odds: np.ndarray) -> dict[str, float]:
    """Each score of S samples, averaged over tasks; NaN answers are ignored.

    The loss weighs answers of all tasks the same. A score that no task defines is NaN.
    """
    known = ~np.isnan(answers)
    tasks, labels, log_odds = tasks[known], answers[known] > 0.5, log_odds[known]
    each = [scores(labels[tasks == task], log_odds[tasks == task]) for task in np.unique(tasks)]
    ranks = {name: [task[name] for task in each if name in task] for name in DIRECTIONS if name != "loss"}
    loss = scores(labels, log_odds).get("loss", np.nan)
    return {"loss": loss} | {name: float(np.mean(v)) if v else np.nan for name, v in ranks.items()}


def fit_calibration(
    tasks: Sequence[str],
    task_of: np.ndarray,
    labels: np.ndarray,
    logits: np.ndarray,
    notes: Notes | None = None,
) -> dict[str, Calibration]:
    """Platt scaling and the threshold of greatest F1 for each task with enough tuning samples.

    A task with fewer than ten tuning samples of either class is left out: its answers stay raw, and
    a note and predictions say so. A line through a handful of points could turn the ranking round.
    """
    found = {}
    for index, task in enumerate(tasks):
        rows = task_of == index
        if enough(labels[rows]):
            found[task] = _task_calibration(labels[rows] > 0.5, logits[rows])
        elif notes is not None:
            notes.add("no_calibration", _why_raw(labels[rows] > 0.5), task)
    return found


def _why_raw(labels: np.ndarray) -> str:
    positives = int(np.sum(labels))
    rarer, word = min((positives, "events"), (len(labels) - positives, "non-events"))
    return (
        f"{rarer:,} {word} among {len(labels):,} tuning labels; to calibrate and to choose a threshold takes "
        f"{LEAST_EVENTS}. Probabilities stay as the model gives them, and decisions are made at 0.5."
    )


def _task_calibration(labels: np.ndarray, logits: np.ndarray) -> Calibration:
    raw = 1 / (1 + np.exp(-logits))
    platt = fit_platt(labels, raw)
    threshold = best_f1_threshold(labels, apply_platt(platt, raw))
    return Calibration(platt.intercept, platt.slope, threshold, rows=len(labels))
