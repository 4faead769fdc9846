"""Series recipes end to end on a small simulated intensive care unit."""

import json

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from chartscan import artifact
from chartscan.errors import ConfigError
from chartscan.inputs.hourly import CHANNELS, SeriesConfig
from chartscan.learn.networks import NetworkRecipe, NetworkRun
from chartscan.models import gru, hymate, hymate_carried
from chartscan.objectives import classification, readouts
from chartscan.runs import work
from chartscan.runs.seen import seen
from chartscan.runs.work import Interrupted
from chartscan.training import TrainConfig
from icu import TASK, interrupt_at, job, labels, make_icu, train

SERIES = SeriesConfig(min_subjects=2, window_hours=24.0)
QUICK = TrainConfig(learning_rate=5e-3, epochs=2, average_decay=0.9, metric="auroc", direction="max")
GRU = NetworkRecipe(
    model=gru.Config(d_model=8, channels=len(CHANNELS)),
    head=classification.Config(),
    reader=SERIES,
    finetune=QUICK,
    batch_size=16,
)
HYMATE = NetworkRecipe(
    model=hymate.Config(d_model=8, n_layers=1, n_heads=2, d_state=4),
    head=classification.Config(),
    reader=SERIES,
    pretrain=TrainConfig(learning_rate=5e-3, epochs=2, patience=5),
    finetune=QUICK,
    batch_size=16,
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_icu(tmp_path_factory.mktemp("icu") / "data")


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    """A trained GRU."""
    return train(GRU, job(dataset, tmp_path_factory.mktemp("gru") / "run"))


def weights(folder):
    """Every byte that decides predictions."""
    return [(folder / name).read_bytes() for name in ("weights.safetensors", "calibration.json")]


def test_the_artifact_says_how_it_came_about(run, dataset):
    found = artifact.load(run)
    assert found.tasks == (TASK,)
    assert found.run["parameters"] == sum(
        p.numel() for part in found.network.parts.values() for p in part.parameters()
    )
    assert set(found.run["seconds_per_epoch"]) == {"fine-tuning"}
    assert found.run["seconds_per_epoch"]["fine-tuning"] > 0
    assert {"loss", "auroc", "average_precision"} <= found.run["tuning"].keys()
    assert seen(found.run, dataset.subject_ids("train")) == len(dataset.subject_ids("train"))
    assert seen(found.run, dataset.subject_ids("held_out")) == 0
    assert not run.with_name("run.work").exists()


def test_a_signal_in_the_data_is_learned(run):
    assert artifact.load(run).run["tuning"]["auroc"] > 0.8


def test_the_same_seed_gives_the_same_weights_and_another_does_not(dataset, run, tmp_path):
    assert weights(train(GRU, job(dataset, tmp_path / "again"))) == weights(run)
    other = train(msgspec.structs.replace(GRU, seed=1), job(dataset, tmp_path / "other"))
    assert weights(other)[0] != weights(run)[0]


@pytest.mark.parametrize("phase", ["Pretraining", "Fine-tuning"])
def test_an_interrupted_run_goes_on_to_the_same_weights(dataset, tmp_path, phase, monkeypatch):
    whole = train(HYMATE, job(dataset, tmp_path / "whole"))
    interrupt_at(monkeypatch, phase, step=3)
    with pytest.raises(Interrupted, match=phase):
        train(HYMATE, job(dataset, tmp_path / "run"))
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="--resume"):
        train(HYMATE, job(dataset, tmp_path / "run"))
    assert weights(train(HYMATE, job(dataset, tmp_path / "run", resume=True))) == weights(whole)


def test_a_run_is_resumed_only_with_the_settings_it_was_begun_with(dataset, tmp_path, monkeypatch):
    interrupt_at(monkeypatch, "Fine-tuning", step=3)
    with pytest.raises(Interrupted):
        train(GRU, job(dataset, tmp_path / "run"))
    other = msgspec.structs.replace(GRU, batch_size=8)
    with pytest.raises(ConfigError, match="batch_size"):
        train(other, job(dataset, tmp_path / "run", resume=True))
    ids = dataset.subject_ids("tuning")
    division = {"train": ids, "tuning": dataset.subject_ids("train"), "held_out": ids[:0]}
    with pytest.raises(ConfigError, match="subjects of train"):
        train(GRU, job(dataset, tmp_path / "run", resume=True, division=division))


def test_pretraining_sees_stays_whose_labels_may_not_be_used(dataset, tmp_path):
    limited = msgspec.structs.replace(HYMATE, label_limit=60)
    found, whole = (
        artifact.load(train(recipe, job(dataset, tmp_path / name))).run
        for name, recipe in (("few", limited), ("all", HYMATE))
    )
    assert (
        found["curves"]["pretraining/losses"][0]["tokens"]
        == whole["curves"]["pretraining/losses"][0]["tokens"]
    )
    answered = [sum(row["tokens"] for row in run["curves"]["fine-tuning/losses"]) for run in (found, whole)]
    assert answered[0] == 60 * HYMATE.finetune.epochs < answered[1]


