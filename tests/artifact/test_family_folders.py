"""Artifacts of time series and ensembles: what goes in comes out, and what is damaged is refused by name."""

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from chartscan import files
from chartscan.artifact import Artifact, Ensemble, Network, load, save
from chartscan.errors import ConfigError, DataError
from chartscan.prediction import log_odds
from family_artifacts import (
    BINS,
    CALIBRATION,
    RUN,
    SERIES,
    TASKS,
    TOKENS,
    ensemble,
    labels,
    records,
    sequence_artifact,
    series_artifact,
    summary_artifact,
    tabular_artifact,
    token_labels,
    token_records,
    variables,
)


def answers(artifact):
    return log_odds(artifact, lambda: [records()], {task: labels() for task in TASKS})


def same_answers(a, b):
    found, wanted = answers(a), answers(b)
    for task in TASKS:
        np.testing.assert_array_equal(found[task], wanted[task])


@pytest.mark.parametrize("name", SERIES)
def test_a_loaded_series_model_gives_the_same_answers_to_the_last_bit(tmp_path, name):
    before = series_artifact(name)
    save(tmp_path / "run", before)
    after = load(tmp_path / "run")
    for field in ("name", "reader", "tasks", "calibration", "run"):
        assert getattr(after, field) == getattr(before, field)
    for field in ("config", "head_config"):
        assert getattr(after.network, field) == getattr(before.network, field)
    parts = after.network.parts
    assert not any(part.training for part in parts.values())
    for part, module in before.network.parts.items():
        for key, tensor in module.state_dict().items():
            assert torch.equal(parts[part].state_dict()[key], tensor)
    same_answers(after, before)
    assert not np.array_equal(answers(after)["a"], answers(series_artifact(name, seed=1))["a"])


def test_a_series_model_without_a_head_has_no_task(tmp_path):
    whole = series_artifact()
    network = whole.network
    save(tmp_path / "bare", Artifact(whole.reader, Network(whole.name, network.config, network.model)))
    found = load(tmp_path / "bare")
    assert (found.network.heads, found.network.head_config, found.tasks) == ({}, None, ())
    for key, tensor in network.model.state_dict().items():
        assert torch.equal(found.network.model.state_dict()[key], tensor)


@pytest.mark.parametrize("name", ["xgboost", "logistic"])
def test_loaded_summary_models_give_the_same_answers(tmp_path, name):
    before = summary_artifact(name)
    save(tmp_path / "run", before)
    after = load(tmp_path / "run")
    for field in ("name", "reader", "tasks", "calibration", "run"):
        assert getattr(after, field) == getattr(before, field)
    same_answers(after, before)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> tuple[Ensemble, Path]:
    """An ensemble of two series models, trees and an ensemble, with its folder."""
    inner = ensemble(series_artifact(seed=2), summary_artifact("logistic"), seed=2)
    outer = ensemble(series_artifact("gru"), series_artifact(of=1), summary_artifact(), inner)
    folder = tmp_path_factory.mktemp("mixed") / "run"
    save(folder, outer)
    return outer, folder


def test_a_loaded_ensemble_gives_the_same_answers_to_the_last_bit(mixed):
    before, folder = mixed
    after = load(folder)
    assert isinstance(after, Ensemble)
    assert (after.tasks, after.calibration, after.run) == (TASKS, CALIBRATION, RUN)
    assert after.intercept == before.intercept
    for task in TASKS:
        np.testing.assert_array_equal(after.weights[task], before.weights[task])
    same_answers(after, before)


def test_a_member_of_an_ensemble_is_an_artifact_of_its_own(mixed, tmp_path):
    before, folder = mixed
    shutil.copytree(folder / "member-1", tmp_path / "alone")
    same_answers(load(tmp_path / "alone"), before.members[1])


def test_readouts_that_are_not_those_of_the_weights_are_refused(tmp_path):
    save(tmp_path / "run", series_artifact("hymate_carried"))
    for field, value, words in (
        ("wide_weight", 0.0, "weights.safetensors does not fit"),
        ("wide_weight", -1.0, "not settings of the head"),
        ("dropout", 0.1, "not settings of the head"),  # of another head
    ):
        config = msgspec.json.decode((tmp_path / "run" / "model.json").read_bytes())["head_config"]
        content = edited(tmp_path / "run", "model.json", head_config=config | {field: value})
        folder = resealed(tmp_path / "run", tmp_path / f"{field} {value}", "model.json", content)
        with pytest.raises(DataError, match=words):
            load(folder)


