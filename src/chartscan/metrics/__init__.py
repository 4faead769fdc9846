"""How good probabilities are, as pure functions of numpy arrays: `name(labels, scores, weights=None)`.

A metric gives a number or a curve. Higher scores mean more likely; weights count rows (2 is the row twice, 0
is no row). What a set cannot define (one class only, no rows) is nan, never an error and never a guess. Each
file ends with `METRICS`, the records of the numbers that reports show: every list of metrics is made of them.
Nothing here knows subjects, tasks or files, and arguments are never changed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
OfSums = Callable[[Floats], Floats]  # totals (K, R) of R resamples -> the metric (R,)
RowSums = Callable[[Floats, Floats], tuple[Floats, OfSums]]  # labels, scores (n,) -> columns (n, K), and that

SMALLEST = 1e-7  # logarithms are taken of probabilities at least this far from 0 and 1 (float32's resolution)


@dataclass(frozen=True)
class Metric:
    """One number of the report, with what the evaluation needs to know of it.

    `row_sums` is a quick form for the bootstrap: its columns are summed by subject once, and every resample
    is a weighted sum. On the whole set it equals `function`. Where it keeps bins or fits of the whole set, it
    is near `function` on resamples. Without it, `function` is called on every resample.
    """

    name: str  # in metrics.json
    title: str  # heading of its column
    direction: Literal["max", "min"] | float  # better are high values, low ones, or those near a number
    function: Callable[..., float]  # labels, scores, weights=None
    row_sums: RowSums | None = None
    reads: Literal["probabilities", "decisions"] = "probabilities"  # decisions are scores of 0 and 1
    compared: bool = False  # the difference between models is shown
    shown: bool = True  # False: in metrics.json only
    position: float = 100  # of its column; own metrics come last


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


def ratio(part: Floats, whole: Floats) -> Floats:
    """`part / whole`, nan where `whole` is not above 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, part / whole, np.nan)


def log_odds(probabilities: ArrayLike) -> Floats:
    """log(p / (1 - p)), finite for 0 and 1 too (they count as SMALLEST away)."""
    p = np.clip(np.asarray(probabilities, dtype=np.float64), SMALLEST, 1 - SMALLEST)
    return np.log(p) - np.log1p(-p)


def sigmoid(log_odds: Floats) -> Floats:
    """The probability of each log odds, without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * log_odds))
