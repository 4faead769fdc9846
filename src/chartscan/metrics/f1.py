"""F1 score, and the threshold that makes it greatest on tuning data."""

import numpy as np
from numpy.typing import ArrayLike

from chartscan.metrics import Metric, OfSums, ratio
from chartscan.metrics._rows import Floats, cumulative, rows


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
    """The score that, as a threshold, has the greatest F1 on these rows; the highest such score.

    For tuning rows only: a threshold chosen on the rows that are then reported makes F1 too good.
    nan without any positive row.
    """
    data = rows(labels, scores, weights)
    if data.weights @ data.labels == 0:
        return np.nan
    at = cumulative(data)
    score = 2 * at.positives / (at.positives + at.negatives + at.positives[-1])
    return float(at.thresholds[np.argmax(score)])


def row_sums(labels: Floats, decisions: Floats) -> tuple[Floats, OfSums]:
    """The form for the bootstrap, of decisions 0 and 1: true positives, decisions and positives."""
    columns = np.stack([decisions * labels, decisions, labels], axis=1)
    return columns, lambda totals: np.where(
        totals[2] > 0, ratio(2 * totals[0], totals[1] + totals[2]), np.nan
    )


METRIC = Metric("f1", "F1", "max", f1, row_sums, reads="decisions", position=3)
