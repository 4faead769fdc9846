"""Brier score."""

import numpy as np
from numpy.typing import ArrayLike

from chartscan.metrics._arrays import rows


def brier(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean squared distance between probability and outcome, 0 at best; nan without rows.

    Always answering the prevalence q gives q(1 - q), the number to compare with. Brier 1950, MWR 78:1.
    """
    data = rows(labels, scores, weights)
    if len(data.labels) == 0:
        return np.nan
    return float(np.average((data.scores - data.labels) ** 2, weights=data.weights))
