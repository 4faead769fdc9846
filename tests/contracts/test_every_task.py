"""Every task, built in or added later, meets these merely by being a file in tasks/."""

import inspect
from datetime import datetime, timedelta

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from chartscan.cohort import Outcome, record_from_events
from chartscan.errors import ConfigError
from chartscan.find import find, names
from chartscan.schema import TIME

DAY = timedelta(days=1)
T0 = datetime(2120, 5, 1, 9, 30)
FOLLOWED = {"rule": "export_time", "time": "2150-01-01"}
CODES = ["ICD10CM//I10", "ICD10CM//E871", "ICD10CM//E785", "ICD10CM//J18"]
COLUMNS = ["time", "code", "event_type", "encounter_id"]


def table(rows):
    rows = sorted(rows, key=lambda r: r[0])
    types = [TIME, pa.string(), pa.string(), pa.string()]
    arrays = [pa.array([r[i] for r in rows], t) for i, t in enumerate(types)]
    names = ["subject_id", *COLUMNS, "available_time"]
    return pa.table([pa.array([1] * len(rows)), *arrays, arrays[0]], names=names)


def stay(number, start, end, disposition="HOME"):
    return [
        (start, "HOSPITAL_ADMISSION//EMERGENCY", "admission", f"h{number}"),
        (end, f"HOSPITAL_DISCHARGE//{disposition}", "discharge", f"h{number}"),
    ]


def history(rng):
    """Rows of one subject: stays, codes given at discharge, sometimes a death at the end of a day."""
    rows, now = [(T0 - 20_000 * DAY, "MEDS_BIRTH", "birth", None)], T0
    for number in range(rng.integers(1, 5)):
        end = now + rng.uniform(0.5, 12) * DAY
        dies = rng.random() < 0.1
        rows += stay(number, now, end, "EXPIRED" if dies else "HOME")
        rows.append((end, CODES[rng.integers(4)], "diagnosis", f"h{number}"))
        if dies:
            return [*rows, (end, "MEDS_DEATH", "death", None)]
        now = end + rng.exponential(100) * DAY
    if rng.random() < 0.3:
        rows.append((datetime(now.year, now.month, now.day, 23, 59, 59), "MEDS_DEATH", "death", None))
    return rows


def outcomes(task, rows):
    return task.label(record_from_events(table(rows), FOLLOWED))


def labels(task, rows):
    return {o.prediction_time: o.value for o in outcomes(task, rows) if o.value is not None}


def eligible(task, rows):
    return {o.prediction_time for o in outcomes(task, rows) if o.eligible}


def seeing_hindsight(task, many):
    """Samples that lose their eligibility once everything after the prediction time is unknown."""
    found = 0
    for rows in many:
        for time in eligible(task, rows):
            found += time not in eligible(task, [r for r in rows if r[0] <= time])
    return found


@pytest.fixture(scope="module", params=names("tasks"))
def task(request):
    return find("tasks", request.param)


def test_tasks_that_share_a_file_are_found_by_their_own_names():
    assert {"fluid_disorder_1y", "hypertension_1y", "lipid_disorder_1y"} <= set(names("tasks"))
    assert find("tasks", "hypertension-1y").TITLE == "New hypertension within a year"
    with pytest.raises(ConfigError, match="No task named 'new_onset_1y'"):
        find("tasks", "new_onset_1y")


@pytest.fixture(scope="module")
def many():
    rng = np.random.default_rng(3)
    return [history(rng) for _ in range(150)]


def test_a_task_says_what_it_is(task):
    assert 0 < len(task.TITLE) <= 60
    assert task.DESCRIPTION.endswith(".")
    assert isinstance(task.DEFAULT, task.Config)
    assert task.Config.__struct_config__.frozen
    assert task.DEFAULT.version >= 1
    assert msgspec.convert(msgspec.to_builtins(task.DEFAULT), task.Config) == task.DEFAULT
    assert list(inspect.signature(task.label).parameters) == ["record", "config"]


def test_a_task_gives_one_outcome_per_stay_with_a_reason_for_every_missing_label(task, many):
    for rows in many:
        record = record_from_events(table(rows), FOLLOWED)
        found = task.label(record)
        assert len(found) == len(record.stays)
        assert all(isinstance(o, Outcome) for o in found)
        for o in found:
            assert bool(o.reason) == (o.value is None)
            assert o.eligible or o.value is None
            assert o.prediction_time is not None or not o.eligible