def test_an_ensemble_of_token_models_is_saved_too(tmp_path):
    before = ensemble(sequence_artifact(), tabular_artifact())
    save(tmp_path / "run", before)
    after = load(tmp_path / "run")
    assert [type(m.learned) for m in after.members] == [type(m.learned) for m in before.members]
    assert after.members[0].reader == before.members[0].reader


def test_any_flipped_byte_of_an_ensemble_is_found_and_its_file_named(mixed, tmp_path):
    random = np.random.default_rng(0)
    folder = shutil.copytree(mixed[1], tmp_path / "run")
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    assert len(paths) > 30
    for path in paths:
        named = files.MANIFEST if path == folder / files.MANIFEST else f"{path.parent}.*{path.name}"
        sound = path.read_bytes()
        content = bytearray(sound)
        content[random.integers(len(content))] ^= int(random.integers(1, 256))
        path.write_bytes(content)
        with pytest.raises(DataError, match=named):
            load(folder)
        path.unlink()
        with pytest.raises(DataError, match=named):
            load(folder)
        path.write_bytes(sound)
    load(folder)


def test_a_member_put_in_the_place_of_another_is_refused(mixed, tmp_path):
    folder = shutil.copytree(mixed[1], tmp_path / "run")
    shutil.rmtree(folder / "member-0")
    shutil.copytree(folder / "member-1", folder / "member-0")
    with pytest.raises(DataError, match=r"member-0/manifest\.json is damaged"):
        load(folder)


@pytest.mark.parametrize("name", ["../manifest.json", "a/b/manifest.json", "/manifest.json", "a/other.json"])
def test_a_manifest_that_points_outside_its_folder_is_refused(mixed, tmp_path, name):
    folder = shutil.copytree(mixed[1], tmp_path / "run")
    files.write_json(folder / files.MANIFEST, {"sha256": {name: "0"}})
    with pytest.raises(DataError, match="not the manifest"):
        load(folder)


def resealed(saved: Path, folder: Path, file: str, content: bytes) -> Path:
    """A copy with another content of one file, and a manifest that fits it."""
    with files.sealed(folder) as staging:
        for path in saved.iterdir():
            if path.is_dir():
                shutil.copytree(path, staging / path.name)
            elif path.name != files.MANIFEST:
                shutil.copy(path, staging)
        (staging / file).write_bytes(content)
    return folder


def edited(folder: Path, file: str, **fields) -> bytes:
    return msgspec.json.encode(msgspec.json.decode((folder / file).read_bytes()) | fields)


@pytest.mark.parametrize(
    ("file", "fields", "words"),
    [
        ("blend.json", {"a": {"weights": [1.0], "intercept": 0.0}}, "weight of each of the 4 members"),
        ("blend.json", {"c": {"weights": [1.0] * 4, "intercept": 0.0}}, "weight of each of the 4 members"),
        ("blend.json", {"a": {"weights": "1"}}, "blend.json does not contain"),
        ("model.json", {"members": 5}, "member-4/manifest.json is missing"),
        ("model.json", {"tasks": ["a"]}, "blend.json does not have"),
        ("model.json", {"learner": "choir"}, "model.json does not contain"),
    ],
)
def test_an_ensemble_whose_files_do_not_fit_together_is_refused(mixed, tmp_path, file, fields, words):
    folder = resealed(mixed[1], tmp_path / "changed", file, edited(mixed[1], file, **fields))
    with pytest.raises(DataError, match=words):
        load(folder)


@pytest.mark.parametrize(
    ("file", "fields", "words"),
    [
        ("model.json", {"reader_hash": "0"}, "not the file of variables that"),
        ("model.json", {"head_config": {"members": 0}}, "not settings of the head"),
        ("model.json", {"head_config": {"members": 3}}, "weights.safetensors does not fit"),
        ("model.json", {"config": {"d_model": 3}}, "not settings of the model 'hymate'"),
        ("variables.json", {"surprise": 1}, "variables.json"),
    ],
)
def test_a_series_folder_whose_files_do_not_fit_together_is_refused(mixed, tmp_path, file, fields, words):
    saved = mixed[1] / "member-1"
    folder = resealed(saved, tmp_path / "changed", file, edited(saved, file, **fields))
    with pytest.raises(DataError, match=words):
        load(folder)


