"""The recipe `hymate` made tiny by settings, from events to predictions of the held out."""

import json

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from chartscan import artifact
from chartscan.commands.train import recipe_of
from chartscan.errors import ConfigError
from chartscan.inputs.hourly import CHANNELS, carried, stays
from chartscan.learn.ensembles import EnsembleRecipe
from chartscan.learn.members import Member
from chartscan.learn.teacher import Teacher
from chartscan.prediction import predict
from chartscan.runs.work import Interrupted
from chartscan.schema import PREDICTIONS
from chartscan.training import TrainConfig
from icu import TASK, deaths, interrupt_at, job, labels, make_icu, train

TINY = [
    "model.d_model=8",
    "model.n_heads=2",
    "model.d_state=4",
    "model.bins=3",
    "head.wide_hidden=4",
    "head.hidden=8",
    "head.members=2",
    "head.sequence_hidden=4",
    "reader.min_subjects=2",
    "reader.window_hours=24",
    "finetune.epochs=3",
    "finetune.learning_rate=5e-3",
    "batch_size=16",
]
RECIPE = recipe_of("hymate", TINY)
UNREFITTED = recipe_of("hymate", [*TINY, "refit=false"])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_icu(tmp_path_factory.mktemp("icu") / "data")


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    return train(RECIPE, job(dataset, tmp_path_factory.mktemp("hymate") / "run"))


@pytest.fixture(scope="module")
def unrefitted(dataset, tmp_path_factory):
    return train(UNREFITTED, job(dataset, tmp_path_factory.mktemp("hymate") / "run"))


def weights(folder):
    """Every byte that decides predictions."""
    return [(folder / name).read_bytes() for name in ("weights.safetensors", "calibration.json")]


def asked(dataset, split):
    """The labels of a split's subjects."""
    table, _ = labels()[TASK]
    return {TASK: table.filter(np.isin(table["subject_id"].to_numpy(), dataset.subject_ids(split)))}


def test_the_held_out_are_told_apart(run, dataset, tmp_path):
    questions = asked(dataset, "held_out")
    tables = job(dataset, tmp_path).tables
    found = predict(artifact.load(run), lambda: tables("held_out"), questions)[TASK]
    assert found.schema.equals(PREDICTIONS)
    assert found["subject_id"].equals(questions[TASK]["subject_id"])
    truth = deaths(160)[found["subject_id"].to_numpy() - 1]
    assert roc_auc_score(truth, found["predicted_boolean_probability"].to_numpy()) > 0.8


def test_the_artifact_holds_what_was_trained(run):
    found = artifact.load(run)
    assert (found.name, found.tasks) == ("hymate_carried", (TASK,))
    assert found.network.head_config == RECIPE.head
    assert found.network.answering.forecast is not None
    assert set(found.run["seconds_per_epoch"]) == {"fine-tuning", "refitting"}
    assert found.run["parameters"] == sum(
        p.numel() for x in found.network.parts.values() for p in x.parameters()
    )
    record = json.loads((run / "run.json").read_bytes())
    assert record["recipe"]["finetune"]["faster"] == RECIPE.finetune.faster


@pytest.mark.parametrize("splits", [("train",), ("train", "tuning")])
def test_bins_and_scores_are_of_the_taught_stays_at_their_end(run, unrefitted, dataset, tmp_path, splits):
    found = artifact.load(run if "tuning" in splits else unrefitted)
    one = job(dataset, tmp_path)
    each = [stays([*one.tables(s)], found.reader.variables, asked(dataset, s)[TASK]) for s in splits]
    ends = np.stack([carried(stay, found.reader.variables, 24.0)[-1] for part in each for stay in part])
    features = ends[..., found.network.model.carried].reshape(len(ends), -1)
    name = next(i for i, n in enumerate(found.network.model.carried) if CHANNELS[n] == "ever")
    levels = np.linspace(0, 1, RECIPE.model.bins + 1)
    np.testing.assert_allclose(found.network.model.bins.edges[name], np.quantile(features[:, name], levels))
    seen = features[:, name] > 0
    for channel in ("running_count", "running_mean"):
        column = next(i for i, n in enumerate(found.network.model.carried) if CHANNELS[n] == channel)
        expected = np.quantile(features[seen, column], levels)
        np.testing.assert_allclose(found.network.model.bins.edges[column], expected, atol=1e-6)
        assert len(np.unique(expected)) > 2


