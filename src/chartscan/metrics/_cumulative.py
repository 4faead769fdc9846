"""True and false positives at every distinct score: what AUROC, average precision, F1 and curves share."""

from typing import NamedTuple

import numpy as np

from chartscan.metrics._arrays import Floats, Rows


class Cumulative(NamedTuple):
    """Weights at or above each distinct score, from the highest score down (k of them)."""

    thresholds: Floats  # (k,)
    positives: Floats  # (k,) weight of positive rows with a score >= threshold
    negatives: Floats  # (k,) weight of negative rows with a score >= threshold


def cumulative(rows: Rows) -> Cumulative:
    """Rows of one score enter together, so that the order of ties cannot matter."""
    order = np.argsort(-rows.scores, kind="stable")
    scores = rows.scores[order]
    positives = np.cumsum(rows.weights[order] * rows.labels[order])
    negatives = np.cumsum(rows.weights[order] * (1 - rows.labels[order]))
    last = np.append(scores[1:] != scores[:-1], True) if len(scores) else np.zeros(0, dtype=bool)
    return Cumulative(scores[last], positives[last], negatives[last])
