"""The carried state: against a plain loop, hour by hour, and blind to the future and to batch-mates."""

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chartscan.errors import DataError
from chartscan.inputs.hourly import (
    CHANNELS,
    CarriedStream,
    Triplet,
    Variables,
    carried,
    carried_grid,
    steps_of,
)
from series_events import VARIABLES, event, random_stay, table, training_rows

WINDOW = int(VARIABLES.config.window_hours)  # 6
WIDE = msgspec.structs.replace(VARIABLES, config=msgspec.structs.replace(VARIABLES.config, window_hours=48.0))


def within(events, h, width):
    """Values of the steps (h - width, h], time zero in step 0."""
    return [x for t, x in events if (t > h + 1 - width or h < width) and t <= h + 1]


def windowed_mean(events, h, width):
    """Mean of the steps (h - width, h]; the last value by then where there is none, 0 before time zero."""
    known = [x for t, x in events if h >= 0 and t <= h + 1]
    return np.mean(within(known and events, h, width) or known[-1:] or [0])


def plain(stay, variables, end_hours):
    """The carried state by the words of its definition, one number after the other."""
    half, quarter = (math.ceil(variables.config.window_hours / part) for part in (2, 4))
    steps, end_hours = max(1, math.ceil(end_hours)), float(np.float32(end_hours))  # as hours are
    found = np.zeros((steps, variables.n_variables, len(CHANNELS)))
    scaled = variables.scaled(stay.variables, stay.values).astype(float)
    events = list(zip(stay.hours.tolist(), stay.variables.tolist(), scaled.tolist(), strict=True))
    for h in range(steps):
        for v in range(variables.n_variables):
            mine = [(t, x) for t, number, x in events if number == v + 1 and t <= min(h + 1, end_hours)]
            now = [x for t, x in mine if t > h or (h == 0 and t == 0)]
            if not mine:
                found[h, v, [CHANNELS.index(name) for name in ("hours_since", "hours_first")]] = 1
                continue
            values = [x for _, x in mine]
            last = values[-1]
            found[h, v] = [
                last,
                bool(now),
                math.log1p(len(now)),
                math.log1p(min(h + 1 - mine[-1][0], 48)) / math.log1p(48),
                1,
                min(now, default=last),
                max(now, default=last),
                math.log1p(len(values)),
                np.mean(values),
                np.std(values),
                min(values),
                max(values),
                values[0],
                math.log1p(min(mine[0][0], 48)) / math.log1p(48),
                min(within(mine, h, half), default=last),
                max(within(mine, h, half), default=last),
                *(windowed_mean(mine, h - k * quarter, quarter) for k in range(4)),
            ]
    return found[-int(variables.config.window_hours) :]


def streamed(stay, variables, end_hours):
    stream, found = CarriedStream(variables), []
    events = [Triplet(*map(float, t)) for t in zip(stay.hours, stay.variables, stay.values, strict=True)]
    last = np.float32(end_hours)  # as hours are
    events = [Triplet(t.hours, int(t.variable), t.value) for t in events if t.hours <= last]
    for h in range(max(1, math.ceil(end_hours))):
        while events and events[0].hours <= h + 1:
            stream.push(events.pop(0))
        found.append(stream.close_hour())
    return np.array(found)[-int(variables.config.window_hours) :]


stay_sizes = st.sampled_from([0, 1, 2, 5, 63])


def of_window(window):
    return msgspec.structs.replace(
        VARIABLES, config=msgspec.structs.replace(VARIABLES.config, window_hours=float(window))
    )


@settings(max_examples=100, deadline=None)
@given(
    n=stay_sizes,
    seed=st.integers(0, 999),
    end=st.sampled_from([0.0, 0.3, 1.0, 5.5, 6.0, 6.1, 9.0, 12.0, 30.0]),
    window=st.sampled_from([1, 2, 5, 6, 8, 48]),
)
def test_it_equals_a_plain_loop_and_its_streaming_twin(n, seed, end, window):
    variables = of_window(window)
    stay = random_stay(np.random.default_rng(seed), n, end_hours=max(end, 12.0))
    found = carried(stay, variables, end)
    assert found.dtype == np.float32
    assert found.shape == (min(max(1, math.ceil(end)), window), variables.n_variables, len(CHANNELS))
    np.testing.assert_allclose(found, plain(stay, variables, end), atol=2e-6)
    np.testing.assert_allclose(found, streamed(stay, variables, end), atol=2e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), end=st.integers(0, 11))
def test_no_whole_step_sees_the_future(seed, end):
    stay = random_stay(np.random.default_rng(seed), 63, WIDE)
    whole, cut = carried(stay, WIDE, 12.0), carried(stay, WIDE, float(end))
    np.testing.assert_array_equal(whole[:end], cut[:end])


