"""Ensembles end to end: what they are made of, who taught whom, and how they go on after an interruption."""

import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from chartscan import artifact
from chartscan.errors import ConfigError
from chartscan.interpret.explanation import voices
from chartscan.learn import members
from chartscan.learn.ensembles import EnsembleRecipe, stacked
from chartscan.learn.members import Member
from chartscan.learn.trees import TabularRecipe
from chartscan.prediction import log_odds, predict
from chartscan.recipes import find_recipe
from chartscan.runs.job import Job
from chartscan.runs.seen import seen
from chartscan.runs.work import Interrupted
from chartscan.schema import HELD_OUT, TRAIN, TUNING
from chartscan.settings import with_settings
from icu import TASK, interrupt_at, job, labels, make_icu, train

TREES = ("model.max_trees=20", "model.patience=20")
GRU = ("model.d_model=4", "finetune.epochs=1")


def member(name, settings=(), seeds=(0,)):
    return Member(name, with_settings(find_recipe(name), settings), seeds)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_icu(tmp_path_factory.mktemp("icu") / "data")


def answers(folder, job_, split=HELD_OUT):
    """Raw log odds of the artifact in `folder`."""
    asked = {TASK: job_.labels_of(TASK, split)}
    return log_odds(artifact.load(folder), lambda: job_.tables(split), asked)[TASK]


@pytest.mark.parametrize(("name", "settings"), [("gru", GRU), ("xgboost-summary", TREES)])
def test_one_member_of_equal_weight_predicts_as_that_member(dataset, tmp_path, name, settings):
    recipe = EnsembleRecipe(members=(member(name, settings),), weights="equal")
    ensemble = train(recipe, job(dataset, tmp_path / "ensemble"))
    alone = job(dataset, tmp_path / "alone")
    train(with_settings(find_recipe(name), settings), alone)
    np.testing.assert_array_equal(answers(ensemble, alone), answers(alone.out, alone))
    asked = {TASK: alone.labels_of(TASK, HELD_OUT)}
    both = [
        predict(artifact.load(a), lambda: alone.tables(HELD_OUT), asked)[TASK] for a in (ensemble, alone.out)
    ]
    assert both[0].equals(both[1])


def test_token_models_of_several_seeds_weigh_alike_and_can_be_explained_together(dataset, tmp_path):
    settings = ("pretrain=null", "finetune.epochs=1", "model.d_model=8", "model.n_layers=1")
    members = (member("ehrmamba-tiny", settings, seeds=(0, 1)),)
    recipe = msgspec.structs.replace(find_recipe("ehrmamba-seeds"), members=members)
    out = train(recipe, job(dataset, tmp_path / "run"))
    found = voices(artifact.load(out), out)[TASK]
    assert found.weights == (0.5, 0.5)
    first, second = (member.network.model.embedding.codes.weight for member in found.members)
    assert not first.equal(second)


CROSS_FITTED = EnsembleRecipe(
    members=(member("xgboost-summary", TREES, seeds=(0, 1)), member("logistic-summary")), folds=3
)


@pytest.fixture(scope="module")
def cross_fitted(dataset, tmp_path_factory):
    return train(CROSS_FITTED, job(dataset, tmp_path_factory.mktemp("ensemble") / "run"))


def test_weights_are_those_of_stacking_answers_to_the_untaught(dataset, cross_fitted):
    """Everything done again by hand, from the artifact's members."""
    found = artifact.load(cross_fitted)
    one = job(dataset, cross_fitted.with_name("unused"))
    pooled = members.pooled_labels(one, None, 0)
    said = np.zeros((pooled[TASK].num_rows, 2))
    ours = iter(found.members)
    for entry, seeds in enumerate(((0, 1), (0,))):
        for seed in seeds:
            for division in members.divisions(one, pooled, 3, seed):
                rows = np.isin(pooled[TASK]["subject_id"].to_numpy(), division[TUNING])
                asked = {TASK: pooled[TASK].filter(rows)}
                answered = log_odds(next(ours), lambda: map(dataset.read_shard, dataset.shards()), asked)
                said[rows, entry] += answered[TASK] / len(seeds)
    truth = pooled[TASK]["boolean_value"].to_numpy(zero_copy_only=False)
    expected = stacked(said, truth)
    shares = np.repeat(expected.weights / (6, 3), (6, 3))
    np.testing.assert_allclose(found.weights[TASK], shares, rtol=1e-9, atol=1e-12)
    assert found.intercept[TASK] == pytest.approx(expected.intercept)
    assert found.calibration[TASK].rows == len(truth)
    assert found.run["blend"][TASK]["entries"] == pytest.approx(expected.weights.tolist())


def test_everybody_but_the_held_out_counts_as_seen(dataset, cross_fitted):
    run = artifact.load(cross_fitted).run
    for split, share in ((TRAIN, 1), (TUNING, 1), (HELD_OUT, 0)):
        assert seen(run, dataset.subject_ids(split)) == share * len(dataset.subject_ids(split))


@pytest.mark.parametrize("folds", [None, 2, 5])
def test_every_member_is_taught_by_others_than_it_is_asked_about(dataset, tmp_path, folds):
    one = job(dataset, tmp_path / "run")
    pooled = members.pooled_labels(one, None, 0)
    found = members.divisions(one, pooled, folds, seed=3)
    pool = np.union1d(one.subjects(TRAIN), one.subjects(TUNING))
    for division in found:
        assert not np.intersect1d(division[TRAIN], division[TUNING]).size
        np.testing.assert_array_equal(np.union1d(division[TRAIN], division[TUNING]), pool)
        np.testing.assert_array_equal(division[HELD_OUT], one.subjects(HELD_OUT))
    tuned = np.concatenate([division[TUNING] for division in found])
    np.testing.assert_array_equal(np.sort(tuned), pool if folds else one.subjects(TUNING))


