"""Brier score."""

import numpy as np
from numpy.typing import ArrayLike

from chartscan.metrics import Metric, OfSums, ratio
from chartscan.metrics._rows import Floats, rows


def brier(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean squared distance between probability and outcome, 0 at best; nan without rows.

    Always answering the prevalence q gives q(1 - q), the number to compare with. Brier 1950, MWR 78:1.
    """
    data = rows(labels, scores, weights)
    if len(data.labels) == 0:
        return np.nan
    return float(np.average((data.scores - data.labels) ** 2, weights=data.weights))


def row_sums(labels: Floats, scores: Floats) -> tuple[Floats, OfSums]:
    """The form for the bootstrap: squared distances, and rows."""
    columns = np.stack([(scores - labels) ** 2, np.ones_like(scores)], axis=1)
    return columns, lambda totals: ratio(totals[0], totals[1])


METRIC = Metric("brier", "Brier", "min", brier, row_sums, compared=True, position=4)