def test_a_task_finds_both_outcomes_and_predicts_each_moment_once(task, many):
    values = []
    for rows in many:
        found = [o for o in outcomes(task, rows) if o.value is not None]
        assert len({o.prediction_time for o in found}) == len(found)
        values += [o.value for o in found]
    assert set(values) == {True, False}
    assert all(type(v) is bool for v in values)


def test_eligibility_needs_no_hindsight(task, many):
    assert seeing_hindsight(task, many) == 0


def test_the_check_for_hindsight_catches_at_least_two_visits():
    class TwoVisits:
        @staticmethod
        def label(record):
            found = find("tasks", "readmission_30d").label(record)
            return found[:-1] if len(found) > 1 else []

    rng = np.random.default_rng(3)
    assert seeing_hindsight(TwoVisits, [history(rng) for _ in range(150)]) > 50


def test_a_later_stay_removes_and_changes_no_earlier_label(task, many):
    later = stay(99, T0 + 4000 * DAY, T0 + 4003 * DAY)
    for rows in many:
        if not any(kind == "death" for _, _, kind, _ in rows):
            before, after = labels(task, rows), labels(task, rows + later)
            assert before.items() <= after.items()


def test_a_record_without_stays_has_no_labels(task):
    assert outcomes(task, [(T0, "LOINC//1", "lab", None)]) == []


def test_row_order_and_the_rest_of_the_record_change_no_label(task, many):
    for rows in many[:30]:
        noise = [(t + DAY / 7, "LOINC//2345-7", "lab", e) for t, _, kind, e in rows if kind == "admission"]
        rng = np.random.default_rng(0)
        shuffled = table(rows + noise).take(rng.permutation(len(rows) + len(noise)))
        assert task.label(record_from_events(shuffled, FOLLOWED)) == outcomes(task, rows)


def clinic(rows):
    """Rows with a visit, a laboratory result and a diagnosis three days after each discharge."""
    seen = [(time + 3 * DAY, at) for time, _, kind, at in rows if kind == "discharge"]
    added = [
        row
        for time, at in seen
        for row in (
            (time, "VISIT//AMB", "visit_start", f"v{at}"),
            (time, "LOINC//2345-7", "lab", f"v{at}"),
            (time, CODES[3], "diagnosis", f"v{at}"),
        )
    ]
    dead = [time for time, _, kind, _ in rows if kind == "death"]
    return rows + [row for row in added if not dead or row[0] < dead[0]]


def test_nothing_after_what_settles_an_answer_changes_it(task, many):
    settled = dict.fromkeys(getattr(task, "SETTLED_BY", ()), 0)
    for rows in map(clinic, many):
        whole = labels(task, rows)
        for now, kind in {(row[0], row[2]) for row in rows if row[2] in settled}:
            followed = {"rule": "export_time", "time": now.isoformat()}
            record = record_from_events(table([row for row in rows if row[0] <= now]), followed)
            by_now = {o.prediction_time: o.value for o in task.label(record)}
            earlier = {time: value for time, value in whole.items() if time < now}
            assert earlier.items() <= by_now.items()
            settled[kind] += len(earlier)
    assert all(count > 20 for count in settled.values()), settled


def test_every_task_has_its_title_by_default(task):
    assert task.title() == task.title(task.DEFAULT) == task.TITLE


def changed(value):
    """Another value of the same kind."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case tuple():
            return (*value, "OTHER")
        case str():
            return "instant" if value == "day" else f"{value} changed"
        case _:
            return msgspec.structs.replace(value, name="changed")


def test_no_setting_of_a_task_is_missing_from_its_title(task):
    for name in task.DEFAULT.__struct_fields__:
        config = msgspec.structs.replace(task.DEFAULT, **{name: changed(getattr(task.DEFAULT, name))})
        assert task.title(config) != task.TITLE, name


def test_a_title_states_the_horizon_that_was_set(task):
    if "horizon_days" in task.DEFAULT.__struct_fields__:
        assert "90 days" in task.title(msgspec.structs.replace(task.DEFAULT, horizon_days=90))
    else:
        assert "48 hours after admission" in task.title(msgspec.structs.replace(task.DEFAULT, hours=48))
