"""The artifact folder: what goes in comes out, and nothing damaged or hostile gets through."""

import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.sparse import csr_matrix

from chartscan import files
from chartscan.artifact import (
    Artifact,
    Calibration,
    Network,
    TabularModels,
    load,
    pretraining_head,
    save,
)
from chartscan.batch import Batch, Prompts
from chartscan.errors import ChartscanError, ConfigError, DataError
from chartscan.inputs.readers import TokenReader
from chartscan.inputs.tokens import FitScope, NumericBins, SequenceConfig, UnitBins, Vocabulary
from chartscan.inputs.tokens import types as T
from chartscan.inputs.tokens.specials import SPECIALS
from chartscan.models import bigbird, ehrmamba
from chartscan.objectives import prompted
from chartscan.objectives.next_event import NextEvent
from chartscan.objectives.prompted import Prompted
from chartscan.tabular import logistic, xgboost

TASKS = ("mortality_30d", "readmission_30d")
CONFIG = ehrmamba.Config(d_model=16, n_layers=2, d_state=4, time_dim=4)


def vocabulary() -> Vocabulary:
    bare = Vocabulary(
        (*SPECIALS, "LAB//1", "LAB//1//Q1"),
        (*(0 for _ in SPECIALS), 12, 11),
        {},
        SequenceConfig(),
        FitScope(),
    )
    return bare.with_tasks(TASKS)


BINS = NumericBins(5, {"LAB//1": (UnitBins("mg/dL", (0.1, 1 / 3, 2.5), 12, 40),)})
READER = TokenReader(vocabulary(), BINS)
CALIBRATION = {"mortality_30d": Calibration(intercept=-0.1, slope=1 / 3, threshold=0.2, rows=9)}
RUN = {"seed": 3, "data": {"digest": "0123"}, "versions": {"torch": "x"}}


def sequence_artifact(seed: int = 0) -> Artifact[TokenReader]:
    torch.manual_seed(seed)
    size = len(vocabulary())
    model = ehrmamba.Model(CONFIG, size).eval()
    heads = {"head": Prompted(16, len(TASKS)).eval(), "forecast": NextEvent(16, size).eval()}
    network = Network("ehrmamba", CONFIG, model, heads, prompted.Config())
    return Artifact(READER, network, TASKS, CALIBRATION, RUN)


def matrix() -> csr_matrix:
    random = np.random.default_rng(0)
    return csr_matrix(random.poisson(1.0, (60, 7)).astype(np.float32))


def tabular_artifact(name: str) -> Artifact[TokenReader]:
    module = {"xgboost": xgboost, "logistic": logistic}[name]
    y = np.random.default_rng(1).random((2, 60)) < 0.4
    models = {task: module.fit(matrix(), labels) for task, labels in zip(TASKS, y, strict=True)}
    return Artifact(READER, TabularModels(name, models), TASKS, CALIBRATION, RUN)


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    shape = (2, 5)
    numbers = torch.rand(shape, generator=generator)
    ones = torch.ones(shape, dtype=torch.int64)
    prompts = Prompts(
        rows=torch.tensor([0, 1]),
        positions=torch.tensor([4, 2]),
        codes=torch.tensor([vocabulary().task_token(task) for task in TASKS]),
        tasks=torch.tensor([0, 1]),
        labels=torch.full((2,), torch.nan),
    )
    codes = torch.randint(1, len(vocabulary()), shape, generator=generator)
    lengths = torch.tensor([5, 5])
    return Batch(codes, ones, numbers, numbers, numbers, ones, ones, ones, ones > 0, lengths, prompts)


