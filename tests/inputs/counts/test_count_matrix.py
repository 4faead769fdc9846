"""Token counts against a plain loop, and what they must not see."""

from collections import Counter
from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chartscan.errors import DataError
from chartscan.inputs.counts import AGES, SubjectTokens, count_matrix
from chartscan.schema import LABELS

V = 7
NAMES = [f"token {i}" for i in range(V)]
NAT = np.datetime64("NaT", "us")
YEAR_US = 365.25 * 86_400e6


def times(values):
    """Microseconds (None = NaT) as instants from 2000 on."""
    base = np.datetime64("2000-01-01", "us")
    return np.array([NAT if v is None else base + np.timedelta64(v, "us") for v in values], "datetime64[us]")


def subject(tokens, known, visits=(), birth=None):
    born = times([birth])[0] if birth is not None else None
    return SubjectTokens(np.array(tokens, np.int64), times(known), times(visits), born)


def labels(*rows):
    """LABELS from (subject_id, microseconds)."""
    ids = pa.array([r[0] for r in rows], pa.int64())
    at = pa.array(times([r[1] for r in rows]))
    return pa.table([ids, at, pa.array([False] * len(rows))], schema=LABELS)


def dense(*args):
    return count_matrix(*args).matrix.toarray()


known_times = st.one_of(st.none(), st.integers(0, 20))
token_lists = st.lists(st.tuples(st.integers(0, V - 1), known_times), max_size=30)
people = st.dictionaries(st.integers(0, 9), st.tuples(token_lists, st.lists(st.integers(0, 20))), min_size=1)


@settings(max_examples=200, deadline=None)
@given(people=people, data=st.data())
def test_the_matrix_equals_a_plain_counter(people, data):
    asked = st.tuples(st.sampled_from(sorted(people)), st.integers(-1, 21))
    rows = data.draw(st.lists(asked, max_size=20))
    given_subjects = [
        (i, subject([t for t, _ in tokens], [k for _, k in tokens], visits, birth=-1000))
        for i, (tokens, visits) in people.items()
    ]
    found = dense(given_subjects, labels(*rows), NAMES)
    assert found.shape == (len(rows), V + len(AGES))
    for row, (who, at) in zip(found, rows, strict=True):
        tokens, visits = people[who]
        counter = Counter(t for t, k in tokens if k is None or k <= at)
        started = sorted(v for v in visits if v <= at)
        assert row[:V].tolist() == [counter[i] for i in range(V)]
        assert row[V + 2] == len(started)
        if started:
            expected = [(v + 1000) / YEAR_US for v in (started[0], started[-1])]
            np.testing.assert_allclose(row[V : V + 2], expected, rtol=1e-6)
        else:
            assert np.isnan(row[V : V + 2]).all()


def test_the_instant_of_prediction_is_seen_and_nothing_later():
    one = [(1, subject([3, 4, 5], [None, 10, 11], visits=[10, 11], birth=0))]
    found = dense(one, labels((1, 10), (1, 11), (1, 9)), NAMES)
    assert found[:, [3, 4, 5, V + 2]].tolist() == [[1, 1, 0, 1], [1, 1, 1, 2], [1, 0, 0, 0]]


def test_the_order_of_tokens_known_at_one_time_changes_nothing():
    rng = np.random.default_rng(0)
    tokens, known = rng.integers(0, V, 60), np.sort(rng.integers(0, 5, 60))
    shuffled = rng.permutation(60)
    asked = labels(*[(1, t) for t in range(5)])
    before = dense([(1, subject(tokens, known))], asked, NAMES)
    after = dense([(1, subject(tokens[shuffled], known[shuffled]))], asked, NAMES)
    np.testing.assert_array_equal(before, after)


def test_the_future_changes_no_row():
    asked = labels((1, 5))
    cut = dense([(1, subject([0, 1], [1, 5], visits=[1], birth=0))], asked, NAMES)
    whole = dense([(1, subject([0, 1, 1, 2], [1, 5, 6, 9], visits=[1, 7], birth=0))], asked, NAMES)
    np.testing.assert_array_equal(cut, whole)


def test_ages_are_years_never_negative_and_missing_without_birth():
    year = round(YEAR_US)
    asked = labels((1, 30 * year), (2, 30 * year), (3, 30 * year))
    people = [
        (1, subject([], [], visits=[20 * year, 25 * year], birth=0)),
        (2, subject([], [], visits=[0, year], birth=year)),
        (3, subject([], [], visits=[0, year])),
    ]
    found = dense(people, asked, NAMES)[:, V:]
    np.testing.assert_allclose(found, [[20, 25, 2], [0, 0, 2], [np.nan, np.nan, 2]])


def test_rows_follow_the_labels_and_subjects_come_in_any_order():
    people = {i: subject([i], [0]) for i in range(5)}
    asked = labels((3, 1), (0, 1), (3, 0), (4, 1))
    found = count_matrix(reversed(people.items()), asked, NAMES)
    assert found.matrix.toarray()[:, :5].argmax(axis=1).tolist() == [3, 0, 3, 4]
    assert found.names == (*NAMES, *AGES)


def test_labels_of_unknown_subjects_are_refused():
    with pytest.raises(DataError, match="1 subjects of the labels"):
        count_matrix([(1, subject([], []))], labels((1, 0), (2, 0)), NAMES)


def test_no_labels_give_no_rows():
    found = count_matrix([(1, subject([1], [1]))], LABELS.empty_table(), NAMES)
    assert found.matrix.shape == (0, V + len(AGES))


def test_times_may_be_in_any_unit():
    days = np.array(["2000-01-01", "2000-01-03"], "datetime64[D]")
    one = SubjectTokens(np.array([1, 2]), days, days, np.datetime64("1990-01-01"))
    at = pa.array([datetime(2000, 1, 2)], pa.timestamp("us"))
    asked = pa.table([pa.array([1]), at, pa.array([True])], schema=LABELS)
    found = dense([(1, one)], asked, NAMES)[0]
    assert found[[1, 2, V + 2]].tolist() == [1, 0, 1]
    assert found[V] == pytest.approx(10, abs=0.01)
