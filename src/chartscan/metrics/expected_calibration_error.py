"""Expected calibration error."""

import numpy as np
from numpy.typing import ArrayLike

from chartscan.metrics import Metric, OfSums, ratio
from chartscan.metrics._rows import Floats, Rows
from chartscan.metrics.reliability_curve import BINS, equal_mass_bins, reliability_curve


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


def row_sums(labels: Floats, scores: Floats) -> tuple[Floats, OfSums]:
    """The form for the bootstrap: events less expected ones by bin of the whole set, and rows."""
    bin_of = equal_mass_bins(Rows(labels, scores, np.ones_like(scores)), BINS)
    inside = bin_of[:, None] == np.arange(BINS)
    columns = np.column_stack([inside * (labels - scores)[:, None], np.ones_like(scores)])
    return columns, lambda totals: ratio(np.abs(totals[:-1]).sum(axis=0), totals[-1])


METRIC = Metric("expected_calibration_error", "ECE", "min", expected_calibration_error, row_sums, position=9)
