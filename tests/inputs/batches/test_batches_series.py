"""Batches of stays: what they show, what comes next, and that nothing else decides them."""

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chartscan.inputs.batches.series import (
    SeriesSampler,
    SeriesStore,
    collate_series,
    collate_windows,
    forecast_windows,
    tuning_windows,
)
from chartscan.inputs.hourly import Variables, carried
from series_events import VARIABLES, random_stay

LONG = 30.0  # hours
NEEDS = ("triplets", "carried")


def with_config(**settings):
    return Variables(
        msgspec.structs.replace(VARIABLES.config, **settings),
        VARIABLES.variables,
        VARIABLES.numeric_facts,
        VARIABLES.groups,
    )


def stays_and_store(sizes=(0, 1, 63, 5), seed=0, variables=VARIABLES, end_hours=LONG):
    random = np.random.default_rng(seed)
    found = [random_stay(random, n, variables, end_hours, subject=i) for i, n in enumerate(sizes)]
    labels = random.integers(0, 2, (len(sizes), 2)).astype(np.float32)
    return found, SeriesStore.build(found, labels, variables)


def equal(a, b):
    """Two batches, tensor by tensor."""
    for name in ("hours", "variables", "values", "lengths", "statics", "ends", "labels", "carried", "steps"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None and y is None) or torch.equal(x, y), name


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2], [0], [3, 0, 2], []])
def test_a_batch_holds_its_stays_and_zeros(order):
    stays, store = stays_and_store()
    indices = np.array(order, dtype=np.int64)
    batch, grid = (collate_series(store, indices, needs) for needs in NEEDS)
    assert batch.hours.shape[0] == grid.hours.shape[0] == len(order)
    for row, index in enumerate(order):
        stay, n = stays[index], len(stays[index].hours)
        assert batch.lengths[row] == n
        np.testing.assert_array_equal(batch.hours[row, :n], stay.hours)
        np.testing.assert_array_equal(batch.variables[row, :n], stay.variables)
        np.testing.assert_array_equal(batch.values[row, :n], VARIABLES.scaled(stay.variables, stay.values))
        assert not batch.hours[row, n:].any()
        assert not batch.variables[row, n:].any()
        for one in (batch, grid):
            np.testing.assert_array_equal(one.statics[row], stay.statics)
            np.testing.assert_array_equal(one.labels[row], store.labels[index])
            assert one.ends[row] == LONG
        expected = carried(stay, VARIABLES, LONG)
        assert grid.steps[row] == len(expected)
        np.testing.assert_array_equal(grid.carried[row, : len(expected)], expected)


def test_the_types_are_those_of_the_batch():
    _, store = stays_and_store()
    types = {"hours": "float32", "variables": "int64", "values": "float32", "lengths": "int64"}
    types |= {"statics": "float32", "ends": "float32", "labels": "float32"}
    for needs, more in zip(NEEDS, ({}, {"carried": "float32", "steps": "int64"}), strict=True):
        batch, expected = collate_series(store, np.arange(4), needs), types | more
        found = {name: str(getattr(batch, name).dtype).removeprefix("torch.") for name in expected}
        assert found == expected


def test_what_a_model_does_not_need_is_not_made():
    _, store = stays_and_store()
    triplets = collate_series(store, np.arange(4), "triplets")
    assert triplets.carried is None
    assert triplets.steps is None
    grid = collate_series(store, np.arange(4), "carried")
    assert grid.hours.shape == (4, 0)
    assert grid.lengths.tolist() == [0] * 4
    equal(grid, collate_series(store, np.arange(4), "carried"))


def test_the_latest_events_are_shown_and_the_carried_state_knows_all():
    few = with_config(max_events=3)
    stays, store = stays_and_store(variables=few)
    batch = collate_series(store, np.arange(4), "triplets")
    assert batch.lengths.tolist() == [0, 1, 3, 3]
    np.testing.assert_array_equal(batch.hours[2], stays[2].hours[-3:])
    assert store.lengths("triplets").tolist() == [0, 1, 3, 3]
    _, whole = stays_and_store()
    equal(*(collate_series(s, np.arange(4), "carried") for s in (store, whole)))


def test_keeping_the_carried_state_changes_no_bit():
    _, store = stays_and_store(sizes=(0, 1, 63, 5, 9) * 20)
    kept = store.keep_carried()
    assert kept.kept is not None
    for order in ([3, 99, 2], [0], []):
        indices = np.array(order, dtype=np.int64)
        for needs in NEEDS:
            equal(collate_series(kept, indices, needs), collate_series(store, indices, needs))
    windows = forecast_windows(store, 0, 0)
    a, b = (collate_windows(s, windows, np.arange(9), "carried") for s in (kept, store))
    equal(a, b)
    assert store.keep_carried(limit_bytes=1000).kept is None


def test_stays_of_other_lengths_share_a_batch():
    random = np.random.default_rng(0)
    stays = [random_stay(random, 9, end_hours=end) for end in (1.0, 3.0, 12.0)]
    store = SeriesStore.build(stays, np.zeros((3, 1)), VARIABLES)
    for one in (store, store.keep_carried()):
        batch = collate_series(one, np.array([0, 1]), "carried")
        assert batch.steps.tolist() == [1, 3]
        assert batch.carried.shape[1] == 3
        assert not batch.carried[0, 1:].any()
    assert store.lengths("carried").tolist() == [1, 3, 6]


