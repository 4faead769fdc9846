"""Area under the receiver operating characteristic."""

import numpy as np
from numpy.typing import ArrayLike

from chartscan.metrics import Metric
from chartscan.metrics._rows import cumulative, rows


def auroc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Probability that a positive row scores above a negative one; ties count one half (mid-ranks).

    nan where there is one class only. Hanley and McNeil 1982, Radiology 143:29.
    """
    data = rows(labels, scores, weights)
    if data.one_class:
        return np.nan
    at = cumulative(data)
    gained = np.diff(at.positives, prepend=0)
    below = at.negatives[-1] - at.negatives
    tied = np.diff(at.negatives, prepend=0)
    return float(gained @ (below + tied / 2) / (at.positives[-1] * at.negatives[-1]))


METRIC = Metric("auroc", "AUROC", "max", auroc, compared=True, position=1)
