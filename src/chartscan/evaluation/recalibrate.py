"""Platt scaling: making probabilities right by a line on the log odds, fitted on tuning predictions.

Never fitted on the rows that are reported. The ranking does not change: where the best slope is not positive
(few rows, or a model worse than chance on them) only the intercept is fitted.
"""

import msgspec
import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from chartscan.errors import DataError
from chartscan.evaluation.bootstrap import Floats
from chartscan.metrics._rows import log_odds, sigmoid

MOST_STEPS = 100


class Platt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Calibrated log odds = intercept + slope * log odds."""

    intercept: float
    slope: float


def fit_platt(labels: ArrayLike, probabilities: ArrayLike) -> Platt:
    """The scaling of greatest likelihood on tuning rows, with Platt's prior counts.

    The targets are (N+ + 1) / (N+ + 2) and 1 / (N- + 2) instead of 1 and 0, so that the answer is finite even
    for one class or separated classes. Raises DataError without rows. Platt 1999; Newton's method of Lin, Lin
    and Weng 2007, Machine Learning 68:267.
    """
    y = np.asarray(labels, dtype=bool)
    if len(y) == 0:
        raise DataError("No tuning predictions to calibrate on. Label subjects of the tuning split too.")
    positives, negatives = np.count_nonzero(y), np.count_nonzero(~y)
    targets = np.where(y, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    z = log_odds(probabilities)
    beta = np.array([np.log((positives + 1) / (negatives + 1)), 0.0])
    for _ in range(MOST_STEPS):
        step = _newton_step(beta, z, targets)
        loss = _loss(beta, z, targets)
        while _loss(beta + step, z, targets) > loss and np.abs(step).max() > 1e-12:
            step = step / 2
        beta = beta + step
        if np.abs(step).max() < 1e-10:
            break
    if beta[1] <= 0:
        return Platt(_intercept(z, float(targets.mean())), 1.0)
    return Platt(float(beta[0]), float(beta[1]))


def apply_platt(platt: Platt, probabilities: ArrayLike) -> Floats:
    """Calibrated probabilities."""
    return sigmoid(platt.intercept + platt.slope * log_odds(probabilities))


def _intercept(z: Floats, mean: float) -> float:
    """The intercept with which the mean probability is `mean`, at slope 1."""
    return float(brentq(lambda a: float(np.mean(sigmoid(a + z))) - mean, -50.0, 50.0))


def _newton_step(beta: Floats, z: Floats, targets: Floats) -> Floats:
    p = sigmoid(beta[0] + beta[1] * z)
    w = p * (1 - p)
    gradient = np.array([np.sum(targets - p), np.sum((targets - p) * z)])
    hessian = np.array([[np.sum(w), np.sum(w * z)], [np.sum(w * z), np.sum(w * z * z)]])
    return np.linalg.solve(hessian + 1e-9 * np.eye(2), gradient)


def _loss(beta: Floats, z: Floats, targets: Floats) -> float:
    eta = beta[0] + beta[1] * z
    return float(np.sum(np.logaddexp(0, eta) - targets * eta))
