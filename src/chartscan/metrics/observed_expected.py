"""Observed to expected ratio."""

import numpy as np
from numpy.typing import ArrayLike

from chartscan.metrics import Metric, OfSums, ratio
from chartscan.metrics._rows import Floats, rows


def observed_expected(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Events seen per event predicted: 1 at best, below 1 if risks are too high. nan if none predicted."""
    data = rows(labels, scores, weights)
    expected = data.weights @ data.scores
    return float(data.weights @ data.labels / expected) if expected > 0 else np.nan


def row_sums(labels: Floats, scores: Floats) -> tuple[Floats, OfSums]:
    """The form for the bootstrap: events seen, and events predicted."""
    return np.stack([labels, scores], axis=1), lambda totals: ratio(totals[0], totals[1])


METRIC = Metric("observed_expected", "O : E", 1.0, observed_expected, row_sums, position=5)
