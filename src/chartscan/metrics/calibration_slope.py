"""Slope of the logistic recalibration."""

from numpy.typing import ArrayLike

from chartscan.metrics import Metric, OfSums
from chartscan.metrics._rows import Floats, line_row_sums, recalibration, rows


def calibration_slope(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Slope of logit P(y) on logit(p): 1 at best, below 1 where the probabilities are too extreme.

    nan for one class, one distinct score, or separated classes. See `_recalibration`.
    """
    return recalibration(rows(labels, scores, weights))[1]


def row_sums(labels: Floats, scores: Floats) -> tuple[Floats, OfSums]:
    """The form for the bootstrap: see `line_row_sums`."""
    return line_row_sums(labels, scores, 1)


METRIC = Metric("calibration_slope", "Calibration slope", 1.0, calibration_slope, row_sums, position=7)
