"""Table 1 end to end on a small simulated hospital, with recipes cut down to seconds."""

import dataclasses
import json

import msgspec
import numpy as np
import polars as pl
import pytest

from chartscan.commands.evaluate import ReportPlan, run_evaluate
from chartscan.commands.ingest import IngestPlan, run_ingest
from chartscan.commands.predict import run_predict
from chartscan.commands.train import run_train
from chartscan.errors import ConfigError, DataError
from chartscan.evaluation import read_predictions
from chartscan.labels.files import save_labels
from chartscan.labels.making import make_labels
from chartscan.recipes import find_recipe, tokens
from chartscan.runs.record import SOURCE, source_hash
from chartscan.schema import HELD_OUT
from chartscan.settings import with_settings
from chartscan.simulator import SimulateConfig, simulate
from chartscan_lab.bench import efficiency
from chartscan_lab.bench.epochs import epochs, hospital
from chartscan_lab.study import table1
from chartscan_lab.study._command import StudyPlan, run_study
from icu import Silent

TASKS = ("long_stay_7d", "readmission_30d")
QUICK = ["model.d_model=16", "model.n_layers=1", "finetune.epochs=1", "pretrain.epochs=1"]
RARE = "in_hospital_mortality"


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """A plan of the study on a dataset and its labels; recipes are cut down meanwhile."""
    root = tmp_path_factory.mktemp("table1")
    simulate(root / "export", SimulateConfig(subjects=60, seed=1))
    dataset, _ = run_ingest(IngestPlan("fhir", root / "export", root / "data", [], []), Silent())
    labels = make_labels(dataset, [*TASKS, RARE], Silent())
    table, counts = labels[RARE]
    labels[RARE] = table.filter(table["boolean_value"]), counts  # of one class: nobody can learn it
    save_labels(labels, root / "labels", as_folder=True)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ehrmamba-tiny", "cehr-bert-tiny"):
            patch.setitem(tokens.RECIPES, name, with_settings(find_recipe(name), QUICK))
        settings = ['recipes=["xgboost","cehr-bert","ehrmamba"]', 'tested=["ehrmamba"]', "min_subjects=2"]
        yield StudyPlan(
            "table1", root / "out", root / "data", root / "labels", seeds=1, settings=settings,
            truth=root / "export", bootstrap=30,
        )  # fmt: skip


def run(plan, **changes):
    """Text and values of the study, and what was said."""
    plan, watcher = dataclasses.replace(plan, **changes), Silent()
    text, _ = run_study(plan, watcher)
    return text, json.loads((plan.out / "table1.json").read_bytes()), watcher.said


@pytest.fixture(scope="module")
def done(plan):
    """The study, run once."""
    assert list(run_study(plan, Silent()))
    return run(plan)


def test_every_model_answers_every_task_that_can_be_learned(done):
    text, values, said = done
    assert [task["task"] for task in values["tasks"]] == list(TASKS)
    assert any(f"{RARE}: The train labels are all of one class" in line for line in said)
    assert "5 of 5 cells are finished already" in said
    for task in values["tasks"]:
        assert [row["name"] for row in task["rows"]] == [
            "xgboost",
            *("cehr-bert, one task", "cehr-bert, prompted"),
            *("ehrmamba, one task", "ehrmamba, prompted"),
        ]
        for row in task["rows"][1:]:
            phases = {phase.split()[0] for phase in row["seconds_per_epoch"]}
            assert phases == {"pretraining", "fine-tuning"}
            assert row["parameters"] > 0
            assert [code["source"] for code in row["made_with"]] == [source_hash(SOURCE)]
    assert text.startswith("# Table 1")


def test_tokens_of_an_epoch_are_those_of_its_batches_with_padding(plan, done):
    """The rows of a prompted model, by the bench's own count of an epoch, whose batches differ a little."""
    with hospital(str(plan.data), str(plan.labels), subjects=0) as where:
        recipe = with_settings(find_recipe("cehr-bert-tiny"), ["reader.min_subjects=2"])
        expected = epochs(recipe, where, tokens=256, steps=1).by_phase["pretraining"]
    rows = {row["name"]: row for row in done[1]["tasks"][0]["rows"]}
    found = rows["cehr-bert, one task"]["tokens_per_epoch"]
    assert found["pretraining"] == pytest.approx(expected.positions, rel=0.1)
    assert set(found) == {"pretraining", *(f"fine-tuning {task}" for task in TASKS)}
    assert rows["xgboost"]["tokens_per_epoch"] == {}


def test_epochs_and_batches_are_measured_by_the_bench_and_once(plan, done, monkeypatch):
    def in_this_process(function, one, batches, *timed):
        return function(one, batches, *timed)._replace(peak_bytes=10**6 * len(batches[-1].codes))

    monkeypatch.setattr(efficiency, "in_fresh_process", in_this_process)
    settings = [*plan.settings, "memory_gib=1"]
    text, values, _ = run(plan, settings=settings)
    monkeypatch.setattr(efficiency, "in_fresh_process", None)
    assert run(plan, settings=settings)[:2] == (text, values)
    pretraining, fine_tuning = values["efficiency"]["phases"]
    for phase in (pretraining, fine_tuning):
        assert [row["name"] for row in phase["rows"]] == ["ehrmamba-tiny", "cehr-bert-tiny"]
        assert phase["beside_the_paper"] == []  # MultiBird is not in this study
        for row in phase["rows"]:
            assert row["largest"][0]["largest"] == 2**30 // 10**6
            trained = next(
                one["tokens_per_epoch"][phase["phase"]]
                for one in values["tasks"][0]["rows"]
                if one["name"] == row["name"].replace("-tiny", ", prompted")
            )
            assert trained == pytest.approx(row["positions"], rel=0.1)
    assert values["efficiency"]["patients"]["tasks"] == len(TASKS)


