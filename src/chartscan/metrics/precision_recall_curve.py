"""Precision-recall curve."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from chartscan.metrics._rows import Floats, cumulative, rows


class PrecisionRecall(NamedTuple):
    """One point for each distinct score, from the highest down; a step function of recall."""

    recall: Floats
    precision: Floats
    thresholds: Floats


def precision_recall_curve(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None
) -> PrecisionRecall:
    """Positive predictive value against sensitivity; empty where there is one class only."""
    data = rows(labels, scores, weights)
    if data.one_class:
        return PrecisionRecall(np.zeros(0), np.zeros(0), np.zeros(0))
    at = cumulative(data)
    return PrecisionRecall(
        at.positives / at.positives[-1], at.positives / (at.positives + at.negatives), at.thresholds
    )
