"""Normal scores by rank equal a loop over knots, keep the order, and weigh what goes with the labels."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chartscan.layers.quantile_bins import KNOTS, QuantileScores

LEVELS = [NormalDist().inv_cdf(0.002 + 0.996 * i / (KNOTS - 1)) for i in range(KNOTS)]


def training(rows=300, seed=0):
    """Stays of five features: one smooth, one of few values, one mostly 0, one constant, one never seen."""
    g = torch.Generator().manual_seed(seed)
    smooth = torch.randn(rows, generator=g)
    few = torch.randint(0, 3, (rows,), generator=g).float()
    mostly = torch.relu(torch.randn(rows, generator=g) - 1) * 10
    features = torch.stack([smooth, few, mostly, torch.full((rows,), 2.0), torch.zeros(rows)], 1)
    seen = torch.rand(rows, 5, generator=g) < 0.8
    seen[:, 4] = False
    labels = (torch.rand(rows, 2, generator=g) < torch.sigmoid(torch.stack([smooth, -few], 1))).float()
    return features, seen, labels.masked_fill(torch.rand(rows, 2, generator=g) < 0.2, math.nan)


def fitted(rows=300, seed=0):
    features, seen, labels = training(rows, seed)
    module = QuantileScores(features.shape[1])
    module.fit(features, seen, labels)
    return module


def score_by_loop(knots, x):
    """The middle of the levels of all knots equal to x, or the straight line between those around it."""
    equal = [level for knot, level in zip(knots, LEVELS, strict=True) if knot == x]
    if equal:
        return (equal[0] + equal[-1]) / 2
    below = [i for i, knot in enumerate(knots) if knot < x]
    if len(below) in (0, KNOTS):
        return LEVELS[-1] if below else LEVELS[0]
    left = below[-1]
    share = (x - knots[left]) / (knots[left + 1] - knots[left])
    return LEVELS[left] + share * (LEVELS[left + 1] - LEVELS[left])


def asked(module):
    """Values on knots, between and far beyond them."""
    between = (module.knots[:, 1:] + module.knots[:, :-1]) / 2
    beyond = torch.tensor([[-1e6, 1e6]]).expand(len(module.knots), 2)
    return torch.cat([module.knots, between, beyond], 1).t()


def test_knots_are_quantiles_of_the_stays_in_which_a_feature_was_seen():
    features, seen, _ = training()
    module = fitted()
    levels = np.linspace(0.002, 0.998, KNOTS)
    for column in range(4):
        values = features[seen[:, column], column].double().numpy()
        np.testing.assert_allclose(module.knots[column], np.quantile(values, levels), atol=1e-6)
    assert not module.knots[4].any()


def test_scores_equal_a_loop_over_knots():
    module = fitted()
    x = asked(module)
    found = module.scores(x)
    for row, column in np.ndindex(*x.shape):
        expected = score_by_loop(module.knots[column].tolist(), x[row, column].item())
        assert found[row, column] == pytest.approx(expected, abs=2e-4), (row, column)


def test_scores_beyond_the_knots_are_those_of_the_outermost():
    found = fitted().scores(torch.tensor([[-1e6] * 5, [1e6] * 5]))
    expected = torch.tensor([[LEVELS[0]] * 5, [LEVELS[-1]] * 5])
    torch.testing.assert_close(found, expected)


def test_a_value_that_most_stays_share_has_the_middle_of_its_ranks():
    module = fitted()
    zeros = int((module.knots[2] == 0).sum())
    assert zeros > KNOTS // 2
    found = module.scores(torch.zeros(1, 5))[0, 2]
    assert found == pytest.approx((LEVELS[0] + LEVELS[zeros - 1]) / 2, abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=63))
def test_scores_keep_the_order(values):
    x = torch.tensor(sorted(values)).unsqueeze(1).expand(-1, 5)
    assert (fitted().scores(x).diff(dim=0) >= -1e-6).all()


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 40), st.integers(0, 2**31))
def test_scores_do_not_depend_on_the_unit(rows, seed):
    features, seen, labels = training(rows, seed)
    one, other = QuantileScores(5), QuantileScores(5)
    one.fit(features, seen, labels)
    other.fit(4 * features, seen, labels)
    torch.testing.assert_close(one(features, seen), other(4 * features, seen), rtol=0, atol=1e-4)


def test_what_was_not_seen_is_zero_and_nothing_else_is_changed_by_it():
    module, (features, seen, _) = fitted(), training()
    found = module(features, seen)
    assert found.shape == (300, 10)
    assert not found[~torch.cat([seen, seen], 1)].any()
    everything = module(features, torch.ones_like(seen))
    assert torch.equal(found, everything * torch.cat([seen, seen], 1))
    z = module.scores(features)
    expected = torch.cat([z * module.scale, (z**2 - 1) / math.sqrt(2) * module.scale], 1)
    torch.testing.assert_close(everything, expected)


def scale_by_loop(module, features, seen, labels):
    """Root of the share of the squared correlation, feature by feature and task by task."""
    width = features.shape[1]
    z = (module.scores(features) * seen).double().numpy()
    strength = np.zeros(width)
    for column in range(width):
        for task in range(labels.shape[1]):
            known = ~np.isnan(labels[:, task].numpy())
            answers = labels[known, task].double().numpy()
            for power in (1, 2):
                part = z[known, column] ** power
                if part.std() > 1e-6:
                    shared = np.corrcoef(part, answers)[0, 1] ** 2
                    strength[column] = max(strength[column], shared - 1 / known.sum())
    root = np.sqrt(strength / strength.mean() + 0.1)
    return root / np.sqrt((root**2).mean()) * seen.any(0).numpy()


def test_the_scale_equals_a_loop_of_squared_correlations():
    module, (features, seen, labels) = fitted(), training()
    expected = scale_by_loop(module, features, seen, labels)
    np.testing.assert_allclose(module.scale, expected, rtol=1e-3)
    assert module.scale[0] > 2 * module.scale[2]


def test_a_feature_that_no_training_stay_had_says_nothing_later():
    found = fitted()(torch.full((1, 5), 3.0), torch.ones(1, 5, dtype=torch.bool))
    assert not found[0, [4, 9]].any()


@pytest.mark.parametrize("answer", [0.0, 1.0, math.nan])
def test_labels_of_one_class_or_none_leave_all_scales_equal(answer):
    features, seen, labels = training()
    module = QuantileScores(5)
    module.fit(features, seen, torch.full_like(labels, answer))
    assert torch.equal(module.scale[:4], module.scale[:1].expand(4))
    assert module.scale[0] > 0


def test_before_it_is_fitted_everything_is_zero():
    assert not QuantileScores(3)(torch.randn(63, 3), torch.ones(63, 3, dtype=torch.bool)).any()
    assert QuantileScores(3)(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.bool)).shape == (0, 6)
