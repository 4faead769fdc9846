"""Intercept of the logistic recalibration."""

from numpy.typing import ArrayLike

from chartscan.metrics import Metric, OfSums
from chartscan.metrics._rows import Floats, line_row_sums, recalibration, rows


def calibration_intercept(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Intercept of logit P(y) on logit(p), fitted together with the slope: 0 at best.

    nan for one class, one distinct score, or separated classes. See `_recalibration`.
    """
    return recalibration(rows(labels, scores, weights))[0]


def row_sums(labels: Floats, scores: Floats) -> tuple[Floats, OfSums]:
    """The form for the bootstrap: see `line_row_sums`."""
    return line_row_sums(labels, scores, 0)


METRIC = Metric(
    "calibration_intercept",
    "Calibration intercept",
    0.0,
    calibration_intercept,
    row_sums,
    shown=False,
    position=8,
)
