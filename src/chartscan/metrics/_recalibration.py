"""Logistic recalibration: the line logit P(y) = intercept + slope * logit(p), fitted by Newton's method.

In the bootstrap a resample's is one Newton step from that of the whole set (Moulton and Zeger 1991,
Computational Statistics and Data Analysis 11:53). That needs sums of rows only, and is exact for the whole.
"""

import numpy as np

from chartscan.metrics import OfSums
from chartscan.metrics._arrays import Floats, Rows, log_odds, sigmoid

MOST_STEPS = 50
LARGEST = 50.0  # a coefficient beyond this means that the classes are separated: no finite answer


def recalibration(rows: Rows, slope_free: bool = True) -> tuple[float, float]:
    """(intercept, slope) of greatest likelihood; slope 1 if not `slope_free`.

    (nan, nan) where there is no finite answer: one class, one score only, or classes that the scores
    separate perfectly. Cox 1958, Biometrika 45:562; Van Calster et al. 2016, J Clin Epidemiol 74:167.
    """
    if rows.one_class:
        return np.nan, np.nan
    z = log_odds(rows.scores)
    if slope_free and np.ptp(z) == 0:
        return np.nan, np.nan
    design = np.stack([np.ones_like(z), z], axis=1) if slope_free else np.ones((len(z), 1))
    offset = np.zeros_like(z) if slope_free else z
    beta = _newton(design, offset, rows)
    return (float(beta[0]), float(beta[1]) if slope_free else 1.0)


def _newton(design: Floats, offset: Floats, rows: Rows) -> Floats:
    beta = np.zeros(design.shape[1])
    loss = _loss(design @ beta + offset, rows)
    for _ in range(MOST_STEPS):
        p = sigmoid(design @ beta + offset)
        gradient = design.T @ (rows.weights * (rows.labels - p))
        hessian = (design * (rows.weights * p * (1 - p))[:, None]).T @ design
        try:
            step = np.linalg.solve(hessian, gradient)
        except np.linalg.LinAlgError:
            break
        if np.abs(step).max() < 1e-12 * (1 + np.abs(beta).max()):
            return beta + step
        beta, loss = _damped(design, offset, rows, beta, step, loss)
        if np.abs(beta).max() > LARGEST:
            break
    else:
        return beta
    return np.full(len(beta), np.nan)


def _damped(design, offset, rows, beta, step, loss):
    """`beta` after the longest of step, step/2, step/4, ... that does not raise the loss."""
    for _ in range(30):
        tried = _loss(design @ (beta + step) + offset, rows)
        if tried <= loss * (1 + 1e-15):
            return beta + step, tried
        step = step / 2
    return beta, loss


def _loss(eta: Floats, rows: Rows) -> float:
    return float(rows.weights @ (np.logaddexp(0, eta) - rows.labels * eta))


def line_row_sums(labels: Floats, scores: Floats, which: int) -> tuple[Floats, OfSums]:
    """Intercept (`which` 0) or slope (1) as sums of rows: derivatives of the log likelihood at the fit."""
    line = recalibration(Rows(labels, scores, np.ones_like(scores)))
    z = log_odds(scores)
    p = sigmoid(line[0] + line[1] * z)
    residual, spread = labels - p, p * (1 - p)
    columns = np.stack([residual, residual * z, spread, spread * z, spread * z * z], axis=1)

    def of_sums(totals: Floats) -> Floats:
        u0, u1, h00, h01, h11 = totals
        step = (h11 * u0 - h01 * u1, h00 * u1 - h01 * u0)[which]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(line[which] + step / (h00 * h11 - h01 * h01), dtype=np.float64)

    return columns, of_sums


def shift_row_sums(labels: Floats, scores: Floats) -> tuple[Floats, OfSums]:
    """Calibration in the large as sums of rows: derivatives of the log likelihood at the fit with slope 1."""
    shift = recalibration(Rows(labels, scores, np.ones_like(scores)), slope_free=False)[0]
    p = sigmoid(shift + log_odds(scores))
    columns = np.stack([labels - p, p * (1 - p)], axis=1)

    def of_sums(totals: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(shift + totals[0] / totals[1], dtype=np.float64)

    return columns, of_sums