@pytest.mark.parametrize(
    "fields",
    [
        {"labels": {"a": {"settings": {"task": 3}}}},
        {"labels": {"a": None}},
        {"labels": 2},
        {"recipe": [1]},
        {"data": "x"},
        {"curves": {"losses": []}},
        {"curves": {"a/losses": [{"loss": 1.0}]}},
    ],
)
def test_a_run_record_of_another_shape_is_refused(mixed, tmp_path, fields):
    folder = resealed(mixed[1], tmp_path / "changed", "run.json", edited(mixed[1], "run.json", **fields))
    with pytest.raises(DataError, match=r"run.json is not the record of a training"):
        load(folder)


def test_variables_of_other_records_do_not_fit_the_weights(mixed, tmp_path):
    other = tmp_path / "other.json"
    variables(seed=7).save(other)
    folder = resealed(mixed[1] / "member-1", tmp_path / "changed", "variables.json", other.read_bytes())
    with pytest.raises(DataError, match="not the file of variables that"):
        load(folder)


def test_an_ensemble_that_does_not_belong_together_is_not_saved(tmp_path):
    member, sound = series_artifact(), ensemble(series_artifact())
    wrong = {
        "at least one member": replace(sound, members=()),
        "one for each member": replace(sound, members=(member, member)),
        "not all finite": replace(sound, weights={"a": np.array([np.nan])}),
        "has not learned c": replace(sound, weights={"c": np.ones(1)}, calibration={}),
        "calibration of a": replace(sound, weights={"b": np.ones(1)}),
        "needs its head_config": ensemble(replace(member, learned=replace(member.network, head_config=None))),
    }
    for words, artifact in wrong.items():
        with pytest.raises(ConfigError, match=words):
            save(tmp_path / "run", artifact)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_names_the_file_of_a_part_and_leaves_the_old_one(tmp_path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "part.json"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    models = [summary_artifact(name).learned.models["a"] for name in ("xgboost", "logistic")]
    for part in (variables(), BINS, TOKENS.vocabulary, *models):
        with pytest.raises(OSError, match="No space left") as caught:
            part.save(path)
        assert caught.value.filename == str(path)
        assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("part.json", "old")]


FORMAT_1 = {
    ("tokens", "network"): "sequence",
    ("hourly", "network"): "series",
    ("tokens", "tabular"): "tabular",
    ("hourly", "tabular"): "summary",
    ("", "ensemble"): "ensemble",
}


def in_format_1(folder: Path, into: Path) -> Path:
    """A copy of an artifact as earlier versions wrote it: by family, without settings of a token head."""
    with files.sealed(into) as staging:
        for path in folder.iterdir():
            if path.is_dir():
                in_format_1(path, staging / path.name)
            elif path.name != files.MANIFEST:
                shutil.copy(path, staging)
        about = msgspec.json.decode((folder / "model.json").read_bytes())
        reader, digest = about.pop("reader"), about.pop("reader_hash")
        about |= {"format": 1, "family": FORMAT_1[reader, about.pop("learner")]}
        about["vocabulary"], about["variables"] = (
            digest if reader == r else "" for r in ("tokens", "hourly")
        )
        if reader == "tokens":
            about["head_config"] = {}
        (staging / "model.json").write_bytes(msgspec.json.encode(about))
    return into


def test_a_folder_of_an_earlier_version_gives_the_same_answers(mixed, tmp_path):
    same_answers(load(in_format_1(mixed[1], tmp_path / "mixed")), mixed[0])
    tokens = ensemble(sequence_artifact(), tabular_artifact())
    save(tmp_path / "now", tokens)
    asked = {task: token_labels() for task in TASKS}
    found = log_odds(load(in_format_1(tmp_path / "now", tmp_path / "then")), lambda: [token_records()], asked)
    wanted = log_odds(tokens, lambda: [token_records()], asked)
    for task in TASKS:
        np.testing.assert_array_equal(found[task], wanted[task])