def plain_window(store, stay, cut):
    """The events seen and the targets of one stay by the words of the STraTS rule."""
    scaled = VARIABLES.scaled(stay.variables, stay.values)
    events = list(zip(stay.hours.tolist(), stay.variables.tolist(), scaled.tolist(), strict=True))
    seen = [e for e in events if e[0] <= cut + 1e-4]
    targets = {}
    for hours, variable, value in events:
        if cut + 1e-4 < hours <= cut + 2 + 1e-4:
            targets.setdefault(variable, value)
    return seen[-store.max_events :], targets


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([0, 1, 2, 63, 200]), min_size=1, max_size=5),
    seed=st.integers(0, 99),
    epoch=st.integers(0, 3),
)
def test_windows_follow_the_published_rule(sizes, seed, epoch):
    stays, store = stays_and_store(sizes, seed, with_config(max_events=50))
    windows = forecast_windows(store, seed, epoch)
    candidates = [[h for h in sorted({*s.hours.tolist()})[:-1] if h >= 12 - 1e-4] for s in stays]
    assert windows.stays.tolist() == [i for i, found in enumerate(candidates) if found]
    batch = collate_windows(store, windows, np.arange(len(windows)), "triplets")
    for row, (index, cut) in enumerate(zip(windows.stays.tolist(), windows.cuts.tolist(), strict=True)):
        assert cut in candidates[index]
        seen, targets = plain_window(store, stays[index], cut)
        n = int(batch.lengths[row])
        assert n == len(seen) == windows.lengths[row]
        shown = (batch.hours[row, :n], batch.variables[row, :n], batch.values[row, :n])
        assert list(zip(*(x.tolist() for x in shown), strict=True)) == seen
        assert np.flatnonzero(batch.forecast.observed[row].numpy()).tolist() == sorted(v - 1 for v in targets)
        for variable, value in targets.items():
            assert batch.forecast.targets[row, variable - 1] == pytest.approx(value, rel=1e-6)
        assert batch.ends[row] == pytest.approx(cut)


def test_every_cut_is_drawn_and_in_like_shares():
    _, store = stays_and_store((63,))
    candidates = sorted({*store.hours.tolist()})[:-1]
    candidates = [h for h in candidates if h >= 12]
    drawn = [float(forecast_windows(store, 0, epoch).cuts[0]) for epoch in range(2000)]
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == candidates
    expected = 2000 / len(candidates)
    assert abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_seed_and_epoch_decide_the_windows():
    _, store = stays_and_store((63,) * 20)
    assert np.array_equal(forecast_windows(store, 1, 2).cuts, forecast_windows(store, 1, 2).cuts)
    for other in ((1, 3), (2, 2)):
        assert not np.array_equal(forecast_windows(store, 1, 2).cuts, forecast_windows(store, *other).cuts)


def test_tuning_sees_three_fixed_windows_of_each_stay():
    _, store = stays_and_store((63,) * 5 + (0,))
    windows = tuning_windows(store, 7)
    assert np.bincount(windows.stays).tolist() == [3] * 5
    assert np.array_equal(windows.cuts, tuning_windows(store, 7).cuts)
    assert len({*windows.cuts.tolist()}) > 5


def test_the_carried_state_of_a_window_stops_at_its_cut():
    stays, store = stays_and_store((63, 63))
    windows = forecast_windows(store, 0, 0)
    batch = collate_windows(store, windows, np.arange(2), "carried")
    for row in range(2):
        expected = carried(stays[row], VARIABLES, float(windows.cuts[row]))
        np.testing.assert_array_equal(batch.carried[row, : len(expected)], expected)


@settings(max_examples=50, deadline=None)
@given(lengths=st.lists(st.integers(0, 500), max_size=200), size=st.integers(1, 9), epoch=st.integers(0, 3))
def test_every_row_comes_once_an_epoch(lengths, size, epoch):
    sampler = SeriesSampler(np.array(lengths, dtype=np.int64), size, seed=3)
    for batches in (sampler.epoch(epoch), sampler.in_order()):
        assert sorted(np.concatenate([*batches, []]).tolist()) == list(range(len(lengths)))
        assert all(len(batch) <= size for batch in batches)
        assert len(batches) == -(-len(lengths) // size)


def test_epochs_differ_and_like_lengths_go_together():
    lengths = np.random.default_rng(0).integers(1, 1000, 2000)
    sampler = SeriesSampler(lengths, 20)
    assert not np.array_equal(np.concatenate(sampler.epoch(0)), np.concatenate(sampler.epoch(1)))
    assert np.array_equal(np.concatenate(sampler.epoch(1)), np.concatenate(sampler.epoch(1)))
    positions = sum(len(batch) * lengths[batch].max() for batch in sampler.epoch(0))
    assert lengths.sum() / positions > 0.9
    assert [lengths[batch].max() for batch in sampler.in_order()] == sorted(
        lengths[batch].max() for batch in sampler.in_order()
    )


def test_a_store_of_no_stays_has_no_batches():
    store = SeriesStore.build([], np.zeros((0, 1)), VARIABLES)
    assert len(store) == len(forecast_windows(store, 0, 0)) == 0
    assert store.keep_carried().lengths("carried").tolist() == []
    assert SeriesSampler(store.lengths("triplets"), 8).epoch(0) == []
