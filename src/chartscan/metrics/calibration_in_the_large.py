"""Calibration in the large."""

from numpy.typing import ArrayLike

from chartscan.metrics import Metric
from chartscan.metrics._rows import recalibration, rows, shift_row_sums


def calibration_in_the_large(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Shift in log odds that would make the mean probability right: 0 at best, below 0 if risks are too high.

    The intercept of the logistic recalibration with slope 1 (Steyerberg 2019, ch. 15). nan for one class.
    """
    return recalibration(rows(labels, scores, weights), slope_free=False)[0]


METRIC = Metric(
    "calibration_in_the_large",
    "Calibration in the large",
    0.0,
    calibration_in_the_large,
    shift_row_sums,
    position=6,
)
