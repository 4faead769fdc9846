"""Long records: the same whoever asks, without a trace of the outcome but the planted one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chartscan.errors import ConfigError
from chartscan.metrics.discrimination import auroc
from chartscan_lab.study._long_records import (
    LongConfig,
    LongRecords,
    best_risks,
    ceiling,
    expected_ceiling,
)

SMALL = LongConfig(events=64, common=4, episode=0.2)
ORDER = LongConfig(events=64, common=4, signal="order")


def test_a_record_is_the_same_in_any_number_of_them_and_any_context():
    all_of_them, one = LongRecords(SMALL, 3, 0, 20), LongRecords(SMALL, 3, 7, 1)
    batch, alone = all_of_them.batch(np.array([2, 7]), 64), one.batch(np.array([0]), 10)
    for name in ("hours", "variables", "values"):
        assert getattr(batch, name)[1:, -10:].equal(getattr(alone, name))
    assert batch.labels[1:].equal(alone.labels)


def test_the_order_that_is_planted_is_in_the_events():
    records = LongRecords(ORDER, 0, 0, 63)
    planted = records.planted()
    batch = records.batch(np.arange(63), 64)
    one, two = ((batch.variables == number).int().argmax(1).numpy() for number in (1, 2))
    assert (batch.variables == 1).sum() == (batch.variables == 2).sum() == 63
    assert np.array_equal(planted.high, two > one)
    assert np.array_equal(planted.last, np.maximum(one, two))


def test_the_episode_that_is_planted_is_in_the_events():
    records = LongRecords(SMALL, 0, 0, 63)
    planted = records.planted()
    batch = records.batch(np.arange(63), 64)
    rare = (batch.variables == 1).numpy()
    assert SMALL.episode_events == 13
    assert (rare.sum(1) == 4).all()  # places 0, 4, 8 and the last, 12, of 13
    for row in range(63):
        places = np.flatnonzero(rare[row])
        assert np.ptp(places) == 12
        assert planted.last[row] == places[-1]
        assert (batch.values[row, places] == (1 if planted.high[row] else -1)).all()


@pytest.mark.parametrize("config", [SMALL, ORDER])
def test_records_are_in_order_of_time_and_of_known_variables(config):
    records = LongRecords(config, 0, 0, 63)
    batch = records.batch(np.arange(63), 64)
    assert np.array_equal(records.planted().labels, batch.labels[:, 0].numpy() > 0.5)
    assert (batch.hours.diff(dim=1) >= 0).all()
    assert (batch.variables >= 1).all()
    assert (batch.variables <= config.n_variables).all()


@pytest.mark.parametrize("signal", ["episode", "order"])
def test_the_ceiling_of_many_records_is_the_expected_one(signal):
    config = LongConfig(events=256, common=2, signal=signal)
    records = LongRecords(config, 1, 0, 3000)
    for context in (16, 100, 256):
        assert ceiling(records, context) == pytest.approx(expected_ceiling(config, context), abs=0.02)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 500), st.sampled_from(["episode", "order"]), st.data())
def test_the_expected_ceiling_is_that_of_counting_every_placement(events, signal, data):
    context = data.draw(st.integers(0, events + 5))
    config = LongConfig(events=events, signal=signal, low=0.2, high=0.7, episode=0.1)
    if signal == "order":
        lasts = [later for later in range(events) for _ in range(later)]
    else:
        lasts = list(range(config.episode_events - 1, events))
    share = np.mean(np.array(lasts) >= events - context)
    risks, weights = [0.7, 0.2, 0.45], [share / 2, share / 2, 1 - share]
    rows = [w * r for w, r in zip(weights, risks, strict=True)]
    rows += [w * (1 - r) for w, r in zip(weights, risks, strict=True)]
    expected = auroc([1, 1, 1, 0, 0, 0], np.array(risks * 2), rows)
    assert expected_ceiling(config, context) == pytest.approx(expected)


def test_a_longer_context_is_never_worth_less():
    found = [expected_ceiling(LongConfig(), context) for context in (1024, 4096, 8192, 32768)]
    assert found == sorted(found)
    assert found[-1] == pytest.approx(0.9)
    assert expected_ceiling(LongConfig(), 0) == pytest.approx(0.5)


@pytest.mark.parametrize("signal", ["episode", "order"])
def test_common_events_know_nothing_of_the_outcome_and_rare_ones_do(signal):
    records = LongRecords(LongConfig(events=64, common=3, signal=signal, episode=0.1), 2, 0, 3000)
    batch = records.batch(np.arange(3000), 64)
    labels = batch.labels[:, 0].numpy()
    common = batch.variables > 2
    for guess in ((batch.values * common).sum(1), batch.hours[:, 0], (batch.variables == 3).sum(1)):
        assert auroc(labels, guess.numpy()) == pytest.approx(0.5, abs=0.04)
    hours, one, two = batch.hours, batch.variables == 1, batch.variables == 2
    order, level = (hours * two).sum(1) - (hours * one).sum(1), (batch.values * one).sum(1)
    assert auroc(labels, torch.sign(order if signal == "order" else level).numpy()) > 0.85


def test_risks_are_known_where_the_later_event_is_seen():
    planted = LongRecords(SMALL, 0, 0, 40).planted()
    found = best_risks(planted, SMALL, 20)
    for last, high, risk in zip(planted.last, planted.high, found, strict=True):
        assert risk == ((0.9 if high else 0.1) if last >= 44 else 0.5)


@pytest.mark.parametrize("wrong", [{"events": 1}, {"common": 0}, {"episode": 0.0}, {"low": 0.9, "high": 0.1}])
def test_impossible_records_are_refused(wrong):
    with pytest.raises(ConfigError, match="Long records need"):
        LongConfig(**wrong)