def test_time_zero_and_the_end_of_an_hour_belong_to_its_step():
    stay = random_stay(np.random.default_rng(0), 0, WIDE)
    for hours, step in ((0.0, 0), (0.1, 0), (1.0, 0), (1.1, 1), (6.0, 5)):
        arrays = np.float32([hours]), np.int16([1]), np.float32([80])
        one = replace(stay, **dict(zip(("hours", "variables", "values"), arrays, strict=True)))
        observed = carried(one, WIDE, 12.0)[:, 0, CHANNELS.index("observed")]
        assert np.flatnonzero(observed).tolist() == [step]


def test_a_long_stay_shows_its_last_hours_and_remembers_the_rest():
    stay = random_stay(np.random.default_rng(1), 63)
    kept = [i for i, name in enumerate(CHANNELS) if not name.startswith(("window_", "mean_"))]
    found, whole = carried(stay, VARIABLES, 12.0), carried(stay, WIDE, 12.0)[-WINDOW:]
    np.testing.assert_array_equal(found[..., kept], whole[..., kept])


def test_rolling_windows_look_back_beyond_the_hours_given():
    stay = random_stay(np.random.default_rng(2), 0)
    hours, ones = np.float32([1.5, 4.5, 6.5]), np.ones(3, dtype=np.int16)
    stay = replace(stay, hours=hours, variables=ones, values=np.float32([78, 80, 82]))
    first, second, third = VARIABLES.scaled(ones, stay.values)
    found = carried(stay, VARIABLES, 12.0)[0, 0]  # step 6: windows of 3 h, and quarters of 2 h
    rolling = [found[CHANNELS.index(n)] for n in CHANNELS if n.startswith(("window_", "mean_"))]
    np.testing.assert_allclose(rolling, [second, third, third, second, first, 0], atol=1e-6)


def grid(stays, variables, ends):
    rows = np.repeat(np.arange(len(stays)), [len(s.hours) for s in stays])
    numbers = np.concatenate([s.variables for s in stays])
    values = variables.scaled(numbers, np.concatenate([s.values for s in stays]))
    hours = np.concatenate([s.hours for s in stays])
    steps = steps_of(np.array(ends))
    return carried_grid(rows, hours, numbers, values, steps, variables.n_variables, WINDOW)


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(stay_sizes, min_size=1, max_size=5), seed=st.integers(0, 99))
def test_batch_mates_change_no_bit_and_padding_is_zero(sizes, seed):
    random = np.random.default_rng(seed)
    ends = random.integers(1, 13, len(sizes)).astype(float)
    stays = [random_stay(random, n, end_hours=e) for n, e in zip(sizes, ends, strict=True)]
    found = grid(stays, VARIABLES, ends)
    for row, stay, end in zip(found, stays, ends, strict=True):
        alone = carried(stay, VARIABLES, end)
        np.testing.assert_array_equal(row[: len(alone)], alone)
        assert not row[len(alone) :].any()


def test_many_stays_and_variables_are_sorted_as_few_are():
    rows = [event(1, 1.0, f"X//{i:03}", float(x)) for i in range(99) for x in (1, 2, 3)]
    variables = Variables.fit([table(rows)], VARIABLES.config)
    random = np.random.default_rng(0)
    stays = [random_stay(random, 5, variables) for _ in range(700)]  # more than 2^16 stays times variables
    found = grid(stays, variables, [12.0] * 700)
    np.testing.assert_array_equal(found[-1], carried(stays[-1], variables, 12.0))


def test_rank_gauss_values_are_carried_too():
    config = msgspec.structs.replace(WIDE.config, scaling="rank_gauss")
    variables = Variables.fit([table(training_rows())], config)
    stay = random_stay(np.random.default_rng(3), 63, variables)
    np.testing.assert_allclose(carried(stay, variables, 12.0), plain(stay, variables, 12.0), atol=2e-6)
    np.testing.assert_allclose(carried(stay, variables, 12.0), streamed(stay, variables, 12.0), atol=2e-6)


def test_a_stream_refuses_an_hour_that_is_closed_or_not_open():
    stream = CarriedStream(VARIABLES)
    with pytest.raises(DataError, match="open hour"):
        stream.push(Triplet(1.5, 1, 80.0))
    stream.close_hour()
    with pytest.raises(DataError, match="open hour"):
        stream.push(Triplet(1.0, 1, 80.0))
    stream.push(Triplet(1.5, 1, 80.0))


def test_the_channels_are_named_once():
    assert len(set(CHANNELS)) == len(CHANNELS) == 20
