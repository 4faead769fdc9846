"""Networks taught in part by trees: by trees that have not seen the subject, and nowhere but in train."""

from dataclasses import replace

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chartscan import artifact
from chartscan.errors import ConfigError
from chartscan.inputs.hourly import CHANNELS, SeriesConfig
from chartscan.learn.fitting.stays import Questions, fit_variables, questions_of, stays_of
from chartscan.learn.neural import teacher
from chartscan.learn.neural.series import SeriesRecipe, SeriesRun, base_rates
from chartscan.learn.neural.teacher import Teacher, fold_of_rows, mixed, untaught
from chartscan.metrics.discrimination import auroc
from chartscan.models import gru, hymate_carried
from chartscan.objectives import classification, readouts
from chartscan.prediction import summary_features
from chartscan.recipes import find_recipe
from chartscan.runs.work import Interrupted
from chartscan.tabular import xgboost
from chartscan.training import TrainConfig
from icu import TASK, interrupt_at, job, labels, make_icu, train

FEW_TREES = xgboost.Config(trees=8, max_depth=3, learning_rate=0.3, patience=None)
TEACHER = Teacher(model=FEW_TREES, folds=3)
ALONE = SeriesRecipe(
    model=gru.Config(d_model=4, channels=len(CHANNELS)),
    head=classification.Config(),
    series=SeriesConfig(min_subjects=2, window_hours=24.0),
    finetune=TrainConfig(learning_rate=5e-3, epochs=1),
    batch_size=32,
)
DISTILLED = msgspec.structs.replace(ALONE, teacher=TEACHER)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_icu(tmp_path_factory.mktemp("icu") / "data", subjects=120)


def asked(dataset, folder, name="run", **rest):
    return job(dataset, folder / name, labels=rest.pop("labels", None) or labels(120), **rest)


def weights(folder):
    """Every byte that decides predictions."""
    return [(folder / name).read_bytes() for name in ("weights.safetensors", "calibration.json")]


def rows_of(ids, answers):
    """Questions of subjects `ids` with answers (n,) or (n, T)."""
    answers = np.asarray(answers, np.float32)
    return Questions(pa.table({"subject_id": pa.array(ids, pa.int64())}), answers.reshape(len(ids), -1))


def test_the_answers_are_those_computed_by_hand(dataset, tmp_path):
    run = SeriesRun(DISTILLED, asked(dataset, tmp_path))
    one = asked(dataset, tmp_path, "by hand")
    variables, questions = fit_variables(one, ALONE.series), questions_of(one, "train", None, 0)
    matrix = summary_features(stays_of(one, "train", variables, questions), variables).matrix
    y = questions.answers[:, 0]
    fold = fold_of_rows(questions, 3, 0)
    expected = np.empty(len(y))
    for number in range(3):
        trees = xgboost.fit(matrix[fold != number], y[fold != number] == 1, config=FEW_TREES, seed=0)
        said = trees.predict_proba(matrix[fold == number])
        expected[fold == number] = 0.5 * y[fold == number] + 0.5 * said
    np.testing.assert_allclose(run.stores["train"].labels[:, 0], expected, rtol=1e-6)
    assert len(np.unique(expected)) > 4


def test_tuning_answers_and_base_rates_are_those_of_the_labels(dataset, tmp_path):
    run = SeriesRun(DISTILLED, asked(dataset, tmp_path))
    alone = SeriesRun(ALONE, asked(dataset, tmp_path, "alone"))
    np.testing.assert_array_equal(run.stores["tuning"].labels, alone.stores["tuning"].labels)
    answers = run.questions["train"].answers
    np.testing.assert_array_equal(answers, alone.stores["train"].labels)
    assert base_rates(answers) == base_rates(alone.questions["train"].answers)
    for one, other in zip(run._inputs("train"), alone._inputs("train"), strict=True):
        np.testing.assert_array_equal(one, other)


def changed_by_own_answer(answer_for, n=60, features=20):
    """How many subjects' probability moves when their own answer is turned around."""
    random = np.random.default_rng(0)
    matrix, y = random.normal(size=(n, features)), random.integers(0, 2, n).astype(np.float32)
    before, moved = answer_for(matrix, y), 0
    for row in range(0, n, 6):
        turned = y.copy()
        turned[row] = 1 - turned[row]
        moved += answer_for(matrix, turned)[row] != before[row]
    return moved