def test_a_refitted_run_keeps_the_calibration_and_tuning_scores_of_the_first(run, unrefitted):
    (weights_after, calibrated_after), (weights_before, calibrated_before) = weights(run), weights(unrefitted)
    assert calibrated_after == calibrated_before
    assert weights_after != weights_before
    assert artifact.load(run).run["tuning"] == artifact.load(unrefitted).run["tuning"]


def test_a_refit_makes_as_many_epochs_of_everybody(run, dataset):
    curves = artifact.load(run).run["curves"]
    known = len(dataset.subject_ids("train")) + len(dataset.subject_ids("tuning"))
    steps = RECIPE.finetune.epochs * -(-known // RECIPE.batch_size)
    assert curves["refitting/losses"][-1]["step"] == steps > curves["fine-tuning/losses"][-1]["step"]
    assert curves["refitting/evaluations"] == []


def test_answers_of_tuning_subjects_teach_a_refitted_run_alone(run, unrefitted, dataset, tmp_path):
    table, _ = labels()[TASK]
    turned = np.isin(table["subject_id"].to_numpy(), dataset.subject_ids("tuning"))
    answers = table["boolean_value"].to_numpy(zero_copy_only=False) ^ turned
    other = {TASK: (table.set_column(2, "boolean_value", pa.array(answers)), None)}
    without = train(UNREFITTED, job(dataset, tmp_path / "without", labels=other))
    refitted = train(RECIPE, job(dataset, tmp_path / "with", labels=other))
    assert weights(without)[0] == weights(unrefitted)[0]
    assert weights(refitted)[0] != weights(run)[0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"finetune": msgspec.structs.replace(RECIPE.finetune, keep="best")},
        {"pretrain": TrainConfig()},
        {"teacher": Teacher()},
    ],
)
def test_a_refit_of_what_is_not_fixed_beforehand_is_refused(wrong):
    with pytest.raises(ConfigError, match="refit"):
        msgspec.structs.replace(RECIPE, **wrong)
    msgspec.structs.replace(UNREFITTED, **wrong)


def test_a_member_of_an_ensemble_is_not_taught_by_those_it_is_asked_about(dataset, tmp_path):
    ensemble = EnsembleRecipe(members=(Member("hymate", recipe_of("hymate", TINY)),), folds=3)
    with pytest.raises(ConfigError, match="refit=false"):
        train(ensemble, job(dataset, tmp_path / "run"))
    for name in ("hymate-folds", "hymate-blend"):
        assert not any(getattr(member.recipe, "refit", False) for member in recipe_of(name, []).members)


def test_another_seed_gives_other_weights(run, dataset, tmp_path):
    other = train(recipe_of("hymate", [*TINY, "seed=1"]), job(dataset, tmp_path / "run"))
    assert weights(other)[0] != weights(run)[0]


@pytest.mark.parametrize(
    ("left_out", "phase"),
    [
        ([], "Fine-tuning"),
        ([], "Refitting"),
        (["head.sequence_weight=0"], "Refitting"),
        (["head.wide_weight=0", "head.network_weight=0", "model.n_layers=0"], "Fine-tuning"),
    ],
)
def test_an_interrupted_run_goes_on_to_the_same_weights(run, dataset, tmp_path, left_out, phase, monkeypatch):
    recipe = recipe_of("hymate", [*TINY, *left_out])
    whole = train(recipe, job(dataset, tmp_path / "whole")) if left_out else run
    interrupt_at(monkeypatch, phase, step=8)
    with pytest.raises(Interrupted):
        train(recipe, job(dataset, tmp_path / "run"))
    monkeypatch.undo()
    assert weights(train(recipe, job(dataset, tmp_path / "run", resume=True))) == weights(whole)
