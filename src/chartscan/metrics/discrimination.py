"""How well scores rank: AUROC, average precision, and the curves that they are areas of.

All rest on the true and false positives at every distinct score (`cumulative`), so the order of ties cannot
matter.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from chartscan.metrics import Floats, Metric, Rows, rows


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


class Roc(NamedTuple):
    """From no row flagged to all rows flagged, one point for each distinct score."""

    false_positive_rate: Floats
    true_positive_rate: Floats
    thresholds: Floats  # inf at the first point


def roc_curve(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> Roc:
    """Sensitivity against 1 - specificity; empty where there is one class only."""
    data = rows(labels, scores, weights)
    if data.one_class:
        return Roc(np.zeros(0), np.zeros(0), np.zeros(0))
    at = cumulative(data)
    return Roc(
        np.append(0, at.negatives / at.negatives[-1]),
        np.append(0, at.positives / at.positives[-1]),
        np.append(np.inf, at.thresholds),
    )


class PrecisionRecall(NamedTuple):
    """One point for each distinct score, from the highest down; a step function of recall."""

    recall: Floats
    precision: Floats
    thresholds: Floats


def precision_recall_curve(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None
) -> PrecisionRecall:
    """Positive predictive value against sensitivity; empty where there is one class only."""
    data = rows(labels, scores, weights)
    if data.one_class:
        return PrecisionRecall(np.zeros(0), np.zeros(0), np.zeros(0))
    at = cumulative(data)
    return PrecisionRecall(
        at.positives / at.positives[-1], at.positives / (at.positives + at.negatives), at.thresholds
    )


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


METRICS = (
    Metric("auroc", "AUROC", "max", auroc, compared=True, position=1),
    Metric("average_precision", "Average precision", "max", average_precision, compared=True, position=2),
)
