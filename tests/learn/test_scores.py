import numpy as np
import pytest
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from chartscan.learn.calibration import mean_scores, scores


def rows(n, seed=0):
    random = np.random.default_rng(seed)
    return random.random(n) < 0.3, random.normal(size=n)


def test_scores_are_those_of_scikit_learn():
    labels, log_odds = rows(63)
    found = scores(labels, log_odds)
    assert found["loss"] == pytest.approx(log_loss(labels, 1 / (1 + np.exp(-log_odds))))
    assert found["auroc"] == pytest.approx(roc_auc_score(labels, log_odds))
    assert found["average_precision"] == pytest.approx(average_precision_score(labels, log_odds))


def test_unknown_answers_count_for_nothing():
    (a, x), (b, y) = rows(63), rows(63, seed=1)
    answers, log_odds = np.stack([a, b], 1).astype(float), np.stack([x, y], 1)
    answers[:20, 1] = np.nan
    found = mean_scores(np.tile([0, 1], 63), answers.ravel(), log_odds.ravel())
    one, other = scores(a, x), scores(b[20:], y[20:])
    assert found["auroc"] == pytest.approx((one["auroc"] + other["auroc"]) / 2)
    assert found["loss"] == pytest.approx((63 * one["loss"] + 43 * other["loss"]) / 106)


def test_what_one_class_cannot_define_is_nan():
    assert "auroc" not in scores(np.zeros(5, bool), np.arange(5.0))
    found = mean_scores(np.zeros(5, int), np.zeros(5), np.zeros(5))
    assert np.isnan(found["auroc"])
    assert found["loss"] == pytest.approx(np.log(2))
    assert np.isnan(mean_scores(np.zeros(2, int), np.full(2, np.nan), np.zeros(2))["loss"])
