"""Decisions above a threshold: F1, net benefit, and the threshold of the best F1."""

import numpy as np
from numpy.typing import ArrayLike

from chartscan.metrics import Floats, Metric, OfSums, ratio, rows
from chartscan.metrics.discrimination import cumulative


def f1(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None, threshold: float = 0.5
) -> float:
    """Harmonic mean of precision and recall where a score >= `threshold` is a positive answer.

    0 when no true positive is found; nan without any positive row. The threshold must come from
    elsewhere than these rows (see `best_f1_threshold`).
    """
    data = rows(labels, scores, weights)
    positives = data.weights @ data.labels
    if len(data.labels) == 0 or positives == 0:
        return np.nan
    flagged = data.weights * (data.scores >= threshold)
    return float(2 * (flagged @ data.labels) / (flagged.sum() + positives))


def best_f1_threshold(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return the highest score that, as a threshold, gives the best F1 here.

    For tuning rows only: a threshold chosen on the rows that are then reported makes F1 too good.
    nan without any positive row.
    """
    data = rows(labels, scores, weights)
    if data.weights @ data.labels == 0:
        return np.nan
    at = cumulative(data)
    score = 2 * at.positives / (at.positives + at.negatives + at.positives[-1])
    return float(at.thresholds[np.argmax(score)])


def net_benefit(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None, threshold: float = 0.5
) -> float:
    """Return true positives per row, minus weighted false positives.

    The weight is threshold / (1 - threshold). A score >= `threshold` is acted on; `threshold` lies in [0, 1).
    Acting on no row has net benefit 0. nan without rows. Vickers and Elkin 2006, Medical Decision Making
    26:565.
    """
    data = rows(labels, scores, weights)
    if len(data.labels) == 0:
        return np.nan
    flagged = data.weights * (data.scores >= threshold)
    true, false = flagged @ data.labels, flagged @ (1 - data.labels)
    return float((true - false * threshold / (1 - threshold)) / data.weights.sum())


def _f1_sums(labels: Floats, decisions: Floats) -> tuple[Floats, OfSums]:
    """The form for the bootstrap, of decisions 0 and 1: true positives, decisions and positives."""
    columns = np.stack([decisions * labels, decisions, labels], axis=1)
    return columns, lambda totals: np.where(
        totals[2] > 0, ratio(2 * totals[0], totals[1] + totals[2]), np.nan
    )


METRICS = (Metric("f1", "F1", "max", f1, _f1_sums, reads="decisions", position=3),)
