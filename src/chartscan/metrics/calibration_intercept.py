"""Intercept of the logistic recalibration."""

from numpy.typing import ArrayLike

from chartscan.metrics._arrays import rows
from chartscan.metrics._recalibration import recalibration


def calibration_intercept(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Intercept of logit P(y) on logit(p), fitted together with the slope: 0 at best.

    nan for one class, one distinct score, or separated classes. See `_recalibration`.
    """
    return recalibration(rows(labels, scores, weights))[0]
