"""What is known of a stay at its prediction time: against a plain loop, live, and never the future."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chartscan.errors import DataError
from chartscan.inputs.hourly import TripletStream, stays
from series_events import (
    CODES,
    VARIABLES,
    admission,
    event,
    known_order,
    live,
    questions,
    records,
    static,
    table,
    tenths,
)


def hours_since(time, zero):
    return (time - zero).total_seconds() / 3600


def plain(rows, end_hours):
    """(end_hours, triplets) of one subject's rows by the words of the definition."""
    end = questions((1, end_hours))["prediction_time"][0].as_py()
    timed = [r for r in rows if r["time"] is not None and r["available_time"] <= end]
    begun = [r["available_time"] for r in timed if r["event_type"] == "admission"]
    others = [r["available_time"] for r in timed if r["event_type"] not in ("birth", "outcome")]
    zero = max(begun) if begun else min(others) if others else end
    found = []
    for row in timed:
        if row["available_time"] < zero or row["code"] not in CODES or row["event_type"] == "outcome":
            continue
        v = VARIABLES.variables[CODES.index(row["code"])]
        low, high = (x if x is not None else d for x, d in zip(v.valid, (-np.inf, np.inf), strict=True))
        if low <= row["numeric_value"] <= high:
            value = np.float32(min(max(row["numeric_value"], v.low), v.high))
            hours = hours_since(row["available_time"], zero)
            found.append((np.float32(hours), CODES.index(row["code"]) + 1, value))
    return hours_since(end, zero), sorted(found)


def triplets(stay):
    return list(zip(stay.hours.tolist(), stay.variables.tolist(), stay.values.tolist(), strict=True))


def one(rows, end_hours):
    return stays([table(rows)], VARIABLES, questions((rows[0]["subject_id"], end_hours)))[0]


