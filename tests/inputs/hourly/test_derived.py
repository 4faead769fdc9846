"""Derived variables: against a plain loop, live, never the future, and left out where not asked for."""

from datetime import timedelta

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chartscan.errors import DataError
from chartscan.inputs.hourly import (
    CHANNELS,
    CarriedStream,
    SeriesConfig,
    TripletStream,
    Variables,
    carried,
    stays,
)
from chartscan.inputs.hourly.derived import RULES, rules_for
from series_events import SMALL, admission, event, known_order, live, questions, static, table, tenths

NORMAL = {
    **{"SysABP": 120, "NISysABP": 115, "DiasABP": 70, "NIDiasABP": 65, "MAP": 85, "NIMAP": 80, "HR": 80},
    **{"PaO2": 90, "FiO2": 0.5, "BUN": 20, "Creatinine": 1, "Urine": 100, "Weight": 70},
}
DERIVED = tuple(rule.name for rule in RULES)


def code(name):
    return f"PHYSIONET2012//{name}"


def normal_rows(names=tuple(NORMAL), subjects=8):
    random = np.random.default_rng(0)
    rows = [admission(s) for s in range(1, subjects + 1)]
    for s in range(1, subjects + 1):
        for name in names:
            for hours in np.sort(random.integers(0, 480, 6)) / 10:
                rows.append(event(s, float(hours), code(name), float(NORMAL[name] * random.uniform(0.5, 2))))
    return rows


CONFIG = msgspec.structs.replace(SMALL, derived=True, clip=(0.0, 1.0))
VARIABLES = Variables.fit([table(normal_rows())], CONFIG)
# A clip that leaves the rules' values as they are.
OPEN = msgspec.structs.replace(
    VARIABLES, variables=tuple(msgspec.structs.replace(v, low=-1e9, high=1e9) for v in VARIABLES.variables)
)


@st.composite
def records(draw):
    """Rows of one subject with every variable, of which several fall on one instant, and admissions."""
    rows = []
    names = st.sampled_from(list(NORMAL))
    factors = st.sampled_from([0.0, 0.5, 1.0, 1.3, -1.0])  # 0 divides, -1 is out of range
    for hours, name, factor in draw(st.lists(st.tuples(tenths, names, factors), max_size=60)):
        hours = round(hours / 2) if draw(st.booleans()) else hours
        late = draw(st.sampled_from([0.0, 0.0, 1.5]))
        rows.append(event(1, hours, code(name), NORMAL[name] * factor, known=hours + late))
    return rows + [admission(1, h) for h in draw(st.lists(st.sampled_from([0.0, 3.0]), max_size=2))]


def plain(rows, end):
    """The derived values of one subject by the words of the rules: sorted (known, name, value)."""
    end = questions((1, end))["prediction_time"][0].as_py()
    rows = [r for r in rows if r["available_time"] <= end]
    starts = [r["available_time"] for r in rows if r["event_type"] == "admission"]
    zero = max(starts, default=min((r["available_time"] for r in rows), default=end))
    valid = {v.name: v.valid for v in VARIABLES.variables}
    seen = []
    for r in rows:
        low, high = valid.get(r["code"], (0, 0))
        value = r["numeric_value"]
        if (
            value is not None
            and value >= (low or 0)
            and value <= (high or 1e9)
            and r["available_time"] >= zero
        ):
            seen.append(
                (r["available_time"], r["code"].removeprefix("PHYSIONET2012//"), float(np.float32(value)))
            )
    found = []

    def last(time, *names):
        return max(((t, x) for t, name, x in seen if name in names and t <= time), default=(None, None))[1]

    for time, name, x in seen:
        sys, dias = last(time, "SysABP", "NISysABP"), last(time, "DiasABP", "NIDiasABP")
        if name in ("SysABP", "NISysABP"):
            found.append((time, "SysBP", x))
            if dias is not None:
                found.append((time, "PulsePressure", x - dias))
        if name in ("DiasABP", "NIDiasABP"):
            found.append((time, "DiasBP", x))
        if name in ("MAP", "NIMAP"):
            found.append((time, "MeanBP", x))
        if name == "HR" and sys:
            found.append((time, "ShockIndex", x / sys))
        if name == "BUN" and last(time, "Creatinine"):
            found.append((time, "BUN/Creatinine", x / last(time, "Creatinine")))
        if name == "PaO2":
            oxygen = last(time, "FiO2")
            oxygen = 0.21 if oxygen is None else oxygen
            if oxygen:
                found.append((time, "PaO2/FiO2", x / oxygen))
        if name == "Urine":
            begin = time - timedelta(hours=6)
            total = sum(ml for t, other, ml in seen if other == "Urine" and begin < t <= time)
            found.append((time, "Urine/kg/h", total / 6 / (last(time, "Weight") or 80.0)))
    return sorted(((t - zero).total_seconds() / 3600, f"DERIVED//{name}", x) for t, name, x in found)


