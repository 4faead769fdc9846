"""Studies end to end on a small simulated intensive care unit, with recipes cut down to seconds."""

import dataclasses
import json

import msgspec
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from chartscan import artifact
from chartscan.errors import ConfigError
from chartscan.evaluation import read_predictions
from chartscan.interpret.faithfulness import SHARES
from chartscan.labels.files import write_labels
from chartscan.models import hymate
from chartscan.recipes import find_recipe, hourly
from chartscan.schema import Counts
from chartscan.training import TrainConfig
from chartscan_lab.study import _made_with
from chartscan_lab.study._command import StudyPlan, run_study
from chartscan_lab.study._explained import METHODS, RANDOM, agreement, explained, load, save
from family_artifacts import series_artifact
from icu import TASK, Silent, labels, make_icu
from private_files import files_for_everybody, files_of_subjects


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A plan on a dataset and its labels, and a tiny hymate-paper."""
    folder = tmp_path_factory.mktemp("studies")
    make_icu(folder / "data", subjects=120)
    table = labels(120)[TASK][0]
    n = table.num_rows
    positive = int(np.sum(table["boolean_value"].to_numpy(zero_copy_only=False)))
    counts = Counts(
        subjects=n, subjects_with_stay=n, subjects_labelled=n, index_stays=n, eligible=n,
        positive=positive, negative=n - positive,
    )  # fmt: skip
    write_labels(folder / "labels.parquet", table, TASK, counts)
    with pytest.MonkeyPatch.context() as patch:
        quick = TrainConfig(learning_rate=5e-3, epochs=2)
        tiny = msgspec.structs.replace(
            find_recipe("hymate-paper"),
            model=hymate.Config(d_model=8, n_layers=1, n_attention=1, n_heads=2, d_state=4),
            pretrain=None,
            finetune=quick,
        )
        patch.setitem(hourly.RECIPES, "hymate-paper", tiny)
        yield StudyPlan(
            "published", folder / "out", folder / "data", folder / "labels.parquet", seeds=2, bootstrap=50
        )


def run(plan, name, *settings, **changes):
    """The values of a study."""
    plan = dataclasses.replace(plan, name=name, settings=list(settings), **changes)
    watcher = Silent()
    texts = list(run_study(plan, watcher))
    return texts[0], json.loads((plan.out / f"{name}.json").read_bytes()), watcher.said


def test_a_published_table_equals_its_predictions(place):
    recipes = 'recipes=["xgboost-summary", "hymate-paper"]'
    with files_for_everybody():
        text, values, said = run(place, "published", recipes)
    private, readable = files_of_subjects(place.out)
    assert private
    assert not readable
    assert [row["name"] for row in values["rows"]] == ["xgboost-summary", "hymate-paper"]
    net = values["rows"][1]
    found = [read_predictions(p) for p in sorted((place.out / "answers").glob("hymate-paper-*/*.parquet"))]
    aurocs = [
        roc_auc_score(
            one.table["boolean_value"].to_numpy(zero_copy_only=False),
            one.table["predicted_boolean_probability"].to_numpy(),
        )
        for one in found
    ]
    assert sorted(net["spread"]["auroc"]["values"]) == pytest.approx(sorted(aurocs))
    assert net["parameters"] > 0
    assert net["seconds_per_epoch"]["fine-tuning"] > 0
    assert net["baseline"] == "xgboost-summary"
    assert "| hymate-paper | 2 |" in text
    assert any(line.startswith("cell 1 of 4") for line in said)
    again = run(place, "published", recipes)
    assert again[2] == ["4 of 4 cells are finished already"]
    assert again[0] == text


def test_hours_share_the_models_of_the_published_table(place):
    whole = run(place, "published", 'recipes=["xgboost-summary", "hymate-paper"]')[1]["rows"][1]
    before = sorted((place.out / "trained").iterdir())
    _, values, _ = run(place, "hours", "recipe=hymate-paper", "hours=[6,24]")
    assert sorted((place.out / "trained").iterdir()) == before
    assert [row["name"] for row in values["rows"]] == ["6 h", "24 h"]
    assert values["rows"][0]["baseline"] == "24 h"
    assert values["rows"][1]["spread"] == whole["spread"]


def test_pooled_splits_train_and_ask_everybody_anew(place):
    _, values, _ = run(place, "pooled", 'recipes=["xgboost-summary"]')
    assert values["rows"][0]["predictions"] == 24
    assert len(values["rows"][0]["spread"]["auroc"]["values"]) == 2


def test_explanations_are_tested_and_kept(place, monkeypatch):
    text, values, _ = run(place, "attention", "stays=6")
    found = values["explanations"]
    assert set(found["methods"]) == {*METHODS, RANDOM}
    for one in found["methods"].values():
        assert len(one["comprehensiveness"]) == len(one["sufficiency"]) == len(SHARES)
    for name in ("gradients, values", "gradients, embeddings"):
        assert found["methods"][name]["gap"] < 0.01
    assert found["seeds"] == 2
    assert "| fusion attention |" in text
    monkeypatch.setattr("chartscan_lab.study.attention.explained", None)
    assert run(place, "attention", "stays=6")[0] == text


def test_explanations_come_back_as_they_were_saved(place, tmp_path):
    run(place, "attention", "stays=6")
    one = load(next((place.out / "explanations").iterdir()))
    save(tmp_path / "copy.npz", one)
    again = load(tmp_path / "copy.npz")
    assert one.gaps == again.gaps
    assert np.array_equal(one.lengths, again.lengths)
    for name in ("attributions", "randomised", "comprehensiveness", "sufficiency"):
        mine, theirs = getattr(one, name), getattr(again, name)
        assert all(np.array_equal(mine[method], theirs[method]) for method in mine)
    assert agreement(one.padded("occlusion"), one.padded("occlusion"), one.lengths) == pytest.approx(1)
    attention = one.padded("fusion attention")
    assert attention.sum(1).numpy() == pytest.approx(np.ones(len(one.lengths)), abs=1e-5)


def test_a_recipe_without_attention_is_refused(place):
    with pytest.raises(ConfigError, match="fusion attention"):
        run(place, "attention", "recipe=xgboost-summary", "stays=4")


@pytest.mark.parametrize("name", ["gru", "hymate_carried"])
def test_a_model_that_reads_no_triplets_has_no_events_to_explain(tmp_path, name):
    artifact.save(tmp_path / "run", series_artifact(name))
    with pytest.raises(ConfigError, match="no model of triplets with fusion attention"):
        explained(tmp_path / "run", None, None, None)


def test_long_records_are_trained_measured_and_kept(place, monkeypatch):
    monkeypatch.setattr("chartscan_lab.study.length.in_fresh_process", lambda call, *given: call(*given))
    small = ["records.events=64", "contexts=[16,64]", "train=8", "held_out=12", "fit.epochs=1"]
    settings = (*small, "full_attention_most=16", 'models=["full attention", "no attention"]')
    text, values, said = run(place, "length", *settings, seeds=1, data=None, labels=None)
    assert [row["context"] for row in values["rows"]] == [16, 16, 64]
    for row in values["rows"]:
        assert row["parameters"] > 0
        assert "extra_bytes" in row  # means something in a process of its own only
        assert row["seconds_per_epoch"]["training"] > 0
        assert row["predictions"] == 12
    assert values["rows"][0]["best_possible_auroc"] <= values["rows"][2]["best_possible_auroc"]
    assert len(said) == 6
    again = run(place, "length", *settings, seeds=1, data=None, labels=None)
    assert again[0] == text
    assert again[2] == []
    monkeypatch.setattr(_made_with, "versions", lambda: {"chartscan": "9.9", "source": "other"})
    text, values, said = run(place, "length", *settings, seeds=2, data=None, labels=None)
    rows = "'full attention, 16', 'no attention, 16', 'no attention, 64'"
    assert f"chartscan 9.9, source other: {rows}." in text
    assert f"chartscan 9.9, source other: {rows}." in said[0]
    assert [len(row["made_with"]) for row in values["rows"]] == [2, 2, 2]
