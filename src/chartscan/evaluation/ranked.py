"""AUROC and average precision of many resamples at once: rows are sorted once, resamples only re-weight them.

Equal to `metrics.auroc` and `metrics.average_precision` with each row weighted by its subject's multiplicity.
"""

import numpy as np
from numpy.typing import NDArray

from chartscan.evaluation.bootstrap import Floats, Samples, Statistic

RANKED = ("auroc", "average_precision")  # the metrics whose form for the bootstrap is here
WORKING_BYTES = 1 << 24  # weights of rows held at a time; measured: larger is slower (cache)


def ranked_statistics(labels: NDArray[np.bool_], scores: Floats, subjects: NDArray[np.int64]) -> Statistic:
    """The statistic `auroc`, `average_precision` of rows (n,); `subjects` numbers each row's subject."""
    positive, negative = _descending(scores, labels), _descending(scores, ~labels)
    ordered = -scores[negative]
    above = np.searchsorted(ordered, -scores[positive], side="left")  # negatives that score higher
    not_below = np.searchsorted(ordered, -scores[positive], side="right")  # negatives that score as high
    last_tied = np.searchsorted(-scores[positive], -scores[positive], side="right")
    rows = max(1, WORKING_BYTES // (8 * max(len(labels), 1)))

    def statistic(multiplicities: Floats) -> Samples:
        parts = [
            _both(part[:, subjects[positive]], part[:, subjects[negative]], above, not_below, last_tied)
            for part in np.array_split(multiplicities, max(1, -(-len(multiplicities) // rows)))
        ]
        auroc, average_precision = (np.concatenate(column) for column in zip(*parts, strict=True))
        return {"auroc": auroc, "average_precision": average_precision}

    return statistic


def _descending(scores: Floats, kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    rows = np.flatnonzero(kept)
    return rows[np.argsort(-scores[rows], kind="stable")]


def _both(positive, negative, above, not_below, last_tied):
    """AUROC and average precision (R,) from weights of positive (R, P) and negative rows (R, N), sorted."""
    false = _cumulative(negative)
    true = _cumulative(positive)
    all_true, all_false = true[:, -1], false[:, -1]
    flagged_false = false[:, not_below]
    with np.errstate(divide="ignore", invalid="ignore"):
        outranked = all_false[:, None] - (false[:, above] + flagged_false) / 2
        auroc = np.einsum("rp,rp->r", positive, outranked) / (all_true * all_false)
        flagged_true = true[:, last_tied]
        precision = flagged_true / np.maximum(flagged_true + flagged_false, 1)
        average_precision = np.einsum("rp,rp->r", positive, precision) / all_true
    return auroc, np.where(all_false > 0, average_precision, np.nan)


def _cumulative(weights: Floats) -> Floats:
    """Sums (R, K + 1) of the first 0, 1, ..., K weights."""
    sums = np.zeros((len(weights), weights.shape[1] + 1))
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums
