"""Calibration and decision thresholds, fitted on tuning samples: what `predict` applies to raw log odds."""

from collections.abc import Sequence

import numpy as np

from chartscan.artifact import Calibration
from chartscan.evaluation import apply_platt, fit_platt
from chartscan.learn.fitting.few import LEAST_EVENTS, enough
from chartscan.metrics.f1 import best_f1_threshold
from chartscan.notes import Notes


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
