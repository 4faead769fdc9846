"""Stacking weights against other solvers of the same problem."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from chartscan.learn.ensembles import equal, stacked


def rows(noise, n=2000, seed=0):
    """Labels, and log odds of members that see the truth with each its own noise."""
    random = np.random.default_rng(seed)
    truth = random.normal(size=n) - 1
    labels = random.random(n) < 1 / (1 + np.exp(-truth))
    members = truth[:, None] + random.normal(size=(n, len(noise))) * np.array(noise)
    return members, labels


def test_where_all_help_the_weights_are_those_of_a_plain_logistic_regression():
    members, labels = rows([0.5, 1.0, 2.0])
    found = stacked(members, labels)
    other = LogisticRegression(C=1e12, tol=1e-10, max_iter=10_000).fit(members, labels)
    np.testing.assert_allclose(found.weights, other.coef_[0], atol=2e-5)
    assert found.intercept == pytest.approx(other.intercept_[0], abs=2e-5)
    np.testing.assert_allclose(found.log_odds(members), other.decision_function(members), atol=2e-4)


@pytest.mark.parametrize("seed", range(5))
def test_the_weights_are_those_of_another_solver_when_some_are_bounded(seed):
    members, labels = rows([0.5, 1.0, 30.0], n=300, seed=seed)
    members[:, 2] *= -1

    def loss(x):
        z = members @ x[:3] + x[3]
        return np.mean(np.logaddexp(0, z) - labels * z)

    other = minimize(
        loss, np.zeros(4), method="SLSQP", bounds=[(0, None)] * 3 + [(None, None)], options={"ftol": 1e-14}
    )
    found = stacked(members, labels)
    assert (found.weights >= 0).all()
    assert loss(np.append(found.weights, found.intercept)) <= loss(other.x) + 1e-7
    np.testing.assert_allclose(found.weights, other.x[:3], atol=2e-3)


def test_a_member_that_contradicts_gets_no_weight():
    members, labels = rows([0.5, 0.5])
    members[:, 1] *= -1
    assert stacked(members, labels).weights[1] == 0


def test_members_that_say_the_same_share_their_weight():
    members, labels = rows([1.0])
    found = stacked(np.repeat(members, 3, axis=1), labels)
    np.testing.assert_allclose(found.weights, found.weights.mean(), atol=1e-6)
    assert found.weights.sum() == pytest.approx(stacked(members, labels).weights[0], abs=1e-4)


def test_where_no_member_knows_anything_all_count_the_same():
    members, labels = rows([0.5, 1.0])
    np.testing.assert_array_equal(stacked(-members, labels).weights, [0.5, 0.5])


def test_equal_weights_are_the_mean():
    members, _ = rows([1.0, 1.0, 1.0], n=63)
    np.testing.assert_allclose(equal(3).log_odds(members), members.mean(axis=1))
