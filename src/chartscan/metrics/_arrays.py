"""What every metric does first: labels, scores and weights as float arrays of one length."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
SMALLEST = (
    1e-7  # probabilities are kept this far from 0 and 1 where a logarithm is taken (float32's resolution)
)


class Rows(NamedTuple):
    """Rows of weight above 0."""

    labels: Floats  # (n,) 0 or 1
    scores: Floats  # (n,)
    weights: Floats  # (n,) above 0

    @property
    def one_class(self) -> bool:
        """True where there is no positive or no negative row (or no row)."""
        return len(self.labels) == 0 or self.labels.min() == self.labels.max()


def rows(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None) -> Rows:
    """The arguments of a metric as arrays, without the rows of weight 0."""
    y = np.asarray(labels, dtype=np.float64)
    s = np.asarray(scores, dtype=np.float64)
    w = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64)
    if not len(y) == len(s) == len(w):
        raise ValueError(f"labels, scores and weights differ in length: {len(y)}, {len(s)}, {len(w)}.")
    kept = w > 0
    return Rows(y[kept], s[kept], w[kept])


def log_odds(probabilities: ArrayLike) -> Floats:
    """log(p / (1 - p)), finite for 0 and 1 too (they count as SMALLEST away)."""
    p = np.clip(np.asarray(probabilities, dtype=np.float64), SMALLEST, 1 - SMALLEST)
    return np.log(p) - np.log1p(-p)


def sigmoid(log_odds: Floats) -> Floats:
    """The probability of each log odds, without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * log_odds))