def test_no_answer_of_a_subject_reaches_its_own_probability():
    fold = np.arange(60) % 3

    def sound(matrix, y):
        return untaught(TEACHER, matrix, y, fold, 0, 1)

    def leaking(matrix, y):  # the planted defect: trees taught by everybody
        return xgboost.fit(matrix, y > 0.5, config=FEW_TREES).predict_proba(matrix)

    assert changed_by_own_answer(sound) == 0
    assert changed_by_own_answer(leaking) > 5


def test_a_teacher_of_noise_knows_nothing():
    random = np.random.default_rng(1)
    matrix, y = random.normal(size=(300, 10)), random.integers(0, 2, 300).astype(np.float32)
    deep = msgspec.structs.replace(FEW_TREES, trees=30, max_depth=6)
    said = untaught(Teacher(model=deep), matrix, y, np.arange(300) % 5, 0, 1)
    assert abs(auroc(y > 0.5, said) - 0.5) < 0.1
    leaked = xgboost.fit(matrix, y > 0.5, config=deep).predict_proba(matrix)
    assert auroc(y > 0.5, leaked) > 0.95


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 63), st.integers(2, 6), st.integers(0, 5))
def test_a_subject_is_in_one_fold_with_all_its_rows(n, folds, seed):
    random = np.random.default_rng(seed)
    ids = np.sort(random.integers(0, max(1, n // 2), n))
    answers = random.choice([0.0, 1.0, np.nan], (n, 2))
    fold = fold_of_rows(rows_of(ids, answers), folds, seed)
    for subject in np.unique(ids):
        assert len(set(fold[ids == subject])) == 1
        known = ~np.isnan(answers[ids == subject]).all()
        assert (fold[ids == subject][0] >= 0) == known
    sizes = [len(np.unique(ids[fold == number])) for number in range(folds)]
    assert max(sizes) - min(sizes) <= 1


def test_folds_have_like_shares_of_positives():
    y = np.repeat([1.0, 0.0], [10, 53])
    fold = fold_of_rows(rows_of(np.arange(63), y), 5, 0)
    assert [int(y[fold == number].sum()) for number in range(5)] == [2] * 5


def test_where_there_are_too_few_answers_the_labels_stay():
    y = np.array([1, 0, 0, 0, 0, np.nan], np.float32)  # the one positive is wanting among its own teachers
    said = untaught(TEACHER, np.zeros((6, 2)), y, np.array([0, 0, 1, 1, 2, 2]), 0, 1)
    assert np.isnan(said).all()
    for share in (0.0, 0.5, 1.0):
        np.testing.assert_array_equal(mixed(y[:, None], said[:, None], share)[:, 0], y)


def test_a_limit_of_labels_is_the_teacher_s_too(dataset, tmp_path):
    recipe = msgspec.structs.replace(DISTILLED, label_limit=40)
    one = asked(dataset, tmp_path)
    run = SeriesRun(recipe, one)
    may = ~np.isnan(run.questions["train"].answers[:, 0])
    assert may.sum() == 40 < len(may)
    np.testing.assert_array_equal(np.isnan(run.stores["train"].labels[:, 0]), ~may)
    table = one.labels[TASK][0]
    ids = run.questions["train"].rows["subject_id"].to_numpy()
    hidden = np.isin(table["subject_id"].to_numpy(), ids[~may])
    turned = table["boolean_value"].to_numpy(zero_copy_only=False) ^ hidden
    other = table.set_column(table.schema.get_field_index("boolean_value"), "boolean_value", pa.array(turned))
    again = SeriesRun(recipe, asked(dataset, tmp_path, "other", labels={TASK: (other, None)}))
    np.testing.assert_array_equal(again.stores["train"].labels, run.stores["train"].labels)


def test_tuning_and_held_out_subjects_do_not_teach_the_teacher(dataset, tmp_path):
    one = asked(dataset, tmp_path)
    table = one.labels[TASK][0]
    others = ~np.isin(table["subject_id"].to_numpy(), one.subjects("train"))
    turned = table["boolean_value"].to_numpy(zero_copy_only=False) ^ others
    other = table.set_column(table.schema.get_field_index("boolean_value"), "boolean_value", pa.array(turned))
    two = asked(dataset, tmp_path, "other", labels={TASK: (other, None)})
    first, second = SeriesRun(DISTILLED, one), SeriesRun(DISTILLED, two)
    np.testing.assert_array_equal(first.stores["train"].labels, second.stores["train"].labels)
    assert (first.stores["tuning"].labels != second.stores["tuning"].labels).all()


def carried(teacher):
    """HyMaTE over the carried state, small: its inputs are fitted with labels."""
    return SeriesRecipe(
        model=hymate_carried.Config(channels=CHANNELS, d_model=8, n_layers=1, n_heads=2),
        head=readouts.Config(),
        series=ALONE.series,
        finetune=ALONE.finetune,
        teacher=teacher,
    )


@pytest.mark.parametrize("recipe", [ALONE, carried(None)])
def test_a_teacher_without_a_share_changes_no_bit(dataset, tmp_path, recipe):
    silent = msgspec.structs.replace(recipe, teacher=msgspec.structs.replace(TEACHER, share=0.0))
    heard = msgspec.structs.replace(recipe, teacher=TEACHER)
    alone, nothing, half = (
        train(one, asked(dataset, tmp_path, name))
        for name, one in (("alone", recipe), ("silent", silent), ("heard", heard))
    )
    assert weights(nothing) == weights(alone)
    assert weights(half)[0] != weights(alone)[0]


def test_the_artifact_says_that_it_has_learned_from_trees(dataset, tmp_path):
    found = artifact.load(train(DISTILLED, asked(dataset, tmp_path))).run
    assert "boosted trees" in found["teacher"]["learned_from"]
    assert (found["teacher"]["folds"], found["teacher"]["share"]) == (3, 0.5)
    assert found["teacher"]["out_of_fold"][TASK]["auroc"] > 0.7
    assert found["recipe"]["teacher"]["model"]["trees"] == 8
    assert artifact.load(train(ALONE, asked(dataset, tmp_path, "alone"))).run["teacher"] is None


def test_an_interrupted_run_goes_on_with_the_same_teacher(dataset, tmp_path, monkeypatch):
    whole = train(DISTILLED, asked(dataset, tmp_path, "whole"))
    interrupt_at(monkeypatch, "Fine-tuning", step=1)
    with pytest.raises(Interrupted):
        train(DISTILLED, asked(dataset, tmp_path))
    monkeypatch.undo()
    begun = asked(dataset, tmp_path, resume=True)
    other = msgspec.structs.replace(DISTILLED, teacher=msgspec.structs.replace(TEACHER, share=0.4))
    with pytest.raises(ConfigError, match=r"teacher\.share"):
        train(other, begun)
    monkeypatch.setattr(teacher, "untaught", None)  # nothing is fitted again
    assert weights(train(DISTILLED, begun)) == weights(whole)
    again = artifact.load(begun.out).run["teacher"]
    assert again == artifact.load(whole).run["teacher"]


def test_the_number_of_threads_changes_nothing(dataset, tmp_path):
    one = asked(dataset, tmp_path)
    two = replace(asked(dataset, tmp_path, "two"), threads=2)
    first, second = (SeriesRun(DISTILLED, each).stores["train"].labels for each in (one, two))
    np.testing.assert_array_equal(first, second)


def test_the_distilled_recipe_is_hymate_with_a_teacher():
    distilled, plain = (find_recipe(name) for name in ("hymate-distilled", "hymate"))
    assert distilled.teacher == Teacher()
    assert plain.teacher is None
    assert msgspec.structs.replace(distilled, teacher=None, refit=True) == plain


def test_settings_that_cannot_work_are_refused():
    for wrong in ({"folds": 1}, {"share": -0.1}, {"share": 1.1}):
        with pytest.raises(ConfigError, match=r"teacher\."):
            Teacher(**wrong)
