"""Our metrics equal scikit-learn, scipy and written-out formulas on 100 random sets with ties and weights."""

import warnings

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression

from chartscan.metrics import log_odds
from chartscan.metrics.calibration import (
    brier,
    calibration_in_the_large,
    calibration_intercept,
    calibration_slope,
    expected_calibration_error,
    observed_expected,
)
from chartscan.metrics.decisions import best_f1_threshold, f1, net_benefit
from chartscan.metrics.discrimination import auroc, average_precision, precision_recall_curve, roc_curve

CLOSE = {"rtol": 0, "atol": 1e-9}


def random_set(seed):
    """Labels, probabilities (rounded on every other seed, so tied) and weights (every third seed)."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 400))
    scores = rng.beta(1, 4, n)
    labels = rng.random(n) < scores
    labels[:2] = [False, True]
    return labels, np.round(scores, 1) if seed % 2 else scores, rng.random(n) + 0.1 if seed % 3 == 0 else None


SETS = [random_set(seed) for seed in range(100)]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (auroc, sk.roc_auc_score),
        (average_precision, sk.average_precision_score),
        (brier, sk.brier_score_loss),
    ],
)
def test_equals_scikit_learn(ours, theirs):
    for labels, scores, weights in SETS:
        np.testing.assert_allclose(
            ours(labels, scores, weights), theirs(labels, scores, sample_weight=weights), **CLOSE
        )


def test_f1_equals_scikit_learn_at_any_threshold():
    for labels, scores, weights in SETS:
        for threshold in (0.0, 0.1, 0.3, 1.0):
            expected = sk.f1_score(labels, scores >= threshold, sample_weight=weights)
            np.testing.assert_allclose(f1(labels, scores, weights, threshold), expected, **CLOSE)


def test_best_f1_threshold_is_the_best_of_all_scores():
    for labels, scores, weights in SETS:
        best = max(f1(labels, scores, weights, t) for t in np.unique(scores))
        chosen = best_f1_threshold(labels, scores, weights)
        np.testing.assert_allclose(f1(labels, scores, weights, chosen), best, **CLOSE)


def test_curves_equal_scikit_learn():
    for labels, scores, weights in SETS:
        fpr, tpr, _ = sk.roc_curve(labels, scores, sample_weight=weights, drop_intermediate=False)
        np.testing.assert_allclose(roc_curve(labels, scores, weights)[:2], [fpr, tpr], **CLOSE)
        precision, recall, _ = sk.precision_recall_curve(labels, scores, sample_weight=weights)
        ours = precision_recall_curve(labels, scores, weights)
        np.testing.assert_allclose(ours.recall[::-1], recall[:-1], **CLOSE)
        np.testing.assert_allclose(ours.precision[::-1], precision[:-1], **CLOSE)


def test_auroc_is_the_share_of_pairs_in_order():
    for labels, scores, _ in SETS[:20]:
        positive, negative = scores[labels][:, None], scores[~labels][None, :]
        pairs = (positive > negative) + 0.5 * (positive == negative)
        np.testing.assert_allclose(auroc(labels, scores), pairs.mean(), **CLOSE)


def test_recalibration_equals_an_unpenalised_logistic_regression():
    for labels, scores, weights in SETS[50:]:
        slope = calibration_slope(labels, scores, weights)
        if np.isnan(slope):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-13, max_iter=500)
            model.fit(log_odds(scores)[:, None], labels, sample_weight=weights)
        np.testing.assert_allclose(slope, model.coef_[0, 0], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(
            calibration_intercept(labels, scores, weights), model.intercept_[0], rtol=1e-6, atol=1e-7
        )


def test_calibration_in_the_large_has_the_greatest_likelihood():
    for labels, scores, weights in SETS[:20]:
        z, w = log_odds(scores), np.ones(len(scores)) if weights is None else weights
        loss = lambda a, z=z, w=w, y=labels: float(w @ (np.logaddexp(0, z + a[0]) - y * (z + a[0])))  # noqa: E731
        best = minimize(loss, [0.0], method="BFGS", options={"gtol": 1e-10})
        np.testing.assert_allclose(calibration_in_the_large(labels, scores, weights), best.x[0], atol=1e-5)


def test_calibration_in_the_large_makes_the_mean_probability_right():
    for labels, scores, weights in SETS:
        shift = calibration_in_the_large(labels, scores, weights)
        shifted = 1 / (1 + np.exp(-log_odds(scores) - shift))
        w = np.ones(len(scores)) if weights is None else weights
        np.testing.assert_allclose(w @ shifted, w @ labels, rtol=1e-9)


def test_observed_expected_and_net_benefit_follow_their_formulas():
    for labels, scores, _ in SETS:
        np.testing.assert_allclose(observed_expected(labels, scores), labels.sum() / scores.sum(), **CLOSE)
        true = np.mean((scores >= 0.2) & labels)
        false = np.mean((scores >= 0.2) & ~labels)
        np.testing.assert_allclose(net_benefit(labels, scores, None, 0.2), true - false * 0.25, **CLOSE)


def test_calibration_error_equals_equal_chunks_of_sorted_rows():
    rng = np.random.default_rng(4)
    scores = np.sort(rng.random(15 * 40))
    labels = rng.random(len(scores)) < scores**2
    gaps = [abs(y.mean() - p.mean()) for y, p in zip(np.split(labels, 15), np.split(scores, 15), strict=True)]
    np.testing.assert_allclose(expected_calibration_error(labels, scores), np.mean(gaps), **CLOSE)


def test_recalibration_finds_the_distortion_that_was_planted():
    rng = np.random.default_rng(5)
    z = rng.normal(-1, 1.5, 200_000)
    labels = rng.random(len(z)) < 1 / (1 + np.exp(-z))
    distorted = 1 / (1 + np.exp(-(2 * z + 0.6)))  # true log odds = 0.5 * shown - 0.3
    assert calibration_slope(labels, distorted) == pytest.approx(0.5, abs=0.01)
    assert calibration_intercept(labels, distorted) == pytest.approx(-0.3, abs=0.02)


def test_separated_classes_and_constant_scores_have_no_slope():
    assert np.isnan(calibration_slope([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]))
    assert np.isnan(calibration_slope([0, 1, 0, 1], [0.3, 0.3, 0.3, 0.3]))
    assert calibration_in_the_large([0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5]) == pytest.approx(0)


def test_a_harmful_threshold_has_negative_net_benefit():
    assert net_benefit([0, 0, 0, 1], [0.9, 0.9, 0.9, 0.1], None, 0.5) == pytest.approx(-0.75)
