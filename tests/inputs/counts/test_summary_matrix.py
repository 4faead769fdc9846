"""Summary features against a plain loop over the events of each stay and variable."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chartscan.inputs.counts import EVENTS, PER_VARIABLE, summary_matrix

NAMES = ("HR", "pH", "Urine")
FACTS = ("age", "sex")


def stay(events, end_hours=48.0, facts=(60.0, np.nan)):
    """A stay of (hours, variable, value)."""
    hours, variables, values = np.array(sorted(events), dtype=np.float32).reshape(-1, 3).T
    return SimpleNamespace(
        end_hours=end_hours,
        hours=hours,
        variables=variables.astype(np.int16),
        values=values,
        facts=np.array(facts, dtype=np.float32),
    )


def plain(one):
    """One row of the matrix."""
    row = []
    for number in range(1, len(NAMES) + 1):
        mine = [
            (float(t), float(x))
            for t, v, x in zip(one.hours, one.variables, one.values, strict=True)
            if v == number
        ]
        x = [value for _, value in mine]
        if not x:
            row += [0.0] + [np.nan] * (len(PER_VARIABLE) - 1)
            continue
        row += [len(x), np.mean(x), min(x), max(x), np.std(x), sum(x), x[0], x[-1]]
        row += [mine[0][0], mine[-1][0], x[-1] - x[0]]
        for q in range(4):
            low, high = one.end_hours * q / 4, one.end_hours * (q + 1) / 4
            part = [v for t, v in mine if low < t <= high or (q == 0 and t == 0)]
            row.append(np.mean(part) if part else np.nan)
        day = [v for t, v in mine if t > one.end_hours - 24]
        row += [min(day), max(day)] if day else [np.nan] * 2
    return [*row, *one.facts, len(one.hours)]


events = st.lists(
    st.tuples(
        st.integers(0, 96).map(lambda n: n / 2),
        st.integers(1, 3),
        st.sampled_from([0.0, 1.5, 7.4, 90.0, 1e4]),
    ),
    max_size=40,
)


@settings(max_examples=100, deadline=None)
@given(parts=st.lists(events, max_size=4))
def test_the_matrix_equals_a_plain_loop(parts):
    stays = [stay(part) for part in parts]
    found = summary_matrix(stays, NAMES, FACTS)
    assert found.matrix.dtype == np.float32
    assert found.matrix.shape == (len(stays), len(NAMES) * len(PER_VARIABLE) + len(FACTS) + 1)
    for row, one in zip(found.matrix, stays, strict=True):
        np.testing.assert_allclose(row, np.array(plain(one), dtype=np.float64), rtol=1e-5, atol=1e-3)


def test_every_column_is_named():
    found = summary_matrix([stay([(1.0, 2, 7.0), (3.0, 2, 7.5)])], NAMES, FACTS)
    row = dict(zip(found.names, found.matrix[0].tolist(), strict=True))
    assert row["pH: count"] == 2
    assert row["pH: change"] == 0.5
    assert row["pH: first hour"] == 1
    assert row["HR: count"] == 0
    assert np.isnan(row["HR: mean"])
    assert (row["age"], row[EVENTS]) == (60, 2)
    assert len(set(found.names)) == len(found.names)


@pytest.mark.parametrize("end_hours", [0.0, 6.0])
def test_a_stay_without_events_has_only_facts(end_hours):
    found = summary_matrix([stay([], end_hours)], NAMES, FACTS)
    row = dict(zip(found.names, found.matrix[0].tolist(), strict=True))
    assert {name for name, value in row.items() if not np.isnan(value)} == {
        *(f"{name}: count" for name in NAMES),
        "age",
        EVENTS,
    }


def test_a_prediction_at_time_zero_has_its_events_in_the_first_quarter():
    found = summary_matrix([stay([(0.0, 1, 80.0)], end_hours=0.0)], NAMES, FACTS)
    row = dict(zip(found.names, found.matrix[0].tolist(), strict=True))
    assert row["HR: mean of quarter 1"] == 80
    assert np.isnan(row["HR: mean of quarter 2"])


def test_other_stays_change_no_feature():
    random = np.random.default_rng(0)
    stays = [
        stay([(float(h), int(v), float(x)) for h, v, x in random.integers(1, 4, (n, 3))])
        for n in (0, 1, 63, 9)
    ]
    together = summary_matrix(stays, NAMES, FACTS).matrix
    for row, one in zip(together, stays, strict=True):
        np.testing.assert_array_equal(row, summary_matrix([one], NAMES, FACTS).matrix[0])
