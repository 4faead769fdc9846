"""Models are compared on the same rows and resamples, or not at all."""

import numpy as np
import pyarrow as pa
import pytest

from chartscan.errors import ConfigError, DataError
from chartscan.evaluation import PredictionSet, evaluate
from chartscan.evaluation.compare import same_rows
from chartscan.metrics.discrimination import auroc


def columns(one):
    return (
        one.table["boolean_value"].to_numpy(),
        one.table["predicted_boolean_probability"].to_numpy().astype(float),
    )


def renamed(one, model, table=None):
    return PredictionSet(one.task, model, one.table if table is None else table, one.cohort, one.run)


def difference(evaluation, metric="auroc"):
    (found,) = [d for d in evaluation.tasks[0].differences if d.metric == metric]
    return found


def test_numbers_are_those_of_the_metrics(make_models):
    models, ceiling = make_models()
    task = evaluate(models, ceiling={models[0].task: ceiling}, bootstrap=50).tasks[0]
    for result, one in zip([task.models[0], task.models[1], task.ceiling], [*models, ceiling], strict=True):
        assert result.estimates["auroc"].value == pytest.approx(auroc(*columns(one)), abs=1e-12)
        assert (
            result.estimates["auroc"].low < result.estimates["auroc"].value < result.estimates["auroc"].high
        )
    assert task.events == int(columns(models[0])[0].sum())


def test_the_share_of_the_ceiling_is_the_way_from_chance(make_models):
    models, ceiling = make_models()
    task = evaluate(models, ceiling={models[0].task: ceiling}, bootstrap=200).tasks[0]
    expected = (auroc(*columns(models[0])) - 0.5) / (auroc(*columns(ceiling)) - 0.5)
    share = task.models[0].share_of_ceiling
    assert share.value == pytest.approx(expected)
    assert share.low < expected < share.high
    assert task.ceiling.share_of_ceiling is None


def test_a_model_does_not_differ_from_itself_in_any_resample(make_models):
    (model, _), _ = make_models()
    found = difference(evaluate([model, renamed(model, "twin")], bootstrap=50))
    assert (found.estimate.value, found.estimate.low, found.estimate.high) == (0, 0, 0)
    assert found.p == 1


def test_a_better_model_is_found_better_and_pairing_makes_the_interval_narrow(make_models):
    models, _ = make_models()
    evaluation = evaluate(models, bootstrap=400)
    found = difference(evaluation)
    good, worse = (m.estimates["auroc"] for m in evaluation.tasks[0].models)
    assert found.estimate.value == pytest.approx(good.value - worse.value)
    assert found.estimate.low > 0
    assert found.p < 0.01
    unpaired = np.hypot(good.high - good.low, worse.high - worse.low)
    assert found.estimate.high - found.estimate.low < unpaired


def test_row_order_changes_nothing(make_models):
    models, _ = make_models()
    order = np.random.default_rng(0).permutation(models[1].table.num_rows)
    shuffled = renamed(models[1], models[1].model, models[1].table.take(pa.array(order)))
    assert evaluate([models[0], shuffled], bootstrap=20).json() == evaluate(models, bootstrap=20).json()


def test_the_same_seed_gives_the_same_metrics_file_and_another_seed_does_not(make_models):
    models, _ = make_models()
    assert evaluate(models, bootstrap=20, seed=1).json() == evaluate(models, bootstrap=20, seed=1).json()
    assert evaluate(models, bootstrap=20, seed=1).json() != evaluate(models, bootstrap=20, seed=2).json()


def test_a_model_scored_alone_has_the_interval_it_has_in_company(make_models):
    models, _ = make_models()
    alone = evaluate(models[:1], bootstrap=30).tasks[0].models[0].estimates
    assert alone == evaluate(models, bootstrap=30).tasks[0].models[0].estimates


def test_different_test_sets_in_one_table_are_refused_with_counts(make_models):
    models, _ = make_models()
    fewer = renamed(models[1], "xgboost", models[1].table.slice(10))
    with pytest.raises(DataError, match=r"10 rows .* only in the first, 0 only in the second, 1490 in both"):
        evaluate([models[0], fewer], bootstrap=5)


def test_different_outcomes_for_one_question_are_refused(make_models):
    models, _ = make_models()
    table = models[1].table
    flipped = pa.array(~table["boolean_value"].to_numpy())
    other = table.set_column(2, table.schema.field(2), flipped)
    with pytest.raises(DataError, match="different outcomes in 1500 of 1500 rows"):
        evaluate([models[0], renamed(models[1], "xgboost", other)], bootstrap=5)


def test_a_row_given_twice_is_refused(make_models):
    (model, _), _ = make_models()
    twice = pa.concat_tables([model.table, model.table.slice(0, 3)])
    with pytest.raises(DataError, match="3 rows repeat"):
        same_rows([renamed(model, "twice", twice)])


def test_two_models_of_one_name_are_refused(make_models):
    (model, _), _ = make_models()
    with pytest.raises(DataError, match="a name of its own"):
        evaluate([model, model], bootstrap=5)


def test_a_ceiling_may_cover_more_rows_but_not_fewer(make_models):
    models, ceiling = make_models()
    part = [renamed(m, m.model, m.table.slice(0, 900)) for m in models]
    task = evaluate(part, ceiling={models[0].task: ceiling}, bootstrap=5).tasks[0]
    assert task.predictions == 900
    short = renamed(ceiling, "true risk", ceiling.table.slice(5))
    with pytest.raises(DataError, match="5 rows"):
        evaluate(models, ceiling={models[0].task: short}, bootstrap=5)


def test_nothing_to_evaluate_is_said(make_models):
    (model, _), _ = make_models()
    with pytest.raises(DataError, match="no predictions"):
        evaluate([])
    with pytest.raises(DataError, match="no predictions"):
        evaluate([renamed(model, "empty", model.table.slice(0, 0))])
    with pytest.raises(ConfigError, match="bootstrap"):
        evaluate([model], bootstrap=0)


@pytest.mark.parametrize("label", [True, False])
def test_one_class_gives_no_auroc_and_no_error(make_table, label):
    table = make_table([1, 2, 3], [1, 2, 3], [label] * 3, [0.1, 0.2, 0.3])
    task = evaluate([PredictionSet("t", "m", table)], bootstrap=20).tasks[0]
    assert task.models[0].estimates["auroc"].value is None
    assert task.models[0].estimates["brier"].value is not None
    assert task.undefined_resamples == 20