def one(rows, end, variables=OPEN):
    return stays([table([*rows, static(1, "GENDER//F")])], variables, questions((1, end)))[0]


def triplets(stay):
    return list(zip(stay.hours.tolist(), stay.variables.tolist(), stay.values.tolist(), strict=True))


def derived(stay, variables=OPEN):
    return only_derived(triplets(stay), variables)


def only_derived(found, variables=OPEN):
    named = [(h, variables.names[v - 1], x) for h, v, x in found]
    return sorted(row for row in named if row[1] in DERIVED)


def both(rows, end):
    """The derived values of a whole record, which a live one must give as well."""
    found = derived(one(rows, end))
    assert only_derived(live(rows, end, OPEN)[1]) == found
    return found


@settings(max_examples=150, deadline=None)
@given(rows=records(), end=tenths)
def test_derived_values_equal_a_plain_loop(rows, end):
    found, expected = derived(one(rows, end)), plain(rows, end)
    assert [name for _, name, _ in found] == [name for _, name, _ in expected]
    for column in (0, 2):
        np.testing.assert_allclose([r[column] for r in found], [r[column] for r in expected], rtol=1e-6)


@settings(max_examples=150, deadline=None)
@given(rows=records(), end=tenths, seed=st.integers(0, 9))
def test_a_live_record_derives_the_same(rows, end, seed):
    assert live(rows, end, OPEN, seed)[1] == triplets(one(rows, end))


@settings(max_examples=50, deadline=None)
@given(rows=records(), end=tenths, seed=st.integers(0, 9))
def test_neither_the_future_nor_the_order_of_rows_changes_anything(rows, end, seed):
    rows = [*rows, admission(1)]
    limit = questions((1, end))["prediction_time"][0].as_py()
    seen = [r for r in rows if r["available_time"] <= limit]
    shuffled = [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))]
    assert triplets(one(rows, end)) == triplets(one(seen, end)) == triplets(one(shuffled, end))


def test_another_subject_lends_nothing():
    rows = [admission(1), event(1, 1.0, code("HR"), 80.0)]
    other = [admission(2), event(2, 0.5, code("SysABP"), 100.0)]
    assert triplets(one(rows, 9.0)) == triplets(one(rows + other, 9.0))


@pytest.mark.parametrize("seed", range(4))
def test_a_live_stay_carries_what_the_whole_one_does(seed):
    rows = [r for r in normal_rows() if r["subject_id"] == 1]
    rows += [event(1, h, code("HR"), x) for h in (0.0, 5.5, 12.0) for x in (60.0, 80.0, 110.0, 80.0)]
    stream, found, waiting = CarriedStream(OPEN), [], live(rows, 12.0, OPEN, seed)[1]
    for h in range(12):
        while waiting and waiting[0].hours <= h + 1:
            stream.push(waiting.pop(0))
        found.append(stream.close_hour())
    expected, found = carried(one(rows, 12.0), OPEN, 12.0), np.array(found[-6:])
    np.testing.assert_allclose(found, expected, atol=2e-6)
    exact = [CHANNELS.index(name) for name in ("first", "last", "low", "high")]
    np.testing.assert_array_equal(found[..., exact], expected[..., exact])