def test_the_last_weights_are_kept_where_the_recipe_says_so(dataset, tmp_path):
    config = msgspec.structs.replace(QUICK, keep="last", epochs=3)
    found = artifact.load(
        train(msgspec.structs.replace(GRU, finetune=config), job(dataset, tmp_path / "run"))
    )
    evaluations = found.run["curves"]["fine-tuning/evaluations"]
    assert found.run["tuning"]["loss"] == evaluations[-1]["loss"]


def test_settings_that_cannot_work_are_refused():
    for wrong in (
        {"finetune": TrainConfig(metric="auroc")},  # larger is better
        {"finetune": TrainConfig(metric="accuracy")},
        {"batch_size": 0},
        {"label_limit": 0},
    ):
        with pytest.raises(ConfigError, match="out of range"):
            msgspec.structs.replace(GRU, **wrong)
    with pytest.raises(ConfigError, match="keep=best"):
        TrainConfig(keep="last", patience=2)


def test_the_run_record_is_plain_json(run):
    record = json.loads((run / "run.json").read_bytes())
    assert record["recipe"]["model"]["d_model"] == 8


def body_of(dataset, folder, recipe):
    """A network that was only pretrained, or made."""
    alone = msgspec.structs.replace(recipe, finetune=None, refit=False)
    return train(alone, job(dataset, folder / "body"))


CARRIED = msgspec.structs.replace(
    GRU,
    model=hymate_carried.Config(channels=CHANNELS, d_model=8, n_layers=1, n_heads=2),
    head=readouts.Config(),
)


@pytest.mark.parametrize("recipe", [HYMATE, CARRIED], ids=["triplets", "carried"])
def test_a_run_starts_from_the_weights_and_the_variables_of_another(dataset, tmp_path, recipe):
    body = body_of(dataset, tmp_path, recipe)
    given = artifact.load(body)
    assert (given.tasks, given.network.heads) == ((), {})
    begun = msgspec.structs.replace(recipe, pretrain=None, start_from=str(body))
    run = NetworkRun(begun, job(dataset, tmp_path / "run"))
    for name, weights_of in run.pretrained().model.state_dict().items():
        assert weights_of.equal(given.network.model.state_dict()[name])
    found = artifact.load(train(begun, job(dataset, tmp_path / "run")))
    assert found.reader == given.reader
    assert found.tasks == (TASK,)


def test_each_task_has_a_network_of_its_own_where_the_recipe_says_so(dataset, tmp_path):
    """And no task's network depends on which others there are."""
    table, counts = labels()[TASK]
    recipe, members = msgspec.structs.replace(GRU, together=False), []
    for other, rows in (("other", 100), ("third", 120)):
        two = {TASK: (table, counts), other: (table.slice(0, rows), counts)}
        out = train(recipe, job(dataset, tmp_path / other, labels=two))
        assert [member.tasks for member in artifact.load(out).members] == [(TASK,), (other,)]
        members.append((out / "member-0" / "weights.safetensors").read_bytes())
    assert members[0] == members[1]


def test_a_network_that_was_fitted_to_tuning_subjects_is_no_start(dataset, tmp_path):
    last = msgspec.structs.replace(QUICK, keep="last", epochs=1)
    refitted = train(
        msgspec.structs.replace(GRU, finetune=last, refit=True), job(dataset, tmp_path / "refit")
    )
    ids = dataset.subject_ids
    train_ids, tuning_ids, n = ids("train"), ids("tuning"), len(ids("tuning"))
    fold = {  # of the sizes of the dataset's own splits
        "train": np.sort(np.concatenate([train_ids[n:], tuning_ids])),
        "tuning": train_ids[:n],
        "held_out": ids("held_out"),
    }
    member = train(GRU, job(dataset, tmp_path / "member", division=fold))
    for start, words in ((refitted, "refitted on its tuning"), (member, "tuning and held_out splits")):
        begun = msgspec.structs.replace(GRU, start_from=str(start))
        with pytest.raises(ConfigError, match=words):
            train(begun, job(dataset, tmp_path / f"from-{start.name}"))


def test_networks_train_the_same_under_a_wrapper_for_several_processes(dataset, tmp_path, monkeypatch):
    """Every phase with its evaluations, in one process of torch's DistributedDataParallel."""
    alone = train(HYMATE, job(dataset, tmp_path / "alone"))
    fit, wrapped = work.fit, []

    def under_a_wrapper(module, *arguments, **rest):
        wrapped.append(nn.parallel.DistributedDataParallel(module, find_unused_parameters=True))
        return fit(wrapped[-1], *arguments, **rest)

    monkeypatch.setattr(work, "fit", under_a_wrapper)
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        found = train(HYMATE, job(dataset, tmp_path / "wrapped"))
    finally:
        torch.distributed.destroy_process_group()
    assert len(wrapped) == 2
    assert weights(found) == weights(alone)