def test_a_body_is_pretrained_once_and_shared_by_both_ways(plan, done):
    trained = sorted(
        path.name.rsplit("-", 1)[0] for path in (plan.out / "trained").iterdir() if path.is_dir()
    )
    assert trained.count("body") == 2
    assert trained.count("ehrmamba-tiny") == trained.count("cehr-bert-tiny") == 2


def test_a_probed_body_is_a_row_that_trains_nothing(plan, done):
    _, values, _ = run(plan, settings=[*plan.settings, 'ways=["prompted","probed"]'])
    assert sum(path.is_dir() for path in (plan.out / "trained").glob("body-*")) == 2
    for task in values["tasks"]:
        rows = {row["name"]: row for row in task["rows"]}
        assert list(rows) == [
            "xgboost",
            *(f"{m}, {w}" for m in ("cehr-bert", "ehrmamba") for w in ("prompted", "probed")),
        ]
        assert set(rows["ehrmamba, probed"]["seconds_per_epoch"]) <= {"pretraining"}
    assert {test["row"] for test in values["tests"]} == {"ehrmamba, prompted", "ehrmamba, probed"}
    with pytest.raises(ConfigError, match="ways"):
        run(plan, settings=[*plan.settings, 'ways=["probing"]'])
    with pytest.raises(ConfigError, match="ways: none of bilstm"):
        run(plan, settings=['recipes=["bilstm"]', "tested=[]", 'ways=["probed"]'])


@pytest.mark.parametrize("ways", [("one task",), ("prompted",), ("probed",), ("probed", "one task")])
def test_epochs_are_measured_of_what_is_fine_tuned_by_prompts_where_it_is(ways):
    study = msgspec.structs.replace(table1.STUDY, ways=ways)
    found = [row.name for row in study._tuned_rows()]
    prompted = "prompted" in ways
    left_out = {"bigbird" if prompted else "multibird"}
    names = ("bilstm", "cehr-bert", "bigbird", "multibird", "ehrmamba", "ehrmamba2")
    way = "prompted" if prompted else "one task"
    expected = [] if ways == ("probed",) else [f"{name}, {way}" for name in names if name not in left_out]
    assert found == expected


def test_a_model_of_one_task_is_the_one_that_train_makes(plan, done, tmp_path):
    """Of a folder of the same tasks: the body's vocabulary has a token for each."""
    labels = tmp_path / "labels"
    labels.mkdir()
    for task in TASKS:
        (labels / f"{task}.parquet").write_bytes((plan.labels / f"{task}.parquet").read_bytes())
    settings = ["together=false", "reader.min_subjects=2"]
    run_train("cehr-bert-tiny", plan.data, tmp_path / "run", labels, settings, Silent())
    list(run_predict(tmp_path / "run", plan.data, labels, tmp_path / "p", HELD_OUT, 1, Silent()))
    for task in TASKS:
        expected = read_predictions(tmp_path / "p" / f"{task}.parquet").table
        kept = [read_predictions(path) for path in plan.out.glob(f"answers/cehr-bert-tiny-*/{task}.parquet")]
        same = [np.array_equal(probabilities(one.table), probabilities(expected)) for one in kept]
        assert sum(same) == 1


def probabilities(table):
    rows = pl.from_arrow(table.replace_schema_metadata()).sort("subject_id", "prediction_time")
    return rows["predicted_boolean_probability"].to_numpy()


def test_the_ceiling_is_that_of_the_report(plan, done, tmp_path):
    for task in done[1]["tasks"]:
        path = next(plan.out.glob(f"answers/xgboost-*/{task['task']}.parquet"))
        run_evaluate(
            ReportPlan([path], tmp_path / task["task"], data=plan.data, truth=plan.truth, bootstrap=30),
            Silent(),
        )
        (expected,) = json.loads((tmp_path / task["task"] / "metrics.json").read_bytes())["tasks"]
        for metric in ("auroc", "average_precision"):
            assert task["ceiling"]["together"][metric] == expected["ceiling"]["estimates"][metric]
            assert task["rows"][0]["together"][metric] == expected["models"][0]["estimates"][metric]


def test_what_a_study_cannot_use_is_refused(plan):
    with pytest.raises(ConfigError, match="--truth: the study published shows no ceiling"):
        run(plan, name="published", settings=[])
    with pytest.raises(DataError, match="labels of 3 tasks; the study published is about one"):
        run(plan, name="published", settings=[], truth=None)
    with pytest.raises(ConfigError, match="on a processor only, not on cuda"):
        run(plan, device="cuda", settings=[*plan.settings, "memory_gib=1"])
    with pytest.raises(DataError, match="No task has train labels of both classes"):
        run(plan, labels=plan.labels / f"{RARE}.parquet")
