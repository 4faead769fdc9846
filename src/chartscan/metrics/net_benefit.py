"""Net benefit of acting above a threshold."""

import numpy as np
from numpy.typing import ArrayLike

from chartscan.metrics._rows import rows


def net_benefit(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None, threshold: float = 0.5
) -> float:
    """True positives per row, less false positives at the exchange rate threshold / (1 - threshold).

    A score >= `threshold` is acted on; `threshold` lies in [0, 1). Acting on nobody has net benefit 0.
    nan without rows. Vickers and Elkin 2006, Medical Decision Making 26:565.
    """
    data = rows(labels, scores, weights)
    if len(data.labels) == 0:
        return np.nan
    flagged = data.weights * (data.scores >= threshold)
    true, false = flagged @ data.labels, flagged @ (1 - data.labels)
    return float((true - false * threshold / (1 - threshold)) / data.weights.sum())