def answers(artifact: Artifact[TokenReader]) -> list[torch.Tensor]:
    with torch.no_grad():
        network = artifact.network
        hidden = network.model(batch())
        return [hidden, network.answering.predict(network.model, batch()), network.heads["forecast"](hidden)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("artifact") / "run"
    save(folder, sequence_artifact())
    return folder


def test_a_loaded_sequence_model_gives_the_same_answers_to_the_last_bit(saved):
    before, after = sequence_artifact(), load(saved)
    for ours, theirs in zip(answers(before), answers(after), strict=True):
        assert torch.equal(ours, theirs)
    assert after.network.config == before.network.config
    for name in ("name", "reader", "tasks", "calibration", "run"):
        assert getattr(after, name) == getattr(before, name)
    assert not any(part.training for part in after.network.parts.values())
    assert not torch.equal(answers(sequence_artifact(seed=1))[0], answers(after)[0])


def test_heads_that_are_not_there_stay_absent(tmp_path):
    whole = sequence_artifact()
    bare = Artifact(READER, Network(whole.name, CONFIG, whole.network.model))
    save(tmp_path / "bare", bare)
    found = load(tmp_path / "bare")
    assert (found.network.heads, found.tasks, found.calibration) == ({}, (), {})
    assert torch.equal(found.network.model(batch()), answers(whole)[0])


def test_a_head_that_names_masked_events_is_kept_and_knows_what_may_be_masked(tmp_path):
    config = bigbird.Config(d_model=16, n_layers=1, n_heads=2, d_ffn=32, context=32, block=8, time_dim=4)
    torch.manual_seed(0)
    model = bigbird.Model(config, len(vocabulary())).eval()
    head = pretraining_head("masked_event", 16, READER).eval()
    save(tmp_path / "run", Artifact(READER, Network("bigbird", config, model, {"masked": head})))
    found = load(tmp_path / "run")
    assert set(found.network.heads) == {"masked"}
    masked = found.network.heads["masked"]
    assert [vocabulary().tokens[i] for i in masked.events.tolist()] == ["LAB//1", "LAB//1//Q1"]
    with torch.no_grad():
        for ours, theirs in zip(
            head.loss(model, batch()), masked.loss(found.network.model, batch()), strict=True
        ):
            assert ours == theirs
        hidden = model(batch())
        assert torch.equal(masked(hidden), head(hidden))


def test_the_next_visit_weighs_what_is_said_after_an_end_and_a_beginning_of_a_visit():
    head = pretraining_head("next_event", 16, READER, next_visit_weight=30.0)
    assert {T.NAMES.get(i): w for i, w in enumerate(head.shares.tolist()) if w != 1} == {
        "[REG]": 30.0,
        "[VS]": 30.0,
    }
    assert pretraining_head("next_event", 16, READER).shares is None


def test_a_vocabulary_without_events_has_nothing_to_mask():
    bare = TokenReader(Vocabulary(SPECIALS, (0,) * len(SPECIALS), {}, SequenceConfig(), FitScope()), BINS)
    with pytest.raises(DataError, match="no event that could be masked"):
        pretraining_head("masked_event", 16, bare)


def test_a_forecasting_head_that_shares_the_embedding_is_kept(tmp_path):
    whole = sequence_artifact()
    model = whole.network.model
    tied = NextEvent(16, len(vocabulary()), model.embedding.codes)
    save(tmp_path / "tied", Artifact(READER, Network("ehrmamba", CONFIG, model, {"forecast": tied})))
    found = load(tmp_path / "tied").network.heads["forecast"]
    assert torch.equal(found.linear.weight, model.embedding.codes.weight)


@pytest.mark.parametrize("name", ["xgboost", "logistic"])
def test_loaded_tabular_models_give_the_same_probabilities(tmp_path, name):
    before = tabular_artifact(name)
    save(tmp_path / "run", before)
    after = load(tmp_path / "run")
    assert after.tasks == TASKS
    assert (after.reader, after.calibration, after.run) == (before.reader, CALIBRATION, RUN)
    for task in TASKS:
        expected = before.learned.models[task].predict_proba(matrix())
        np.testing.assert_array_equal(after.learned.models[task].predict_proba(matrix()), expected)
    assert not np.array_equal(expected, before.learned.models[TASKS[0]].predict_proba(matrix()))


def test_calibration_is_a_line_on_the_log_odds():
    probability = CALIBRATION["mortality_30d"].probability(np.array([-2.0, 0.0, 800.0]))
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-(-0.1 + np.array([-2.0, 0.0, 800.0]) / 3))))


def test_loading_draws_no_random_numbers(saved):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load(saved)
    assert torch.equal(torch.rand(3), expected)


def harmed(folder: Path, into: Path) -> Path:
    return Path(shutil.copytree(folder, into))


@pytest.mark.parametrize("family", ["sequence", "xgboost"])
def test_any_flipped_or_missing_byte_is_found_and_its_file_named(tmp_path, family):
    random = np.random.default_rng(0)
    folder = tmp_path / family
    save(folder, sequence_artifact() if family == "sequence" else tabular_artifact(family))
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == (7 if family == "sequence" else 8)
    for name in names:
        sound = (folder / name).read_bytes()
        for _ in range(40):
            content = bytearray(sound)
            content[random.integers(len(content))] ^= int(random.integers(1, 256))
            (folder / name).write_bytes(content)
            with pytest.raises(DataError, match=r"manifest\.json" if name == "manifest.json" else name):
                load(folder)
        (folder / name).write_bytes(sound[: random.integers(len(sound))])
        with pytest.raises(DataError, match=name):
            load(folder)
        (folder / name).unlink()
        with pytest.raises(DataError, match=name):
            load(folder)
        (folder / name).write_bytes(sound)
    load(folder)


