"""The true risks agree with what happens, and with the definitions of the tasks."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from simulated_labels import EXPORT, GROUPS, chart, labels

SUBJECTS, SEED = 2500, 11
TASKS = ("in_hospital_mortality", "long_stay_7d", "mortality_30d", "readmission_30d", *GROUPS)


@pytest.fixture(scope="module")
def charts():
    """Charts and predictions of a small hospital."""
    return [chart(SEED, index) for index in range(SUBJECTS)]


@pytest.fixture(scope="module")
def outcomes(charts):
    """Per task an array with columns subject, label, true risk, age in years, with cancer."""
    rows = defaultdict(list)
    for subject, (read, predictions) in enumerate(charts):
        known = labels(read)
        for p in predictions:
            when = datetime.fromtimestamp(p.time, UTC)
            label = known[p.task, when]
            if label is not None:
                age = (when - read.birth).days / 365.25
                rows[p.task].append((subject, label, p.true_risk, age, "C34.90" in read.diagnoses))
    return {task: np.array(rows[task], dtype=float) for task in TASKS}


def standard_errors_off(rows):
    """Observed minus expected positives in standard errors; repeated questions to a subject count as one."""
    by_subject = np.bincount(rows[:, 0].astype(int), weights=rows[:, 1] - rows[:, 2])
    variance = max((by_subject**2).sum(), (rows[:, 2] * (1 - rows[:, 2])).sum())
    return by_subject.sum() / np.sqrt(variance)


def largest_miscalibration(rows):
    """Largest miscalibration over everyone, fifths of risk, the young, the old, and cancer."""
    parts = [rows, *np.array_split(rows[np.argsort(rows[:, 2])], 5)]
    parts += [rows[rows[:, 3] < 55], rows[rows[:, 3] > 70], rows[rows[:, 4] == 1]]
    return max(abs(standard_errors_off(part)) for part in parts)


def test_every_eligible_question_has_one_true_risk_and_no_other(charts):
    for read, predictions in charts:
        asked = [(p.task, datetime.fromtimestamp(p.time, UTC)) for p in predictions]
        assert len(asked) == len(set(asked))
        assert set(asked) == set(labels(read))


def test_every_window_is_followed_to_its_end(charts):
    ends = [end for read, _ in charts for _, end, _ in read.stays]
    assert max(ends) + timedelta(days=365) <= EXPORT


@pytest.mark.parametrize("task", TASKS)
def test_true_risks_are_calibrated_by_risk_and_by_what_is_visible(outcomes, task):
    assert largest_miscalibration(outcomes[task]) < 4.0


@pytest.mark.parametrize("task", TASKS)
def test_miscalibrated_risks_would_be_noticed(outcomes, task):
    rows = outcomes[task].copy()
    rows[:, 2] = np.minimum(1.0, 1.4 * rows[:, 2])
    assert largest_miscalibration(rows) > 4.0


@pytest.mark.parametrize("task", TASKS)
def test_tasks_are_neither_hopeless_nor_trivial(outcomes, task):
    rows = outcomes[task]
    assert 0.03 < rows[:, 1].mean() < 0.3
    assert 0.75 < roc_auc_score(rows[:, 1], rows[:, 2]) < 0.93
