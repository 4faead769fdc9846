"""Who is recognised as a subject that taught a model."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chartscan.runs import seen as module
from chartscan.runs.seen import seen, seen_record

IDS = st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, min_size=1, max_size=40)


class Job:
    """As much of a job as the record of the subjects seen needs."""

    dataset = None

    def __init__(self, ids):
        self.ids = np.array(ids, dtype=np.int64)

    def subjects(self, split):
        return self.ids if split == "train" else self.ids[:0]


@pytest.fixture(scope="module")
def run_of():
    """The run record of a training on subjects with birth dates, by subject."""

    def run_of_(births, before=None):
        patch = pytest.MonkeyPatch()
        patch.setattr(module, "births_of", lambda dataset, ids: births)
        try:
            return {"seen": seen_record(Job(list(births)), before)}
        finally:
            patch.undo()

    return run_of_


@given(IDS)
def test_the_subjects_of_a_run_are_recognised_and_no_others(run_of, ids):
    births = {subject: place * 400 for place, subject in enumerate(ids)}
    run = run_of(births)
    others = np.array([subject ^ 1 for subject in ids if subject ^ 1 not in births], dtype=np.int64)
    assert seen(run, np.array(ids), births) == seen(run, np.array(ids)) == len(ids)
    assert seen(run, others, {}) == 0


@given(IDS)
def test_people_of_the_same_ids_and_other_birth_dates_are_others(run_of, ids):
    births = dict.fromkeys(ids, 0)
    run = run_of(births)
    assert seen(run, np.array(ids), dict.fromkeys(ids, 5)) == 0
    assert seen(run, np.array(ids)) == len(ids)  # where nothing is known of births


def test_a_few_corrected_birth_dates_do_not_make_others_of_the_same_people(run_of):
    births = {subject: subject * 100 for subject in range(10)}
    corrected = births | {3: 7, 4: 8}
    assert seen(run_of(births), np.arange(10), corrected) == 10


def test_without_birth_dates_the_id_decides(run_of):
    assert seen(run_of({}), np.arange(3), {}) == 0
    run = run_of(dict.fromkeys(range(3), 5))
    assert seen(run, np.arange(3), {}) == 3


def test_a_run_of_an_earlier_version_is_read_by_ids(run_of):
    run = run_of(dict.fromkeys(range(3), 5))
    old = {"seen": [{name: run["seen"][0][name] for name in ("salt", "subjects")}]}
    assert seen(old, np.arange(5), dict.fromkeys(range(5), 9)) == 3


def test_subjects_of_what_a_run_started_from_count_too(run_of):
    first = run_of({1: 5})
    assert seen(run_of({2: 5}, first), np.array([1, 2, 3]), {1: 5, 2: 5, 3: 5}) == 2
