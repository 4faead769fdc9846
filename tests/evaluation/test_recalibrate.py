"""Platt scaling repairs probabilities without touching their order."""

import numpy as np
import pytest
from scipy.optimize import minimize

from chartscan.errors import DataError
from chartscan.metrics import log_odds
from chartscan.metrics.calibration import (
    Platt,
    apply_platt,
    calibration_slope,
    expected_calibration_error,
    fit_platt,
    observed_expected,
)
from chartscan.metrics.discrimination import auroc


def over_confident(seed, n=20_000):
    """Outcomes, and probabilities that are twice too extreme and too high."""
    rng = np.random.default_rng(seed)
    z = rng.normal(-1.5, 1, n)
    return rng.random(n) < 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(-(2 * z + 1.5)))


def test_scaling_fitted_on_tuning_repairs_held_out():
    platt = fit_platt(*over_confident(0))
    labels, scores = over_confident(1)
    repaired = apply_platt(platt, scores)
    assert observed_expected(labels, scores) < 0.8  # the planted defect
    assert calibration_slope(labels, scores) == pytest.approx(0.5, abs=0.05)
    assert observed_expected(labels, repaired) == pytest.approx(1, abs=0.05)
    assert calibration_slope(labels, repaired) == pytest.approx(1, abs=0.08)
    assert expected_calibration_error(labels, repaired) < 0.02
    assert auroc(labels, repaired) == pytest.approx(auroc(labels, scores), abs=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_the_fit_has_the_greatest_likelihood_of_platts_targets(seed):
    rng = np.random.default_rng(seed)
    scores = rng.random(50)
    labels = rng.random(50) < scores
    up, down = labels.sum(), (~labels).sum()
    targets = np.where(labels, (up + 1) / (up + 2), 1 / (down + 2))
    z = log_odds(scores)

    def loss(beta):
        return float(np.sum(np.logaddexp(0, beta[0] + beta[1] * z) - targets * (beta[0] + beta[1] * z)))

    best = minimize(loss, [0.0, 1.0], method="BFGS", options={"gtol": 1e-9})
    platt = fit_platt(labels, scores)
    np.testing.assert_allclose([platt.intercept, platt.slope], best.x, atol=1e-4)


@pytest.mark.parametrize(
    ("labels", "scores"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]),
        ([1, 1, 1], [0.2, 0.5, 0.9]),
        ([0, 0, 0], [0.2, 0.5, 0.9]),
        ([0, 1, 0], [0.4, 0.4, 0.4]),
        ([0, 1], [0.0, 1.0]),
        ([1], [1.0]),
    ],
)
def test_separated_single_and_constant_scores_still_give_probabilities(labels, scores):
    repaired = apply_platt(fit_platt(labels, scores), scores)
    assert np.all((repaired > 0) & (repaired < 1))


def test_the_identity_changes_nothing():
    scores = np.linspace(0.001, 0.999, 63)
    np.testing.assert_allclose(apply_platt(Platt(0.0, 1.0), scores), scores, atol=1e-12)


def test_no_tuning_rows_is_an_error_with_a_remedy():
    with pytest.raises(DataError, match="tuning"):
        fit_platt([], [])
