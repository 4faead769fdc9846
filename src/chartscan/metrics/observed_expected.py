"""Observed to expected ratio."""

import numpy as np
from numpy.typing import ArrayLike

from chartscan.metrics._arrays import rows


def observed_expected(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Events seen per event predicted: 1 at best, below 1 if risks are too high. nan if none predicted."""
    data = rows(labels, scores, weights)
    expected = data.weights @ data.scores
    return float(data.weights @ data.labels / expected) if expected > 0 else np.nan