class Bomb:
    """Makes a folder when unpickled."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_a_pickle_is_never_run_whatever_file_it_poses_as(saved, tmp_path):
    target = tmp_path / "ran"
    payload = pickle.dumps(Bomb(target))
    for name in [path.name for path in saved.iterdir() if path.name != files.MANIFEST]:
        folder = tmp_path / name
        with files.sealed(folder) as staging:  # a manifest that fits: only reading itself can refuse it
            for path in saved.iterdir():
                if path.name not in (files.MANIFEST, name):
                    shutil.copy(path, staging)
            (staging / name).write_bytes(payload)
        with pytest.raises(DataError, match=name):
            load(folder)
    beside = harmed(saved, tmp_path / "beside")
    for name in ("weights.pt", "weights.pkl", "pytorch_model.bin", "optimizer.joblib"):
        (beside / name).write_bytes(payload)
    load(beside)
    assert not target.exists()
    pickle.loads(payload)  # noqa: S301 - the payload is our own, to show that it works
    assert target.exists()


def resealed(saved: Path, folder: Path, change) -> Path:
    """A copy of an artifact changed by `change(staging)`, with a manifest that fits it."""
    with files.sealed(folder) as staging:
        for path in saved.iterdir():
            if path.name != files.MANIFEST:
                shutil.copy(path, staging)
        change(staging)
    return folder


def edit_json(file: str, **fields):
    def change(folder: Path) -> None:
        content = msgspec.json.decode((folder / file).read_bytes())
        (folder / file).write_bytes(msgspec.json.encode(content | fields))

    return change


def edit_weights(function):
    def change(folder: Path) -> None:
        weights = load_file(folder / "weights.safetensors")
        save_file(function(weights), folder / "weights.safetensors")

    return change


def other_vocabulary(folder: Path) -> None:
    msgspec.structs.replace(vocabulary(), subjects=tuple(range(len(vocabulary())))).save(
        folder / "vocabulary.json"
    )


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (edit_json("model.json", format=3), DataError, "model.json does not contain"),
        (edit_json("model.json", learner=""), DataError, "model.json does not contain"),
        (edit_json("model.json", reader="hourly"), DataError, "variables.json is missing"),
        (edit_json("model.json", surprise=1), DataError, "model.json does not contain"),
        (edit_json("model.json", name="ehrmambo"), ConfigError, "model 'ehrmambo' is not known here"),
        (edit_json("model.json", config={"d_model": 0}), DataError, "not settings of the model"),
        (edit_json("model.json", config={"depth": 3}), DataError, "not settings of the model"),
        (edit_json("model.json", config={"d_model": 8}), DataError, "weights.safetensors does not fit"),
        (edit_json("model.json", heads=["head"]), DataError, "the first is forecast"),
        (edit_json("model.json", tasks=["mortality_30d"]), DataError, "the first is head.task_bias"),
        (edit_json("calibration.json", mortality_30d={"slop": 1}), DataError, "calibration.json does not"),
        (other_vocabulary, DataError, "vocabulary.json is not the file of vocabulary that"),
        (lambda folder: (folder / "run.json").write_bytes(b"[" * 100_000), DataError, "run.json does not"),
        (lambda folder: (folder / "run.json").unlink(), DataError, "run.json is missing from"),
        (edit_weights(lambda w: {n: t.double() for n, t in w.items()}), DataError, "does not fit"),
        (edit_weights(lambda w: w | {"model.extra": torch.zeros(1)}), DataError, "first is model.extra"),
        (edit_weights(lambda w: w | {"other": torch.zeros(1)}), DataError, "first is other"),
        (edit_weights(lambda w: dict(list(w.items())[1:])), DataError, "1 tensors are missing"),
    ],
)
def test_a_folder_whose_files_do_not_fit_together_is_refused(saved, tmp_path, change, error, words):
    folder = resealed(saved, tmp_path / "changed", change)
    with pytest.raises(error, match=words):
        load(folder)


def test_a_manifest_that_points_elsewhere_is_refused(saved, tmp_path):
    folder = harmed(saved, tmp_path / "run")
    (tmp_path / "outside").write_bytes(b"x")
    files.write_json(folder / files.MANIFEST, {"sha256": {"../outside": files.sha256(tmp_path / "outside")}})
    with pytest.raises(DataError, match="not the manifest"):
        load(folder)


def test_an_artifact_is_never_overwritten(saved):
    before = {path: path.read_bytes() for path in saved.iterdir()}
    with pytest.raises(ConfigError, match="not overwritten"):
        save(saved, sequence_artifact(seed=1))
    assert {path: path.read_bytes() for path in saved.iterdir()} == before


@pytest.mark.parametrize("name", ["fsync", "rename", "replace"])
def test_a_failed_save_leaves_nothing(tmp_path, monkeypatch, name):
    monkeypatch.setattr(os, name, full)
    with pytest.raises(OSError, match="disk full"):
        save(tmp_path / "run", sequence_artifact())
    assert list(tmp_path.iterdir()) == []


def full(*args: object) -> None:
    raise OSError(28, "disk full")


def test_parts_that_do_not_belong_together_are_not_saved(tmp_path):
    whole = sequence_artifact()
    with pytest.raises(ConfigError, match="no token for task"):
        save(tmp_path / "a", replace(whole, tasks=("other",), calibration={}))
    bare = Artifact(READER, Network("ehrmamba", CONFIG, whole.network.model), calibration=CALIBRATION)
    with pytest.raises(ConfigError, match="calibration of mortality_30d"):
        save(tmp_path / "b", bare)
    assert list(tmp_path.iterdir()) == []


def test_every_error_of_a_folder_that_is_none_is_one_a_user_can_meet(tmp_path):
    with pytest.raises(DataError, match="is not a trained model"):
        load(tmp_path)
    with pytest.raises(ChartscanError):
        load(tmp_path / "nowhere")
