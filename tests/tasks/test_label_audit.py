"""The label audit: the engine against an independent labeller, over records full of boundaries."""

from datetime import timedelta

import pytest

from chartscan.cohort import Outcome, record_from_events
from chartscan.find import find, names
from synthetic_records import GROUPS, TASKS, brute_force, histories, micros

NUMBER, SEED = 3000, 20


@pytest.fixture(scope="module")
def audited():
    made = histories(NUMBER, SEED)
    return [(h, record_from_events(h.events(), h.follow_up)) for h in made]


def answered(outcomes):
    return {micros(o.prediction_time): o.value for o in outcomes if o.value is not None}


def disagreements(task, label, audited):
    return [h.subject_id for h, record in audited if answered(label(record)) != brute_force(task, h)]


def test_the_audit_covers_every_built_in_task():
    assert set(TASKS) <= set(names("tasks"))


@pytest.mark.parametrize("task", TASKS)
def test_engine_and_brute_force_agree_on_every_record(task, audited):
    assert disagreements(task, find("tasks", task).label, audited) == []


@pytest.mark.parametrize("task", TASKS)
def test_the_audit_meets_every_kind_of_outcome(task, audited):
    seen = [o.value for _, record in audited for o in find("tasks", task).label(record) if o.eligible]
    assert min(seen.count(True), seen.count(False), seen.count(None)) >= 50


def test_the_published_hole_at_28_and_29_days_is_caught(audited):
    def published(record):
        """Interval tokens of weeks, and of the second month: 28-29 days lost, 30-59 days won."""
        outcomes = find("tasks", "readmission_30d").label(record)
        return [_by_interval_token(record, o) for o in outcomes]

    def _by_interval_token(record, outcome):
        if not outcome.eligible or outcome.value is None:
            return outcome
        later = [s.start - outcome.prediction_time for s in record.stays if s.start > outcome.prediction_time]
        days = min((gap // timedelta(days=1) for gap in later), default=None)
        positive = days is not None and (days < 28 or 30 <= days < 60)
        return Outcome(outcome.prediction_time, positive)

    assert len(disagreements("readmission_30d", published, audited)) > 50


def test_counting_the_censored_as_negative_is_caught(audited):
    for task in ("readmission_30d", *GROUPS):
        label = find("tasks", task).label

        def zeros(record, label=label):
            outcomes = label(record)
            return [Outcome(o.prediction_time, bool(o.value), eligible=o.eligible) for o in outcomes]

        assert len(disagreements(task, zeros, audited)) > 50


def test_judging_the_last_stay_only_is_caught(audited):
    label = find("tasks", "mortality_30d").label
    assert len(disagreements("mortality_30d", lambda record: label(record)[-1:], audited)) > 50


def test_row_order_changes_no_record(audited):
    for history, record in audited[:300]:
        assert record_from_events(history.events(order=history.rows[::-1]), history.follow_up) == record
