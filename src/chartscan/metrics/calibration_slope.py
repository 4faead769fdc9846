"""Slope of the logistic recalibration."""

from numpy.typing import ArrayLike

from chartscan.metrics._arrays import rows
from chartscan.metrics._recalibration import recalibration


def calibration_slope(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Slope of logit P(y) on logit(p): 1 at best, below 1 where the probabilities are too extreme.

    nan for one class, one distinct score, or separated classes. See `_recalibration`.
    """
    return recalibration(rows(labels, scores, weights))[1]
