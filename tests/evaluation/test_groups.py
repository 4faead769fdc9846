"""Subgroup rows add up, hide small cells, and say nothing that looks more exact than it is."""

import numpy as np
import pyarrow as pa
import pytest

from chartscan.evaluation import PredictionSet, evaluate
from chartscan.evaluation.groups import hidden
from chartscan.metrics.discrimination import auroc


def grouped(one, group):
    return one.table.select(["subject_id", "prediction_time"]).append_column("sex", pa.array(group))


def by_name(evaluation):
    return {g.group: g for g in evaluation.tasks[0].groups}


def test_groups_add_up_to_the_whole_and_unknown_is_a_group(make_models):
    (model, _), _ = make_models(n=3000)
    group = np.where(np.arange(3000) % 2, "female", "male").astype(object)
    group[:500] = None
    attributes = grouped(model, group).slice(200)  # the first rows are not named at all
    evaluation = evaluate([model], groups={model.task: attributes}, bootstrap=50)
    found = by_name(evaluation)
    assert set(found) == {"female", "male", "unknown"}
    assert found["unknown"].predictions == 500
    assert sum(g.predictions for g in found.values()) == 3000
    assert sum(g.events for g in found.values()) == evaluation.tasks[0].events


def test_estimates_of_a_group_are_the_metrics_of_its_rows(make_models):
    (model, _), _ = make_models(n=3000)
    inside = np.arange(3000) % 2 == 0
    attributes = grouped(model, np.where(inside, "a", "b"))
    found = by_name(evaluate([model], groups={model.task: attributes}, bootstrap=50))["a"]
    labels = model.table["boolean_value"].to_numpy()[inside]
    scores = model.table["predicted_boolean_probability"].to_numpy()[inside]
    assert found.auroc.value == pytest.approx(auroc(labels, scores))
    assert found.auroc.low < found.auroc.value < found.auroc.high
    assert not found.flagged


def test_a_planted_gap_is_flagged(make_models, make_table):
    (model, _), _ = make_models(n=3000)
    scores = model.table["predicted_boolean_probability"].to_numpy().copy()
    group = np.where(np.arange(3000) < 1500, "served", "failed")
    scores[1500:] = np.random.default_rng(0).permutation(scores[1500:])
    columns = [model.table[name].to_numpy() for name in ("subject_id", "prediction_time", "boolean_value")]
    broken = PredictionSet(model.task, "m", make_table(*columns, scores))
    found = by_name(evaluate([broken], groups={model.task: grouped(model, group)}, bootstrap=200))
    assert found["failed"].flagged
    assert found["failed"].gap.high < 0


def test_few_events_are_insufficient_and_one_class_is_not_estimable(make_models):
    (model, _), _ = make_models(n=1500)
    labels = model.table["boolean_value"].to_numpy()
    rank = np.cumsum(~labels)
    group = np.where(~labels & (rank <= 100), "healthy", np.where(np.arange(1500) < 300, "small", "large"))
    found = by_name(evaluate([model], groups={model.task: grouped(model, group)}, bootstrap=20))
    assert found["healthy"].status == "not estimable"
    assert found["small"].status == "insufficient"
    assert found["small"].auroc is None
    assert found["large"].status == "shown"


def test_cells_below_ten_are_hidden_and_cannot_be_worked_out(make_models):
    (model, _), _ = make_models(n=1500)
    group = np.array(["rare"] * 4 + ["uncommon"] * 200 + ["common"] * 1296)
    found = by_name(evaluate([model], groups={model.task: grouped(model, group)}, bootstrap=20))
    assert found["rare"].predictions is None
    assert found["rare"].status == "suppressed"
    assert found["uncommon"].predictions is None  # else the total would give `rare` away
    assert found["common"].predictions == 1296


def test_one_hidden_cell_hides_the_next_smallest():
    never = np.zeros(3, dtype=bool)
    assert hidden(np.array([3, 50, 20]), never).tolist() == [True, False, True]
    assert hidden(np.array([3, 5, 20]), never).tolist() == [True, True, False]
    assert hidden(np.array([30, 0, 20]), never).tolist() == [False, False, False]
