"""Ensembles: the blend is the plain formula on the members' raw log odds, and records are read once."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chartscan.artifact import Ensemble, TabularModels
from chartscan.artifact.folder import _Shares
from chartscan.errors import ConfigError
from chartscan.inputs.readers import hourly
from chartscan.prediction import log_odds, predict
from family_artifacts import (
    CALIBRATION,
    TASKS,
    ensemble,
    labels,
    records,
    sequence_artifact,
    series_artifact,
    summary_artifact,
    tabular_artifact,
    token_labels,
    token_records,
)

LABELS = {task: labels() for task in TASKS}


class Records:
    """Tables that count how often they are asked for."""

    def __init__(self, table):
        self.table, self.times = table, 0

    def __call__(self):
        self.times += 1
        return [self.table]


def formula(blend, member_answers, task):
    return sum(
        (weight * found[task] for weight, found in zip(blend.weights[task], member_answers, strict=True)),
        start=np.full(1, blend.intercept[task]),
    )


def test_log_odds_are_the_intercept_and_the_weighted_sum_of_the_members():
    members = series_artifact(), series_artifact("gru"), summary_artifact(), summary_artifact("logistic")
    blend, tables = ensemble(*members), Records(records())
    found = log_odds(blend, tables, LABELS)
    assert tables.times == 1
    alone = [log_odds(member, tables, LABELS) for member in members]
    for task in TASKS:
        np.testing.assert_allclose(found[task], formula(blend, alone, task), atol=1e-12)


def test_members_calibrations_play_no_part_and_the_ensembles_own_does():
    members = series_artifact(), summary_artifact()
    bare = [replace(member, calibration={}) for member in members]
    blend = ensemble(*members)
    found = predict(blend, Records(records()), LABELS)
    plain = predict(ensemble(*bare), Records(records()), LABELS)
    raw = log_odds(blend, Records(records()), LABELS)
    for task in TASKS:
        assert found[task].equals(plain[task])
    expected = CALIBRATION["a"].probability(raw["a"]).astype(np.float32)
    np.testing.assert_array_equal(found["a"]["predicted_boolean_probability"].to_numpy(), expected)


def test_one_member_of_weight_one_is_that_member():
    member = series_artifact()
    alone = Ensemble("one", (member,), {"a": np.ones(1)})
    found = log_odds(alone, Records(records()), {"a": labels()})
    np.testing.assert_array_equal(found["a"], log_odds(member, Records(records()), {"a": labels()})["a"])
    with pytest.raises(ConfigError, match="not trained for b"):
        log_odds(alone, Records(records()), LABELS)


def test_a_member_of_weight_zero_is_not_asked_and_need_not_know_the_task():
    """One model a task: `a` is answered by the first member alone, `b` by the second."""
    one, two = tabular_artifact(), sequence_artifact()
    alone = TabularModels(one.name, {"a": one.learned.models["a"]})
    only = {"a": replace(one, learned=alone, tasks=("a",), calibration={}), "b": two}
    found = Ensemble("each", (only["a"], two), {"a": np.array([1.0, 0]), "b": np.array([0, 1.0])})
    found.check()
    asked = {task: token_labels() for task in TASKS}
    answered = log_odds(found, Records(token_records()), asked)
    for task, member in only.items():
        alone = log_odds(member, Records(token_records()), {task: asked[task]})
        np.testing.assert_allclose(answered[task], alone[task], atol=1e-6)
    with pytest.raises(ConfigError, match="Member 0 of the ensemble has not learned b"):
        replace(found, weights={"b": np.array([0.5, 0.5])}).check()


def test_an_ensemble_of_ensembles_is_blended_from_within():
    inner = ensemble(series_artifact(), summary_artifact(), seed=1)
    outer = ensemble(inner, series_artifact("gru"), seed=2)
    found = log_odds(outer, Records(records()), LABELS)
    parts = [log_odds(member, Records(records()), LABELS) for member in outer.members]
    for task in TASKS:
        np.testing.assert_allclose(found[task], formula(outer, parts, task), atol=1e-12)


def test_members_of_equal_variables_share_their_stays(monkeypatch):
    made, original = [], hourly.stays
    monkeypatch.setattr(hourly, "stays", lambda *a: made.append(1) or original(*a))
    members = [series_artifact(seed=seed) for seed in range(3)] + [summary_artifact()]
    log_odds(ensemble(*members, series_artifact(of=1)), Records(records()), LABELS)
    assert len(made) == 2  # one shard, two kinds of variables


def test_token_models_are_blended_alike():
    members = sequence_artifact(), tabular_artifact()
    blend, tables = ensemble(*members), Records(token_records())
    asked = {task: token_labels() for task in TASKS}
    found = log_odds(blend, tables, asked)
    assert tables.times == 1
    alone = [log_odds(member, tables, asked) for member in members]
    for task in TASKS:
        np.testing.assert_allclose(found[task], formula(blend, alone, task), atol=1e-12)


def test_token_models_answer_some_tasks_as_they_answer_all():
    asked = {task: token_labels() for task in TASKS}
    few = token_labels().slice(2, 3)
    for model in (sequence_artifact(), tabular_artifact()):
        every = log_odds(model, Records(token_records()), asked)
        some = log_odds(model, Records(token_records()), {"b": few})
        assert list(some) == ["b"]
        np.testing.assert_allclose(some["b"], every["b"][2:5], atol=1e-5)


def test_shards_make_no_difference_to_token_models():
    whole, ids = token_records(), token_records()["subject_id"].to_numpy()
    shards = [whole.filter(pa.array(ids % 2 == parity)) for parity in (1, 0)]
    asked = {task: token_labels() for task in TASKS}
    for model in (sequence_artifact(), tabular_artifact()):
        found, wanted = log_odds(model, lambda: shards, asked), log_odds(model, Records(whole), asked)
        for task in TASKS:
            np.testing.assert_array_equal(found[task], wanted[task])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=5))
def test_progress_never_goes_back_and_ends_at_its_end(sizes):
    reports = []
    shares = _Shares(lambda *report: reports.append(report), len(sizes))
    for size in sizes:
        progress = shares.of_next()
        for done in range(size):
            progress(done + 1, size)
    done = [report[0] for report in reports]
    assert done == list(range(1, sum(sizes) + 1))
    if sizes[-1]:
        assert reports[-1] == (sum(sizes), sum(sizes))
