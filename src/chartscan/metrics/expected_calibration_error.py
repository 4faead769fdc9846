"""Expected calibration error."""

import numpy as np
from numpy.typing import ArrayLike

from chartscan.metrics.reliability_curve import BINS, reliability_curve


def expected_calibration_error(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None, bins: int = BINS
) -> float:
    """Mean distance between observed share and mean probability over 15 bins of equal weight.

    Never 0 in a finite sample, however good the probabilities: compare it between models of one set.
    nan without rows.
    """
    curve = reliability_curve(labels, scores, weights, bins)
    if len(curve.weight) == 0:
        return np.nan
    return float(np.average(np.abs(curve.observed - curve.predicted), weights=curve.weight))
