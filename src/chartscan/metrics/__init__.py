"""How good probabilities are, as pure functions of numpy arrays.

Every public file holds one metric of the file's name: `name(labels, scores, weights=None)`, a number or a
curve. Higher scores mean more likely; weights count rows (2 is the row twice, 0 is no row). Metrics that
a set cannot define (one class only, no rows) are nan, never an error and never a guess. A file whose number
reports show also holds its record, `METRIC`: the lists of the evaluation and of the report are made of these.
Nothing here knows subjects, tasks or files, and arguments are never changed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]
OfSums = Callable[[_Floats], _Floats]  # totals (K, R) of R resamples -> the metric (R,)
RowSums = Callable[
    [_Floats, _Floats], tuple[_Floats, OfSums]
]  # labels, scores (n,) -> columns (n, K), and that


@dataclass(frozen=True)
class Metric:
    """One number of the report, with what the evaluation needs to know of it.

    `row_sums` is a quick form for the bootstrap: its columns are summed by subject once, and every resample
    is a weighted sum. On the whole set it equals `function`. Where it keeps bins or fits of the whole set, it
    is near `function` on resamples. Without it, `function` is called on every resample.
    """

    name: str  # in metrics.json
    title: str  # heading of its column
    direction: (
        Literal["max", "min"] | float
    )  # which values are better: high ones, low ones, or those near a number
    function: Callable[..., float]  # labels, scores, weights=None
    row_sums: RowSums | None = None
    reads: Literal["probabilities", "decisions"] = (
        "probabilities"  # what its scores are; decisions are 0 and 1
    )
    compared: bool = False  # the difference between models is shown
    shown: bool = True  # False: in metrics.json only
    position: float = 100  # of its column; own metrics come last


def ratio(part: _Floats, whole: _Floats) -> _Floats:
    """`part / whole`, nan where `whole` is not above 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, part / whole, np.nan)
