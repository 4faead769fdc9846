"""Calibration and decision thresholds, fitted on tuning samples: what `predict` applies to raw log odds."""

from collections.abc import Sequence

import numpy as np

from chartscan.artifact import Calibration
from chartscan.evaluation import apply_platt, fit_platt
from chartscan.metrics.f1 import best_f1_threshold
from chartscan.recipes.fitting.few import enough


def fit_calibration(
    tasks: Sequence[str], task_of: np.ndarray, labels: np.ndarray, logits: np.ndarray
) -> dict[str, Calibration]:
    """Platt scaling and the threshold of greatest F1 for each task with enough tuning samples.

    A task with fewer than ten tuning samples of either class is left out: its answers stay raw, and
    predictions say so. A line through a handful of points could turn the ranking round.
    """
    found = {}
    for index, task in enumerate(tasks):
        rows = task_of == index
        if enough(labels[rows]):
            found[task] = _task_calibration(labels[rows] > 0.5, logits[rows])
    return found


def _task_calibration(labels: np.ndarray, logits: np.ndarray) -> Calibration:
    raw = 1 / (1 + np.exp(-logits))
    platt = fit_platt(labels, raw)
    threshold = best_f1_threshold(labels, apply_platt(platt, raw))
    return Calibration(platt.intercept, platt.slope, threshold, rows=len(labels))
