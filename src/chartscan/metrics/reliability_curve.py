"""Reliability curve: how often the outcome came, bin by bin of the predicted probability."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chartscan.metrics._rows import Floats, Rows, rows

BINS = 15


class Reliability(NamedTuple):
    """One entry for each bin that holds rows, from low to high probability."""

    predicted: Floats  # mean probability
    observed: Floats  # share of positive rows
    weight: Floats  # weight of the bin's rows


def reliability_curve(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None, bins: int = BINS
) -> Reliability:
    """Bins of (nearly) equal weight; rows of one score are never parted, so ties make fewer bins."""
    data = rows(labels, scores, weights)
    bin_of = equal_mass_bins(data, bins)
    weight = _sums(bin_of, data.weights, bins)
    held = weight > 0
    predicted = _sums(bin_of, data.weights * data.scores, bins)[held] / weight[held]
    observed = _sums(bin_of, data.weights * data.labels, bins)[held] / weight[held]
    return Reliability(predicted, observed, weight[held])


def _sums(bin_of: NDArray[np.int64], values: Floats, bins: int) -> Floats:
    return np.bincount(bin_of, values, minlength=bins).astype(np.float64)


def equal_mass_bins(data: Rows, bins: int) -> NDArray[np.int64]:
    """The bin (n,) of each row: where the middle of its score's weight lies among all weight."""
    _, inverse = np.unique(data.scores, return_inverse=True)
    mass = np.bincount(inverse, data.weights) if len(inverse) else np.zeros(0)
    middle = (np.cumsum(mass) - mass / 2) / max(mass.sum(), 1e-300)
    bin_of = np.minimum((middle * bins).astype(np.int64), bins - 1)
    return bin_of[inverse]
