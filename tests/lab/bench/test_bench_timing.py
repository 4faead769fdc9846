"""Implementations take turns, ratios are those of the medians, and a slow one takes part in fewer rounds."""

import statistics
from itertools import count

import pytest

from chartscan_lab.bench.progress import Counter
from chartscan_lab.bench.timing import Clock, Plan, compared, in_turn, order


def test_every_name_stands_everywhere_in_the_order_and_runs_backwards_every_second_round():
    names = ["a", "b", "c"]
    rounds = [list(order(names, r)) for r in range(6)]
    assert all(sorted(found) == names for found in rounds)
    assert {found[0] for found in rounds} == {found[-1] for found in rounds} == set(names)
    assert rounds[0] == names
    assert rounds[3] == names[::-1]


def test_implementations_take_turns_round_by_round():
    called = []
    calls = {name: lambda name=name: called.append(name) for name in "ab"}
    ticks = count()
    times = in_turn(
        calls, {"a": 1.0, "b": 1.0}, Clock("ticks", lambda: next(ticks)), Plan(4, 100), Counter(8)
    )
    assert called == ["a", "b", "a", "b", "a", "b", "a", "b"]
    assert times == {name: dict.fromkeys(range(4), 1) for name in "ab"}


def test_a_fast_call_is_repeated_and_a_slow_one_takes_part_in_fewer_rounds():
    calls = dict.fromkeys(("fast", "slow"), 0)

    def called(name):
        calls[name] += 1

    ticks = count()
    clock, counter = Clock("ticks", lambda: next(ticks)), Counter(8)
    work = {name: lambda name=name: called(name) for name in calls}
    times = in_turn(work, {"fast": 0.01, "slow": 3.0}, clock, Plan(4, 6.5), counter)
    assert calls == {"fast": 4 * 5, "slow": 2}
    assert list(times["slow"]) == [0, 2]
    assert times["fast"][0] == pytest.approx(1 / 5)
    assert counter.done == counter.total == 8


def test_ratios_are_those_of_the_medians_and_span_the_rounds_that_both_took_part_in():
    times = {"ours": {0: 1.0, 1: 2.0, 2: 4.0}, "theirs": {0: 10.0, 2: 20.0}}
    found = compared(times, "ours")
    assert found["theirs"]["seconds"] == statistics.median([10, 20])
    assert found["theirs"]["ratio"] == found["theirs"]["seconds"] / found["ours"]["seconds"] == 7.5
    assert found["theirs"]["ratio_range"] == [5, 10]
    assert found["theirs"]["rounds"] == 2
    assert found["ours"]["range"] == [1, 4]
    assert found["ours"]["ratio"] == 1
    assert "ratio" not in compared(times, None)["theirs"]
