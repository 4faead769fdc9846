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
from chartscan.learn import teacher
from chartscan.learn.networks import NetworkRecipe, NetworkRun, base_rates
from chartscan.learn.teacher import Teacher, folds_of, mixed, out_of_fold
from chartscan.metrics.discrimination import auroc
from chartscan.models import gru, hymate_carried
from chartscan.objectives import classification, readouts
from chartscan.recipes import find_recipe
from chartscan.runs.work import Interrupted
from chartscan.tabular import xgboost
from chartscan.training import TrainConfig
from icu import TASK, interrupt_at, job, labels, make_icu, train

FEW_TREES = xgboost.Config(trees=8, max_depth=3, learning_rate=0.3, patience=None)
TEACHER = Teacher(model=FEW_TREES, folds=3)
ALONE = NetworkRecipe(
    model=gru.Config(d_model=4, channels=len(CHANNELS)),
    head=classification.Config(),
    reader=SeriesConfig(min_subjects=2, window_hours=24.0),
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


def mixed_of(run):
    """What the train labels of a run teach (n,)."""
    return run.mixed_answers[TASK]


def values(run, split):
    """The labels of a split (n,)."""
    return run.read.labels(split)[TASK]["boolean_value"].to_numpy(zero_copy_only=False)


def tables_of(ids, answers):
    """LABELS by task of subjects `ids` with answers (n, T), NaN where there is no label."""
    found = {}
    for task, column in enumerate(np.asarray(answers, float).reshape(len(ids), -1).T):
        known = ~np.isnan(column)
        columns = {"subject_id": pa.array(np.asarray(ids)[known]), "boolean_value": column[known] > 0.5}
        found[str(task)] = pa.table(columns)
    return found


def test_the_answers_are_those_computed_by_hand(dataset, tmp_path):
    run = NetworkRun(DISTILLED, asked(dataset, tmp_path))
    table = run.read.labels("train")[TASK]
    matrix, y = run.read.records["train"].matrix(table), values(run, "train")
    fold = folds_of({TASK: table}, 3, 0)[TASK]
    expected = np.empty(len(y))
    for number in range(3):
        trees = xgboost.fit(matrix[fold != number], y[fold != number], config=FEW_TREES, seed=0)
        expected[fold == number] = 0.5 * y[fold == number] + 0.5 * trees.predict_proba(matrix[fold == number])
    np.testing.assert_allclose(mixed_of(run), expected, rtol=1e-6)
    assert len(np.unique(expected)) > 4


def test_networks_of_tokens_have_teachers_too(dataset, tmp_path):
    """The teacher reads the matrix of any reader: here counts of tokens."""
    tokens = find_recipe("bilstm-tiny")
    small = msgspec.structs.replace(tokens.reader, min_subjects=2)
    recipe = msgspec.structs.replace(tokens, reader=small, teacher=TEACHER)
    run = NetworkRun(recipe, asked(dataset, tmp_path))
    table, y = run.read.labels("train")[TASK], values(run, "train")
    assert run.read.records["train"].matrix(table).shape == (len(y), run.read.reader.sizes[0] + 3)
    body = run.pretrained()
    batches = run.asked(body.model, "train", [TASK], run.mixed_answers)
    np.testing.assert_array_equal(batches.samples.labels, mixed_of(run))
    assert len(np.unique(mixed_of(run))) > 4
    assert ((mixed_of(run) >= 0.5) == y).all()  # half of each answer is the label's


def test_tuning_answers_and_base_rates_are_those_of_the_labels(dataset, tmp_path, monkeypatch):
    run = NetworkRun(DISTILLED, asked(dataset, tmp_path))
    body, given = run.pretrained(), []
    ask = run.asked

    def watched(model, split, tasks, answers=None):
        found = ask(model, split, tasks, answers)
        given.append((split, answers is not None, found.samples.labels))
        return found

    monkeypatch.setattr(run, "asked", watched)
    run.finetune(body.model, [TASK], "Fine-tuning")
    assert {(split, mixed) for split, mixed, _ in given} == {
        ("train", True),
        ("train", False),
        ("tuning", False),
    }
    for split, was_mixed, answers in given:
        assert was_mixed != np.array_equal(answers, values(run, split))
    y = values(run, "train")
    plain = run.asked(body.model, "train", [TASK])
    rates = base_rates(plain.samples.tasks, plain.samples.labels, 1)
    assert rates.item() == pytest.approx((y.sum() + 0.5) / (len(y) + 1))


def changed_by_own_answer(answer_for, n=60, features=20):
    """How many subjects' probability moves when their own answer is turned around."""
    random = np.random.default_rng(0)
    matrix, y = random.normal(size=(n, features)), random.random(n) < 0.5
    before, moved = answer_for(matrix, y), 0
    for row in range(0, n, 6):
        turned = y.copy()
        turned[row] = ~turned[row]
        moved += answer_for(matrix, turned)[row] != before[row]
    return moved


def test_no_answer_of_a_subject_reaches_its_own_probability():
    fold = np.arange(60) % 3

    def sound(matrix, y):
        return out_of_fold(TEACHER, matrix, y, fold, 0, 1)

    def leaking(matrix, y):  # the planted defect: trees taught by everybody
        return xgboost.fit(matrix, y, config=FEW_TREES).predict_proba(matrix)

    assert changed_by_own_answer(sound) == 0
    assert changed_by_own_answer(leaking) > 5


def test_a_teacher_of_noise_knows_nothing():
    random = np.random.default_rng(1)
    matrix, y = random.normal(size=(300, 10)), random.random(300) < 0.5
    deep = msgspec.structs.replace(FEW_TREES, trees=30, max_depth=6)
    said = out_of_fold(Teacher(model=deep), matrix, y, np.arange(300) % 5, 0, 1)
    assert abs(auroc(y, said) - 0.5) < 0.1
    leaked = xgboost.fit(matrix, y, config=deep).predict_proba(matrix)
    assert auroc(y, leaked) > 0.95


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 63), st.integers(2, 6), st.integers(0, 5))
def test_a_subject_is_in_one_fold_with_all_its_rows(n, folds, seed):
    random = np.random.default_rng(seed)
    ids = np.sort(random.integers(0, max(1, n // 2), n))
    labels = tables_of(ids, random.choice([0.0, 1.0, np.nan], (n, 2)))
    found: dict[int, set[int]] = {}
    for task, fold in folds_of(labels, folds, seed).items():
        for subject, number in zip(labels[task]["subject_id"].to_pylist(), fold.tolist(), strict=True):
            found.setdefault(subject, set()).add(number)
    assert all(len(numbers) == 1 for numbers in found.values())
    sizes = [sum(numbers == {number} for numbers in found.values()) for number in range(folds)]
    assert max(sizes) - min(sizes) <= 1


def test_folds_have_like_shares_of_positives():
    y = np.repeat([1.0, 0.0], [10, 53])
    fold = folds_of(tables_of(np.arange(63), y), 5, 0)["0"]
    assert [int(y[fold == number].sum()) for number in range(5)] == [2] * 5


def test_where_there_are_too_few_answers_the_labels_stay():
    y = np.array([1, 0, 0, 0, 0], bool)  # the one positive is missing among its own teachers
    said = out_of_fold(TEACHER, np.zeros((5, 2)), y, np.array([0, 0, 1, 1, 2]), 0, 1)
    assert np.isnan(said).all()
    for share in (0.0, 0.5, 1.0):
        np.testing.assert_array_equal(mixed(y.astype(np.float32), said, share), y)


def test_a_limit_of_labels_is_the_teacher_s_too(dataset, tmp_path):
    recipe = msgspec.structs.replace(DISTILLED, label_limit=40)
    one = asked(dataset, tmp_path)
    run = NetworkRun(recipe, one)
    may = run.read.labels("train")[TASK]["subject_id"].to_numpy()
    assert len(may) == len(mixed_of(run)) == 40 < len(one.subjects("train"))
    table = one.labels[TASK][0]
    turned = table["boolean_value"].to_numpy(zero_copy_only=False)
    turned = turned ^ ~np.isin(table["subject_id"].to_numpy(), may)
    other = table.set_column(table.schema.get_field_index("boolean_value"), "boolean_value", pa.array(turned))
    again = NetworkRun(recipe, asked(dataset, tmp_path, "other", labels={TASK: (other, None)}))
    np.testing.assert_array_equal(mixed_of(again), mixed_of(run))


def test_tuning_and_held_out_subjects_do_not_teach_the_teacher(dataset, tmp_path):
    one = asked(dataset, tmp_path)
    table = one.labels[TASK][0]
    others = ~np.isin(table["subject_id"].to_numpy(), one.subjects("train"))
    turned = table["boolean_value"].to_numpy(zero_copy_only=False) ^ others
    other = table.set_column(table.schema.get_field_index("boolean_value"), "boolean_value", pa.array(turned))
    two = asked(dataset, tmp_path, "other", labels={TASK: (other, None)})
    first, second = NetworkRun(DISTILLED, one), NetworkRun(DISTILLED, two)
    np.testing.assert_array_equal(mixed_of(first), mixed_of(second))
    assert (values(first, "tuning") != values(second, "tuning")).all()


def carried(teacher):
    """HyMaTE over the carried state, small: its inputs are fitted with labels."""
    return NetworkRecipe(
        model=hymate_carried.Config(channels=CHANNELS, d_model=8, n_layers=1, n_heads=2),
        head=readouts.Config(),
        reader=ALONE.reader,
        batch_size=32,
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
    monkeypatch.setattr(teacher, "out_of_fold", None)  # nothing is fitted again
    assert weights(train(DISTILLED, begun)) == weights(whole)
    again = artifact.load(begun.out).run["teacher"]
    assert again == artifact.load(whole).run["teacher"]


def test_the_number_of_threads_changes_nothing(dataset, tmp_path):
    one = asked(dataset, tmp_path)
    two = replace(asked(dataset, tmp_path, "two"), threads=2)
    first, second = (mixed_of(NetworkRun(DISTILLED, each)) for each in (one, two))
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


def test_networks_of_several_tasks_have_one_teacher(dataset, tmp_path, monkeypatch):
    """Its trees are fitted once, though each task is fine-tuned by itself."""
    calls, fit = [], teacher.out_of_fold
    monkeypatch.setattr(teacher, "out_of_fold", lambda *a: calls.append(1) or fit(*a))
    table, counts = labels(120)[TASK]
    two = {TASK: (table, counts), "other": (table.slice(0, 100), counts)}
    apart = msgspec.structs.replace(DISTILLED, together=False)
    train(apart, asked(dataset, tmp_path, labels=two))
    assert len(calls) == 2