def same(a, b):
    assert a.end_hours == b.end_hours
    for name in ("hours", "variables", "values", "statics", "facts"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@settings(max_examples=150, deadline=None)
@given(rows=records(), end=tenths)
def test_a_stay_equals_a_plain_loop(rows, end):
    rows = [*rows, static(1, "GENDER//F")]
    found, (end_hours, expected) = one(rows, end), plain(rows, end)
    assert found.end_hours == end_hours
    assert triplets(found) == [tuple(map(float, t)) for t in expected]


@settings(max_examples=150, deadline=None)
@given(rows=records(), end=tenths, seed=st.integers(0, 9))
def test_a_live_record_gives_the_triplets_of_the_whole_one(rows, end, seed):
    rows = [*rows, static(1, "PHYSIONET2012//Age", 61.0), static(1, "GENDER//M")]
    (stream, found), whole = live(rows, end, VARIABLES, seed), one(rows, end)
    assert found == triplets(whole)
    np.testing.assert_array_equal(stream.statics, whole.statics)
    np.testing.assert_array_equal(stream.facts, whole.facts)


@settings(max_examples=50, deadline=None)
@given(rows=records(), others=records(subject=2), end=tenths, seed=st.integers(0, 9))
def test_order_and_other_subjects_change_nothing(rows, others, end, seed):
    rows = [*rows, admission(1, 0.0)]
    mixed = rows + others
    mixed = [mixed[i] for i in np.random.default_rng(seed).permutation(len(mixed))]
    found = stays([table(mixed)], VARIABLES, questions((1, end)))[0]
    same(found, one(rows, end))


@settings(max_examples=50, deadline=None)
@given(rows=records(), end=tenths)
def test_the_future_changes_nothing(rows, end):
    rows = [*rows, admission(1, 0.0)]
    limit = questions((1, end))["prediction_time"][0].as_py()
    same(one(rows, end), one([r for r in rows if r["available_time"] <= limit], end))


def test_the_instant_of_prediction_is_seen():
    rows = [admission(1), event(1, 6.0, CODES[0], 80.0), event(1, 6.1, CODES[0], 80.0)]
    assert one(rows, 6.0).hours.tolist() == [6.0]
    assert one(rows, 5.9).hours.tolist() == []


def test_a_late_result_joins_when_it_is_known():
    rows = [admission(1), event(1, 2.0, CODES[0], 80.0, known=5.0), event(1, 3.0, CODES[2], 0.1)]
    assert one(rows, 4.0).hours.tolist() == [3.0]
    assert one(rows, 5.0).hours.tolist() == [3.0, 5.0]


def test_the_outcome_is_never_seen():
    rows = [admission(1), event(1, 1.0, CODES[0], 80.0)]
    told = [*rows, event(1, 2.0, CODES[0], 99.0, kind="outcome"), event(1, 0.0, "BIRTH", kind="birth")]
    same(one(rows, 9.0), one(told, 9.0))


def test_an_admission_without_measurements_is_a_stay_of_no_events():
    found = one([admission(1)], 6.0)
    assert (len(found.hours), found.end_hours) == (0, 6.0)
    assert found.hours.dtype == np.float32
    assert found.variables.dtype == np.int16


def test_stays_follow_the_labels():
    rows = [*(admission(s) for s in (1, 2)), *(event(s, s, CODES[0], 80.0) for s in (1, 2))]
    tables = [table([r for r in rows if r["subject_id"] == s]) for s in (2, 1)]
    asked = [(2, 3.0), (1, 3.0), (2, 1.0), (2, 2.0)]
    found = stays(tables, VARIABLES, questions(*asked))
    assert [(s.subject_id, s.end_hours) for s in found] == asked
    assert [len(s.hours) for s in found] == [1, 1, 0, 1]
    assert stays(tables, VARIABLES, questions()) == []


def test_labels_of_subjects_without_events_are_refused():
    with pytest.raises(DataError, match="2 of 3"):
        stays([table([admission(1)])], VARIABLES, questions((1, 1.0), (7, 1.0), (8, 1.0)))


def test_a_stream_out_of_order_is_refused():
    stream = TripletStream(VARIABLES)
    first, second = known_order([event(1, 1.0, CODES[0], 80.0), event(1, 2.0, CODES[0], 80.0)])
    stream.push(second)
    with pytest.raises(DataError, match="known order"):
        stream.push(first)


def test_a_new_admission_begins_a_stay():
    stream = TripletStream(VARIABLES)
    rows = [event(1, 1.0, CODES[0], 80.0), admission(1, 2.0), event(1, 3.5, CODES[0], 80.0)]
    begun = [stream.stay for row in known_order(rows) if stream.push(row) or True]
    assert begun == [1, 2, 2]
    assert one(rows, 4.0).hours.tolist() == [1.5]


def test_an_instant_comes_whole_and_sorted_when_the_next_begins():
    stream = TripletStream(VARIABLES)
    rows = [event(1, 1.0, CODES[1], 7.4), event(1, 1.0, CODES[0], 81.0), event(1, 1.0, CODES[0], 80.0)]
    first, second, third, later = (known_order([row])[0] for row in (*rows, event(1, 2.0, CODES[0], 82.0)))
    assert [stream.push(row) for row in (first, second, third)] == [[], [], []]
    assert [tuple(t) for t in stream.push(later)] == triplets(one(rows, 1.0))
    assert [t.hours for t in stream.settle()] == [1.0]
    assert stream.settle() == []
    with pytest.raises(DataError, match="settled"):
        stream.push(later)


def test_what_is_measured_at_an_admission_belongs_to_its_stay():
    rows = [event(1, 1.0, CODES[0], 80.0), event(1, 2.0, CODES[0], 81.0), admission(1, 2.0)]
    for seed in range(4):
        assert live(rows, 2.0, VARIABLES, seed)[1] == triplets(one(rows, 2.0))
    assert one(rows, 2.0).values.tolist() == [81.0]