def test_a_panel_of_one_instant_is_taken_together_whatever_its_order():
    rows = [admission(1), event(1, 1.0, code("BUN"), 30.0), event(1, 1.0, code("Creatinine"), 2.0)]
    rows += [event(1, 0.5, code("Creatinine"), 4.0), event(1, 1.0, code("Creatinine"), 1.0)]  # 2 is higher
    assert both(rows, 2.0) == [(1.0, "DERIVED//BUN/Creatinine", 15.0)]


def test_a_new_stay_begins_without_what_the_last_one_knew():
    rows = [event(1, 1.0, code("SysABP"), 100.0), admission(1, 2.0), event(1, 3.0, code("HR"), 80.0)]
    assert derived(one(rows, 4.0)) == []
    assert [t.variable for t in live(rows, 4.0, OPEN)[1]] == [OPEN.numbers[code("HR")]]


def test_oxygen_in_percent_is_a_share_and_room_air_where_never_seen():
    rows = [admission(1), event(1, 1.0, code("PaO2"), 84.0), event(1, 2.0, code("FiO2"), 40.0)]
    rows += [event(1, 3.0, code("PaO2"), 84.0)]
    assert [x for _, _, x in both(rows, 4.0)] == pytest.approx([400.0, 210.0])


def test_urine_leaves_the_sum_after_six_hours():
    rows = [admission(1), *(event(1, float(h), code("Urine"), 480.0) for h in (1, 6, 7))]
    assert [x for _, _, x in both(rows, 9.0)] == pytest.approx([1.0, 2.0, 2.0])


def test_what_a_stream_has_settled_is_closed():
    stream = TripletStream(OPEN)
    first, second = known_order([event(1, 1.0, code(n), 80.0) for n in ("HR", "SysABP")])
    stream.push(first)
    stream.settle()
    assert stream.settle() == []
    with pytest.raises(DataError, match="settled"):
        stream.push(second)


def test_derived_variables_are_fitted_beside_those_measured():
    assert set(VARIABLES.names) == {*DERIVED, *map(code, NORMAL)}
    assert list(VARIABLES.names) == sorted(VARIABLES.names)
    rows = normal_rows()
    found = derived(one([r for r in rows if r["subject_id"] == 1], 99.0))
    index = [x for _, name, x in found if name == "DERIVED//ShockIndex"]
    alone = Variables.fit([table([r for r in rows if r["subject_id"] == 1])], CONFIG)
    fitted = alone.variables[alone.numbers["DERIVED//ShockIndex"] - 1]
    assert (fitted.values, fitted.subjects) == (len(index), 1)
    assert fitted.mean == pytest.approx(np.mean(index), rel=1e-6)
    assert fitted.quantiles[-1] == pytest.approx(max(index), rel=1e-6)


def test_shards_change_no_derived_variable():
    rows = normal_rows()
    parts = [[r for r in rows if r["subject_id"] % 3 == k] for k in (2, 0, 1)]
    assert Variables.fit([table(p) for p in parts], CONFIG).hash == VARIABLES.hash


def test_they_are_left_out_unless_asked_for():
    assert not SeriesConfig().derived
    plain_config = msgspec.structs.replace(CONFIG, derived=False)
    found = Variables.fit([table(normal_rows())], plain_config)
    assert set(found.names) == set(map(code, NORMAL))
    assert found.rules == ()
    assert TripletStream(found).settle() == []


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("HR",), set()),
        (("HR", "NISysABP"), {"SysBP", "ShockIndex"}),
        (("PaO2",), set()),
        (("FiO2", "PaO2"), {"PaO2/FiO2"}),
        (("Urine",), set()),
    ],
)
def test_a_rule_needs_its_codes(names, expected):
    found = Variables.fit([table(normal_rows(names))], CONFIG)
    assert {n.removeprefix("DERIVED//") for n in found.names if n in DERIVED} == expected
    assert {rule.name for rule in rules_for(found.names)} == {f"DERIVED//{name}" for name in expected}


def test_what_is_saved_derives_the_same(tmp_path):
    VARIABLES.save(tmp_path / "variables.json")
    assert Variables.load(tmp_path / "variables.json").rules == VARIABLES.rules == RULES


def test_the_rules_are_named_once_and_read_no_derived_variable():
    assert len(set(DERIVED)) == len(DERIVED)
    assert not any(set(rule.of + rule.by) & set(DERIVED) for rule in RULES)
