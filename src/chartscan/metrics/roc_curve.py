"""Receiver operating characteristic."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from chartscan.metrics._rows import Floats, cumulative, rows


class Roc(NamedTuple):
    """From nobody flagged to everybody flagged, one point for each distinct score."""

    false_positive_rate: Floats
    true_positive_rate: Floats
    thresholds: Floats  # inf at the first point


def roc_curve(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> Roc:
    """Sensitivity against 1 - specificity; empty where there is one class only."""
    data = rows(labels, scores, weights)
    if data.one_class:
        return Roc(np.zeros(0), np.zeros(0), np.zeros(0))
    at = cumulative(data)
    return Roc(
        np.append(0, at.negatives / at.negatives[-1]),
        np.append(0, at.positives / at.positives[-1]),
        np.append(np.inf, at.thresholds),
    )
