"""Curves thin enough to draw: at most about 200 points, chosen where the curve moves."""

import numpy as np
from numpy.typing import NDArray

from chartscan.evaluation.bootstrap import Answers, Floats
from chartscan.evaluation.result import Curve
from chartscan.metrics.decisions import net_benefit
from chartscan.metrics.discrimination import precision_recall_curve, roc_curve

MOST_POINTS = 200
DIGITS = 5
BARS = 50


def roc(answers: Answers) -> Curve:
    """Sensitivity (y) against 1 - specificity (x)."""
    curve = roc_curve(answers.labels, answers.probabilities)
    return thinned(curve.false_positive_rate, curve.true_positive_rate)


def precision_recall(answers: Answers) -> Curve:
    """Positive predictive value (y) against sensitivity (x)."""
    curve = precision_recall_curve(answers.labels, answers.probabilities)
    return thinned(curve.recall, curve.precision)


def thinned(x: Floats, y: Floats) -> Curve:
    """At most MOST_POINTS of the points, equally spaced along x, with both ends."""
    if len(x) > MOST_POINTS:
        wanted = np.searchsorted(x, np.linspace(x[0], x[-1], MOST_POINTS))
        kept = np.unique(np.concatenate([[0], wanted, [len(x) - 1]]))
        x, y = x[kept], y[kept]
    return Curve(np.round(x, DIGITS).tolist(), np.round(y, DIGITS).tolist())


def histogram(answers: Answers) -> list[int]:
    """Predictions in BARS equal steps of the probability from 0 to 1."""
    return np.histogram(answers.probabilities, bins=BARS, range=(0, 1))[0].tolist()


def decision_thresholds(sets: list[Answers]) -> Floats:
    """Thresholds (t,) to draw net benefit at: from 0.01 to where hardly any model flags anybody."""
    highest = max((float(np.quantile(a.probabilities, 0.995)) for a in sets if len(a.labels)), default=0.5)
    return np.linspace(0.01, min(max(highest, 0.1), 0.95), 60)


def decision_curve(answers: Answers, thresholds: Floats) -> Curve:
    """Net benefit (y) of acting above each threshold (x)."""
    return _net_benefits(answers.labels, answers.probabilities, thresholds)


def treat_all(labels: NDArray[np.bool_], thresholds: Floats) -> Curve:
    """Net benefit of acting on everybody."""
    return _net_benefits(labels, np.ones(len(labels)), thresholds)


def _net_benefits(labels: NDArray[np.bool_], scores: Floats, thresholds: Floats) -> Curve:
    benefit = np.array([net_benefit(labels, scores, None, float(t)) for t in thresholds])
    return Curve(np.round(thresholds, DIGITS).tolist(), np.round(benefit, DIGITS).tolist())
