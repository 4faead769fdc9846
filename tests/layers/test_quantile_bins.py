"""The piecewise-linear encoding equals a plain loop over bins, and is centred on the training stays."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chartscan.layers.quantile_bins import QuantileBins

BINS = 4


def training(rows=200):
    """Stays of four features: smooth, mostly 0, constant, and seen in too few for edges of its own."""
    g = torch.Generator().manual_seed(0)
    smooth, other = torch.randn(2, rows, generator=g)
    mostly = torch.relu(torch.randn(rows, generator=g) - 0.7)
    features = torch.stack([smooth, mostly, torch.full((rows,), 2.0), other], 1)
    seen = torch.rand(rows, 4, generator=g) < 0.7
    seen[:, 3] = torch.arange(rows) < 20
    return features, seen


def fitted():
    module = QuantileBins(4, BINS)
    module.fit(*training())
    return module


def encoded_by_loop(edges, x):
    """Positions of x in the bins of one feature."""
    found = []
    for i in range(len(edges) - 1):
        width = edges[i + 1] - edges[i]
        position = (x - edges[i]) / width if width > 1e-6 else 0.0
        found.append(min(max(position, -1.0 if i == 0 else 0.0), 1.0))
    return found


def raw_by_loop(edges, features):
    """Positions of all features, feature by feature, and then 0.3 of the features themselves; float64."""
    rows = []
    for x in features.double().numpy():
        positions = [p for e, value in zip(edges, x, strict=True) for p in encoded_by_loop(e, value)]
        rows.append([*positions, *(0.3 * x)])
    return np.array(rows)


def test_edges_are_quantiles_of_the_stays_in_which_a_feature_was_seen_in_more_than_a_few():
    (features, seen), module = training(), fitted()
    for column in range(4):
        rows = seen[:, column] if column < 3 else torch.ones_like(seen[:, 3])
        values = features[rows, column].double().numpy()
        np.testing.assert_allclose(
            module.edges[column], np.quantile(values, np.linspace(0, 1, BINS + 1)), atol=1e-6
        )


def test_the_encoding_equals_a_loop_over_bins():
    (features, _), module = training(), fitted()
    edges = module.edges.double().numpy()
    train = raw_by_loop(edges, features)
    centre, divisor = train.mean(0), np.sqrt(train.std(0) + 0.05)
    asked = torch.cat([features[:63], torch.tensor([[-9.0] * 4, [9.0] * 4, [0.0] * 4, [2.0] * 4])])
    expected = (raw_by_loop(edges, asked) - centre) / divisor
    found = module(asked)
    assert found.shape == (67, 4 * (BINS + 1))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_bins_without_width_say_nothing():
    module = fitted()
    empty = (module.edges.diff(dim=1) <= 1e-6).flatten()
    assert empty[2 * BINS : 3 * BINS].all()  # of the constant
    assert empty[BINS : 2 * BINS].any()
    assert not empty[BINS : 2 * BINS].all()
    x = torch.randn(63, 4, generator=torch.Generator().manual_seed(1))
    assert not module(x)[:, : 4 * BINS][:, empty].any()


def test_only_below_the_lowest_edge_positions_go_on_to_minus_one():
    module = fitted()
    low, width = module.edges[0, 0], module.edges[0, 1] - module.edges[0, 0]
    x = torch.zeros(4, 4)
    x[:, 0] = low - width * torch.tensor([0.0, 0.5, 1.0, 7.0])
    positions = (module(x) * module.divisor + module.centre)[:, :BINS]
    torch.testing.assert_close(positions[:, 0], torch.tensor([0.0, -0.5, -1.0, -1.0]), rtol=0, atol=1e-5)
    torch.testing.assert_close(positions[:, 1:], torch.zeros(4, BINS - 1), rtol=0, atol=1e-6)


def test_training_stays_are_centred_and_rare_columns_stay_small():
    (features, _), module = training(), fitted()
    found = module(features)
    torch.testing.assert_close(found.mean(0), torch.zeros(found.shape[1]), rtol=0, atol=1e-5)
    assert found.std(0, correction=0).max() < module.divisor.max()
    assert module.divisor.min() >= 0.05**0.5


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=63))
def test_every_column_keeps_the_order(values):
    x = torch.tensor(sorted(values)).unsqueeze(1).expand(-1, 4)
    assert (fitted()(x).diff(dim=0) >= -1e-5).all()


def test_no_stays_and_one_bin_are_encoded_too():
    module = QuantileBins(2, 1)
    module.fit(torch.randn(1, 2), torch.ones(1, 2, dtype=torch.bool))
    assert module(torch.zeros(0, 2)).shape == (0, 4)
    assert module(torch.randn(63, 2)).isfinite().all()
