"""Whether probabilities mean what they say: metrics of calibration, its curve, and Platt scaling.

Metrics end with their form for the bootstrap (`Metric.row_sums`). Where that holds a fit of the whole set, a
resample's is one Newton step from it (Moulton and Zeger 1991, Computational Statistics and Data Analysis
11:53): it needs sums of rows only, and is exact for the whole.
"""

from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from chartscan.errors import DataError
from chartscan.metrics import Floats, Metric, OfSums, Rows, log_odds, ratio, rows, sigmoid

BINS = 15
MOST_STEPS = 50  # of Newton's method for the recalibration
MOST_PLATT_STEPS = 100
LARGEST = 50.0  # a coefficient beyond this means that the classes are separated: no finite answer


def brier(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean squared distance between probability and outcome, 0 at best; nan without rows.

    Always answering the prevalence q gives q(1 - q), the number to compare with. Brier 1950, MWR 78:1.
    """
    data = rows(labels, scores, weights)
    if len(data.labels) == 0:
        return np.nan
    return float(np.average((data.scores - data.labels) ** 2, weights=data.weights))


def observed_expected(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return events observed per event predicted; 1 is best, nan if none predicted.

    Below 1 if risks are too high.
    """
    data = rows(labels, scores, weights)
    expected = data.weights @ data.scores
    return float(data.weights @ data.labels / expected) if expected > 0 else np.nan


def calibration_in_the_large(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return the shift in log odds that corrects the mean probability; 0 is best.

    Below 0 if risks are too high. The intercept of the logistic recalibration with slope 1 (Steyerberg 2019,
    ch. 15). nan for one class.
    """
    return recalibration(rows(labels, scores, weights), slope_free=False)[0]


def calibration_intercept(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Intercept of logit P(y) on logit(p), fitted together with the slope: 0 at best.

    nan for one class, one distinct score, or separated classes. See `recalibration`.
    """
    return recalibration(rows(labels, scores, weights))[0]


def calibration_slope(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return the slope of logit P(y) on logit(p); 1 is best.

    Below 1 where the probabilities are too extreme. nan for one class, one distinct score, or separated
    classes. See `recalibration`.
    """
    return recalibration(rows(labels, scores, weights))[1]


def expected_calibration_error(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None, bins: int = BINS
) -> float:
    """Mean distance between observed share and mean probability over 15 bins of equal weight.

    Never 0 in a finite sample, however good the probabilities: compare it between models of one set.
    nan without rows.
    """
    curve = reliability_curve(labels, scores, weights, bins)
    if len(curve.weight) == 0:
        return np.nan
    return float(np.average(np.abs(curve.observed - curve.predicted), weights=curve.weight))


class Reliability(NamedTuple):
    """One entry for each bin that holds rows, from low to high probability."""

    predicted: Floats  # mean probability
    observed: Floats  # share of positive rows
    weight: Floats  # weight of the bin's rows


def reliability_curve(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None, bins: int = BINS
) -> Reliability:
    """Return bins of nearly equal weight; equal scores share a bin."""
    data = rows(labels, scores, weights)
    bin_of = equal_mass_bins(data, bins)
    weight = _sums(bin_of, data.weights, bins)
    held = weight > 0
    predicted = _sums(bin_of, data.weights * data.scores, bins)[held] / weight[held]
    observed = _sums(bin_of, data.weights * data.labels, bins)[held] / weight[held]
    return Reliability(predicted, observed, weight[held])


def equal_mass_bins(data: Rows, bins: int) -> NDArray[np.int64]:
    """Return the bin (n,) of each row, by its score's middle weight."""
    _, inverse = np.unique(data.scores, return_inverse=True)
    mass = np.bincount(inverse, data.weights) if len(inverse) else np.zeros(0)
    middle = (np.cumsum(mass) - mass / 2) / max(mass.sum(), 1e-300)
    bin_of = np.minimum((middle * bins).astype(np.int64), bins - 1)
    return bin_of[inverse]


def _sums(bin_of: NDArray[np.int64], values: Floats, bins: int) -> Floats:
    return np.bincount(bin_of, values, minlength=bins).astype(np.float64)


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
    for _ in range(MOST_PLATT_STEPS):
        step = _newton_step(beta, z, targets)
        loss = _platt_loss(beta, z, targets)
        while _platt_loss(beta + step, z, targets) > loss and np.abs(step).max() > 1e-12:
            step = step / 2
        beta = beta + step
        if np.abs(step).max() < 1e-10:
            break
    if beta[1] <= 0:
        return Platt(_shift(z, float(targets.mean())), 1.0)
    return Platt(float(beta[0]), float(beta[1]))


def apply_platt(platt: Platt, probabilities: ArrayLike) -> Floats:
    """Calibrated probabilities."""
    return sigmoid(platt.intercept + platt.slope * log_odds(probabilities))


def _shift(z: Floats, mean: float) -> float:
    """The intercept with which the mean probability is `mean`, at slope 1."""
    return float(brentq(lambda a: float(np.mean(sigmoid(a + z))) - mean, -50.0, 50.0))


def _newton_step(beta: Floats, z: Floats, targets: Floats) -> Floats:
    p = sigmoid(beta[0] + beta[1] * z)
    w = p * (1 - p)
    gradient = np.array([np.sum(targets - p), np.sum((targets - p) * z)])
    hessian = np.array([[np.sum(w), np.sum(w * z)], [np.sum(w * z), np.sum(w * z * z)]])
    return np.linalg.solve(hessian + 1e-9 * np.eye(2), gradient)


def _platt_loss(beta: Floats, z: Floats, targets: Floats) -> float:
    eta = beta[0] + beta[1] * z
    return float(np.sum(np.logaddexp(0, eta) - targets * eta))


def _brier_sums(labels: Floats, scores: Floats) -> tuple[Floats, OfSums]:
    """The form for the bootstrap: squared distances, and rows."""
    columns = np.stack([(scores - labels) ** 2, np.ones_like(scores)], axis=1)
    return columns, lambda totals: ratio(totals[0], totals[1])


def _observed_expected_sums(labels: Floats, scores: Floats) -> tuple[Floats, OfSums]:
    """The form for the bootstrap: events seen, and events predicted."""
    return np.stack([labels, scores], axis=1), lambda totals: ratio(totals[0], totals[1])


def _shift_sums(labels: Floats, scores: Floats) -> tuple[Floats, OfSums]:
    """Calibration in the large as sums of rows: derivatives of the log likelihood at the fit with slope 1."""
    shift = recalibration(Rows(labels, scores, np.ones_like(scores)), slope_free=False)[0]
    p = sigmoid(shift + log_odds(scores))
    columns = np.stack([labels - p, p * (1 - p)], axis=1)

    def of_sums(totals: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(shift + totals[0] / totals[1], dtype=np.float64)

    return columns, of_sums


def _intercept_sums(labels: Floats, scores: Floats) -> tuple[Floats, OfSums]:
    """The form for the bootstrap: see `_line_sums`."""
    return _line_sums(labels, scores, 0)


def _slope_sums(labels: Floats, scores: Floats) -> tuple[Floats, OfSums]:
    """The form for the bootstrap: see `_line_sums`."""
    return _line_sums(labels, scores, 1)


def _line_sums(labels: Floats, scores: Floats, which: int) -> tuple[Floats, OfSums]:
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


def _ece_sums(labels: Floats, scores: Floats) -> tuple[Floats, OfSums]:
    """The form for the bootstrap: events less expected ones by bin of the whole set, and rows."""
    bin_of = equal_mass_bins(Rows(labels, scores, np.ones_like(scores)), BINS)
    inside = bin_of[:, None] == np.arange(BINS)
    columns = np.column_stack([inside * (labels - scores)[:, None], np.ones_like(scores)])
    return columns, lambda totals: ratio(np.abs(totals[:-1]).sum(axis=0), totals[-1])


OBSERVED_EXPECTED = Metric(
    "observed_expected", "O : E", 1.0, observed_expected, _observed_expected_sums, position=5
)
METRICS = (
    Metric("brier", "Brier", "min", brier, _brier_sums, compared=True, position=4),
    OBSERVED_EXPECTED,
    Metric(
        "calibration_in_the_large",
        "Calibration in the large",
        0.0,
        calibration_in_the_large,
        _shift_sums,
        position=6,
    ),
    Metric("calibration_slope", "Calibration slope", 1.0, calibration_slope, _slope_sums, position=7),
    Metric(
        "calibration_intercept",
        "Calibration intercept",
        0.0,
        calibration_intercept,
        _intercept_sums,
        shown=False,
        position=8,
    ),
    Metric("expected_calibration_error", "ECE", "min", expected_calibration_error, _ece_sums, position=9),
)