MEMORY = EnsembleRecipe(  # deep trees that learn every stay by heart
    members=(
        member("xgboost-summary", ("model.max_depth=12", "model.min_child_weight=0", "model.l2=0",
                                   "model.column_sample=1", "model.subsample=1", "model.learning_rate=0.3",
                                   "model.max_trees=40", "model.patience=40")),
    ),
    folds=2,
)  # fmt: skip


def test_where_there_is_nothing_to_learn_the_untaught_are_not_known(tmp_path):
    noise = make_icu(tmp_path / "data", signal=0.0)
    run = artifact.load(train(MEMORY, job(noise, tmp_path / "run"))).run
    assert 0.3 < run["tuning"][TASK]["blend"]["auroc"] < 0.7


def test_a_fold_that_teaches_its_own_member_is_caught(tmp_path, monkeypatch):
    """The planted leak is refused; and where nothing refused it, the test above would fail."""
    noise = make_icu(tmp_path / "data", signal=0.0)
    sound = members.divisions

    def leaking(*arguments):
        return [{**d, TRAIN: np.union1d(d[TRAIN], d[TUNING])} for d in sound(*arguments)]

    monkeypatch.setattr(members, "divisions", leaking)
    with pytest.raises(ConfigError, match="in two splits"):
        train(MEMORY, job(noise, tmp_path / "run"))
    monkeypatch.setattr(Job, "__post_init__", lambda self: None)
    run = artifact.load(train(MEMORY, job(noise, tmp_path / "leak"))).run
    assert run["tuning"][TASK]["blend"]["auroc"] > 0.95


def test_an_interrupted_ensemble_goes_on_and_predicts_the_same(dataset, cross_fitted, tmp_path, monkeypatch):
    calls = []
    fit = TabularRecipe.train

    def interrupted(self, job_):
        calls.append(job_.out.name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return fit(self, job_)

    monkeypatch.setattr(TabularRecipe, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(CROSS_FITTED, job(dataset, tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="--resume"):
        train(CROSS_FITTED, job(dataset, tmp_path / "run"))
    resumed = train(CROSS_FITTED, job(dataset, tmp_path / "run", resume=True))
    assert calls[2] == calls[3]
    assert len(calls) == 1 + 9  # nothing finished was done again
    one = job(dataset, tmp_path / "unused")
    np.testing.assert_array_equal(answers(resumed, one), answers(cross_fitted, one))
    for name in ("blend.json", "calibration.json"):
        assert (resumed / name).read_bytes() == (cross_fitted / name).read_bytes()


def test_a_member_interrupted_in_its_training_goes_on_where_it_was(dataset, tmp_path, monkeypatch):
    recipe = EnsembleRecipe(members=(member("gru", GRU),), folds=2)
    whole = train(recipe, job(dataset, tmp_path / "whole"))
    interrupt_at(monkeypatch, "Fine-tuning", step=1)
    with pytest.raises(Interrupted):
        train(recipe, job(dataset, tmp_path / "run"))
    monkeypatch.undo()
    resumed = train(recipe, job(dataset, tmp_path / "run", resume=True))
    one = job(dataset, tmp_path / "unused")
    np.testing.assert_array_equal(answers(resumed, one), answers(whole, one))


def test_a_member_of_other_settings_is_not_taken_for_a_finished_one(dataset, tmp_path):
    one = job(dataset, tmp_path / "run")
    pooled = members.pooled_labels(one, None, 0)
    wanted = members.trainings(one, pooled, CROSS_FITTED.members, None, 0)[:1]
    ((training, _),) = members.trained(one, pooled, wanted)
    with pytest.raises(ConfigError, match="other settings"):
        list(members.trained(one, pooled, [with_recipe(training, seed=5)]))


def with_recipe(training, **settings):
    """The training with other settings of its recipe, in the same folder."""
    return replace(training, recipe=msgspec.structs.replace(training.recipe, **settings))


def test_held_out_labels_change_nothing(dataset, cross_fitted, tmp_path):
    table = labels()[TASK][0]
    kept = ~np.isin(table["subject_id"].to_numpy(), dataset.subject_ids(HELD_OUT))
    found = train(CROSS_FITTED, job(dataset, tmp_path / "run", labels={TASK: (table.filter(kept), None)}))
    assert (found / "blend.json").read_bytes() == (cross_fitted / "blend.json").read_bytes()


def test_few_labels_are_few_for_members_and_blend_alike(dataset, tmp_path):
    recipe = msgspec.structs.replace(CROSS_FITTED, label_limit=60, weights="equal")
    found = artifact.load(train(recipe, job(dataset, tmp_path / "run")))
    limited = json.loads((tmp_path / "run" / "member-0" / "run.json").read_bytes())["labels"][TASK]["rows"]
    assert limited <= 60 + 15
    assert found.weights[TASK].sum() == pytest.approx(1)


def test_settings_that_cannot_work_are_refused():
    for wrong in ({"members": ()}, {"folds": 1}, {"seed": -1}, {"label_limit": 0}):
        with pytest.raises(ConfigError, match="out of range"):
            msgspec.structs.replace(CROSS_FITTED, **wrong)
    for seeds in ((), (0, 0), (-1,), (1000,)):
        with pytest.raises(ConfigError, match="different numbers"):
            member("gru", seeds=seeds)
