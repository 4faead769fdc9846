"""Area under the precision-recall curve, as average precision."""

import numpy as np
from numpy.typing import ArrayLike

from chartscan.metrics import Metric
from chartscan.metrics._rows import cumulative, rows


def average_precision(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Precision at each distinct score, averaged by the recall gained there; not the trapezoid.

    The trapezoid between points of a precision-recall curve is too high (Davis and Goadrich 2006, ICML).
    By chance it equals the prevalence, so it must be read beside it. nan where there is one class only.
    """
    data = rows(labels, scores, weights)
    if data.one_class:
        return np.nan
    at = cumulative(data)
    gained = np.diff(at.positives, prepend=0)
    return float(gained @ (at.positives / (at.positives + at.negatives)) / at.positives[-1])


METRIC = Metric("average_precision", "Average precision", "max", average_precision, compared=True, position=2)
