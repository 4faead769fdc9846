"""Networks on time series and trees on their summaries: each answer at its own time, on known variables."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
import torch

from chartscan.artifact import logit
from chartscan.errors import ConfigError, DataError
from chartscan.inputs.batches.series import SeriesStore, collate_series
from chartscan.inputs.hourly import stays
from chartscan.inputs.readers import hourly
from chartscan.inputs.readers.hourly import summary_features
from chartscan.prediction import log_odds, predict
from chartscan.schema import PREDICTIONS, QUESTIONS
from family_artifacts import (
    SERIES,
    SUBJECTS,
    TASKS,
    labelled,
    labels,
    records,
    series_artifact,
    summary_artifact,
)
from series_events import ZERO, event, table

FAMILIES = {
    "hymate": lambda: series_artifact("hymate"),
    "hymate_carried": lambda: series_artifact("hymate_carried"),
    "gru": lambda: series_artifact("gru"),
    "xgboost": lambda: summary_artifact("xgboost"),
    "logistic": lambda: summary_artifact("logistic"),
}


@pytest.fixture(params=FAMILIES)
def artifact(request):
    return FAMILIES[request.param]()


def whole():
    return [records()]


def asked(hours=24.0, every=1):
    return {task: labels(hours, every) for task in TASKS}


@pytest.mark.parametrize("name", SERIES)
def test_answers_equal_those_of_each_stay_by_itself(name):
    one = series_artifact(name)
    found = log_odds(one, whole, asked())
    store = SeriesStore.build(
        stays(whole(), one.reader.variables, labels()), np.zeros((SUBJECTS, 0)), one.reader.variables
    )
    for row in range(SUBJECTS):
        batch = collate_series(store, np.array([row]), one.network.model.INPUT)
        with torch.no_grad():
            alone = one.network.answering(one.network.model(batch))[0].double().numpy()
        np.testing.assert_allclose([found[t][row] for t in TASKS], alone, atol=1e-5)


@pytest.mark.parametrize("name", ["xgboost", "logistic"])
def test_answers_of_tabular_models_are_those_on_the_summaries(name):
    one = summary_artifact(name)
    found = log_odds(one, whole, asked())
    matrix = summary_features(stays(whole(), one.reader.variables, labels()), one.reader.variables).matrix
    assert np.isnan(matrix).any()
    for task in TASKS:
        np.testing.assert_array_equal(found[task], logit(one.learned.models[task].predict_proba(matrix)))


def test_tasks_may_ask_different_subjects_at_different_times(artifact):
    mixed = {"b": pa.concat_tables([labels(6.0), labels(24.0, every=3)]), "a": labels(12.0, every=5)}
    found = log_odds(artifact, whole, mixed)
    assert list(found) == ["b", "a"]
    early, late = log_odds(artifact, whole, {"b": labels(6.0)}), log_odds(artifact, whole, asked(24.0, 3))
    np.testing.assert_allclose(found["b"][:SUBJECTS], early["b"], atol=1e-5)
    np.testing.assert_allclose(found["b"][SUBJECTS:], late["b"], atol=1e-5)
    alone = log_odds(artifact, whole, {"a": labels(12.0, every=5)})
    np.testing.assert_allclose(found["a"], alone["a"], atol=1e-5)


def test_what_became_known_after_the_prediction_changes_nothing(artifact):
    rows = records().to_pylist()
    past = [
        r for r in rows if r["available_time"] is None or r["available_time"] <= ZERO + timedelta(hours=24)
    ]
    future = [event(s, 30.0, "PHYSIONET2012//HR", 180.0) for s in range(1, SUBJECTS + 1)]
    before = log_odds(artifact, lambda: [table(past)], asked())
    after = log_odds(artifact, lambda: [table(past + future)], asked())
    shown = log_odds(artifact, lambda: [table(past + future)], asked(31.0))
    for task in TASKS:
        np.testing.assert_array_equal(before[task], after[task])
        assert not np.array_equal(shown[task], after[task])


def test_neither_the_order_of_labels_nor_that_of_shards_matters(artifact):
    shards = [records().filter(pa.array(records()["subject_id"].to_numpy() % 3 == i)) for i in (2, 0, 1)]
    forwards = log_odds(artifact, whole, asked())
    order = np.random.default_rng(0).permutation(SUBJECTS)
    shuffled = {task: labels().take(pa.array(order)) for task in TASKS}
    found = log_odds(artifact, lambda: shards, shuffled)
    for task in TASKS:
        np.testing.assert_allclose(found[task], forwards[task][order], atol=1e-5)


def test_predictions_are_calibrated_and_decided_by_the_threshold(artifact):
    found, raw = predict(artifact, whole, asked()), log_odds(artifact, whole, asked())
    for task in TASKS:
        slope, intercept, threshold = (1 / 3, -0.1, 0.4) if task == "a" else (1, 0, 0.5)
        expected = 1 / (1 + np.exp(-(intercept + slope * raw[task])))
        assert found[task].schema.equals(PREDICTIONS)
        probability = found[task]["predicted_boolean_probability"].to_numpy()
        np.testing.assert_allclose(probability, expected, rtol=1e-6)
        decided = found[task]["predicted_boolean_value"].to_numpy(zero_copy_only=False)
        np.testing.assert_array_equal(decided, expected >= threshold)
        for column in ("subject_id", "prediction_time", "boolean_value"):
            assert found[task][column].equals(labels()[column])


def test_questions_without_answers_are_predicted_and_stay_without(artifact):
    questions = {task: labels().select(QUESTIONS.names) for task in TASKS}
    found, known = predict(artifact, whole, questions), predict(artifact, whole, asked())
    for task in TASKS:
        assert found[task]["boolean_value"].null_count == SUBJECTS
        for column in set(PREDICTIONS.names) - {"boolean_value"}:
            assert found[task][column].equals(known[task][column])


@pytest.mark.parametrize("rows", [0, 1])
def test_zero_and_one_labels_are_answered(artifact, rows):
    some = {"a": labels().slice(3, rows)}
    found = predict(artifact, whole, some)["a"]
    assert found.num_rows == rows
    everything = log_odds(artifact, whole, asked())["a"][3 : 3 + rows]
    np.testing.assert_allclose(log_odds(artifact, whole, some)["a"], everything, atol=1e-5)


def test_many_small_batches_give_the_answers_of_one_and_report_each(artifact, monkeypatch):
    expected = log_odds(artifact, whole, asked())
    monkeypatch.setattr(hourly, "EVENTS_PER_BATCH", 100)
    monkeypatch.setattr(hourly, "NUMBERS_PER_BATCH", 0)
    reports = []
    found = log_odds(artifact, whole, asked(), lambda *report: reports.append(report))
    for task in TASKS:
        np.testing.assert_allclose(found[task], expected[task], atol=1e-5)
    assert reports == [(i + 1, len(reports)) for i in range(len(reports))]
    assert len(reports) >= 2


def strange(share):
    """Records of which about that share of the measurements is of a code that nobody has seen."""
    rows = records().to_pylist()
    random = np.random.default_rng(0)
    for row in rows:
        if row["event_type"] == "lab" and random.random() < share:
            row["code"] = "ELSEWHERE//HR"
    return table(rows)


def test_records_of_which_more_than_a_fifth_is_unknown_are_refused(artifact):
    log_odds(artifact, lambda: [strange(0.1)], asked())
    with pytest.raises(DataError, match=r"not among the model's variables \(ELSEWHERE 100%"):
        log_odds(artifact, lambda: [strange(0.4)], asked())


def test_only_the_subjects_asked_about_are_judged(artifact):
    others = [event(1000, h / 10, "ELSEWHERE//HR", 80.0) for h in range(2000)]
    found = log_odds(artifact, lambda: [records(), table(others)], asked())
    for task, alone in log_odds(artifact, lambda: [records()], asked()).items():
        np.testing.assert_array_equal(found[task], alone)


def test_the_same_code_in_another_unit_is_unknown(artifact):
    rows = [r | ({"unit": "mmHg"} if r["event_type"] == "lab" else {}) for r in records().to_pylist()]
    with pytest.raises(DataError, match="measurements to predict on: 100"):
        log_odds(artifact, lambda: [table(rows)], asked())


def test_labels_of_subjects_without_events_are_refused(artifact):
    strangers = labelled(np.array([1, 777, 888]), ZERO + timedelta(hours=24))
    with pytest.raises(DataError, match="2 of 3 belong to subjects without events"):
        log_odds(artifact, whole, {"a": strangers})


def test_a_task_that_was_not_learned_is_refused(artifact):
    with pytest.raises(ConfigError, match=r"not trained for c\. It predicts: a, b"):
        predict(artifact, whole, {"c": labels()})
