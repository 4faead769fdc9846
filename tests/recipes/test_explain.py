"""`chartscan explain` on a small simulated hospital: numbers that add up, nothing of records in lines."""

import json
import re

import numpy as np
import polars as pl
import pytest
import torch
from typer.testing import CliRunner

from chartscan import artifact as artifacts
from chartscan.artifact import SequenceArtifact, SeriesArtifact
from chartscan.cli import app
from chartscan.errors import ConfigError, DataError
from chartscan.models import ehrmamba, hymate, hymate_carried
from chartscan.objectives import classification, readouts
from chartscan.objectives.prompted import Prompted
from chartscan.recipes._labels import make_labels, save_labels
from chartscan.recipes.explain import ExplainPlan, run_explain
from chartscan.recipes.ingest import IngestPlan, run_ingest
from chartscan.sequences import SequenceConfig, fit_bins, fit_vocabulary
from chartscan.series import CHANNELS, SeriesConfig, Variables
from chartscan.simulate import SimulateConfig, simulate
from chartscan.store.dataset import Dataset
from icu import Silent

TASKS = ("long_stay_7d", "readmission_30d")
COLUMNS = [
    "subject_id",
    "prediction_time",
    "task",
    "position",
    "time",
    "code",
    "type",
    "method",
    "attribution",
]
HEADS = {
    "classification": (classification, classification.Config(hidden=6, members=2)),
    "readouts": (readouts, readouts.Config(wide_hidden=5, hidden=6, members=2, sequence_hidden=4)),
}


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    """A folder with an export, its dataset and labels of two tasks."""
    root = tmp_path_factory.mktemp("explain")
    simulate(root / "export", SimulateConfig(subjects=16, seed=3))
    dataset, _ = run_ingest(IngestPlan("fhir", root / "export", root / "data", [], []), Silent())
    save_labels(make_labels(dataset, list(TASKS), Silent()), root / "labels", as_folder=True)
    artifacts.save(root / "tokens", sequence_artifact(dataset))
    for name, model in (("hymate", hymate), ("hymate_carried", hymate_carried)):
        artifacts.save(root / name, series_artifact(dataset, name, model))
    return root


def sequence_artifact(dataset):
    torch.manual_seed(0)
    tables = [dataset.read_shard(path) for path in dataset.shards()]
    settings = SequenceConfig(min_subjects=2, context=32)
    bins = fit_bins(tables, settings)
    vocabulary = fit_vocabulary(tables, bins, settings, TASKS)
    config = ehrmamba.Config(d_model=8, n_layers=2, d_state=4, time_dim=4)
    model = ehrmamba.Model(config, len(vocabulary))
    head = Prompted(model.width, len(TASKS))
    with torch.no_grad():
        head.head[-1].weight *= 30
    return SequenceArtifact("ehrmamba", config, model, vocabulary, bins, TASKS, head)


def series_artifact(dataset, name, module):
    torch.manual_seed(0)
    tables = [dataset.read_shard(path) for path in dataset.shards()]
    variables = Variables.fit(tables, SeriesConfig(min_subjects=2))
    config = {
        "hymate": hymate.Config(d_model=8, n_layers=1, n_heads=2, d_state=4),
        "hymate_carried": hymate_carried.Config(CHANNELS, d_model=8, n_heads=2, d_state=4),
    }[name]
    model = module.Model(config, variables.n_variables, variables.n_statics)
    if hasattr(model, "fit_inputs"):
        model.fit_inputs(torch.rand(20, variables.n_variables, len(CHANNELS)), torch.ones(20, 2).tril())
    objective, settings = HEADS[model.HEAD]
    head = objective.make(model, len(TASKS), settings)
    return SeriesArtifact(name, config, model, variables, TASKS, head, settings)


def run(root, artifact, out, **settings):
    plan = ExplainPlan(
        root / artifact, root / "data", root / "labels", out,
        **{"split": "all", "count": 2} | settings,
    )  # fmt: skip
    lines = list(run_explain(plan, 1, Silent()))
    return (
        lines,
        pl.read_parquet(out / "attributions.parquet"),
        json.loads((out / "explain.json").read_text()),
    )


@pytest.fixture(scope="module")
def tokens(hospital, tmp_path_factory):
    """Explanations of the token model with the simulator's truth."""
    out = tmp_path_factory.mktemp("why")
    return out, *run(hospital, "tokens", out, truth=hospital / "export")


def test_every_event_of_every_answer_has_a_number_by_every_method(tokens):
    _, _, table, report = tokens
    assert table.columns == COLUMNS
    assert set(report["tasks"]) == set(TASKS)
    methods = set(table["method"])
    assert methods == {"integrated gradients", "hidden attention", "hidden contributions", "occlusion"}
    answers = table.group_by("task", "subject_id", "prediction_time", "method").agg(
        pl.len(), pl.col("position").sort()
    )
    assert len(answers) == 2 * 2 * 4
    for count, positions in answers.select("len", "position").iter_rows():
        assert positions == list(range(1, count + 1))
        assert count < 31
    assert table["attribution"].is_finite().all()
    hidden = table.filter(pl.col("method") == "hidden attention")["attribution"]
    assert hidden.min() >= 0


def test_events_are_those_of_the_record_that_were_known(hospital, tokens):
    _, _, table, _ = tokens
    structural = {"visit boundary", "interval", "start"}
    shown = table.filter(~pl.col("type").is_in(structural) & (pl.col("method") == "occlusion"))
    dataset = Dataset.open(hospital / "data")
    record = pl.concat([pl.DataFrame(dataset.read_shard(path)) for path in dataset.shards()])
    known = record.with_columns(seen=pl.coalesce("available_time", "time"))
    joined = shown.join(
        known.select("subject_id", "code", "time", "seen").unique(), on=["subject_id", "code", "time"],
        how="left", nulls_equal=True,
    )  # fmt: skip
    timed = joined.filter(pl.col("type") != "static")
    assert timed["seen"].null_count() == 0
    assert (
        timed.group_by("subject_id", "prediction_time", "task", "position")
        .agg((pl.col("seen") <= pl.col("prediction_time")).any())["seen"]
        .all()
    )
    assert {"lab", "vital", "medication administration"} <= set(shown["type"])


def test_the_report_counts_means_and_sums_by_type(tokens):
    _, _, table, report = tokens
    for task in TASKS:
        for method, found in report["tasks"][task]["methods"].items():
            for row in found["by_type"]:
                some = table.filter(
                    (pl.col("task") == task) & (pl.col("method") == method) & (pl.col("type") == row["type"])
                )["attribution"].to_numpy()
                assert row["tokens"] == len(some)
                assert row["mean"] == pytest.approx(some.mean())
                assert row["mean_size"] == pytest.approx(np.abs(some).mean())
                assert row["sum_per_answer"] == pytest.approx(some.sum() / 2)


def test_the_report_says_how_far_to_believe(tokens):
    _, _, _, report = tokens
    found = report["tasks"]["readmission_30d"]
    gradients = found["methods"]["integrated gradients"]
    assert gradients["completeness_gap"]["relative"] < 0.01
    for name in ("integrated gradients", "hidden attention", "hidden contributions", "occlusion"):
        method = found["methods"][name]
        assert (
            set(method["comprehensiveness"])
            == set(method["sufficiency"])
            == {"1%", "5%", "10%", "20%", "50%"}
        )
        assert 0 <= method["deletion"] <= 1
        assert 0 <= method["auroc_of_causes"]["mean"] <= 1
        assert -1 <= found["agreement"][name]["occlusion" if name != "occlusion" else "hidden attention"] <= 1
    assert "rank_correlation_with_random_weights" in gradients
    assert "comprehensiveness" in found["random ranks"]


def test_lines_hold_nothing_of_records(tokens):
    _, lines, table, _ = tokens
    text = "\n".join(lines)
    assert not any(str(subject) in text for subject in table["subject_id"].unique())
    assert not any(code in text for code in table["code"].unique())
    assert not re.search(r"\d{4}-\d\d-\d\d", text)


def test_a_named_subject_is_explained_at_its_highest_risk(hospital, tokens, tmp_path):
    first = tokens[2].filter(pl.col("task") == "long_stay_7d").row(0, named=True)
    subject, asked = first["subject_id"], first["prediction_time"]
    _, table, report = run(hospital, "tokens", tmp_path, tasks=["long_stay_7d"], subjects=[subject])
    assert table["prediction_time"].unique().to_list() == [asked]
    assert report["chosen"] == "subjects"


@pytest.mark.parametrize(
    ("artifact", "methods"),
    [
        ("hymate", {"integrated gradients", "integrated gradients of values", "fusion attention", "attention",
                    "occlusion"}),
        ("hymate_carried", {"occlusion"}),
    ],
)  # fmt: skip
def test_series_are_explained_by_event_and_by_variable_and_hour(hospital, tmp_path, artifact, methods):
    _, table, report = run(
        hospital, artifact, tmp_path, tasks=["long_stay_7d"], count=1, truth=hospital / "export"
    )
    assert set(table["method"]) == methods
    assert set(report["tasks"]["long_stay_7d"]["methods"]) == methods
    occluded = table.filter(pl.col("method") == "occlusion")
    assert occluded["code"].str.starts_with("LOINC//").any()
    assert (occluded["time"] <= occluded["prediction_time"]).all()
    assert occluded["attribution"].abs().max() > 0
    if artifact == "hymate":
        fused = table.filter(pl.col("method").str.contains("attention")).group_by("method", "subject_id").agg(
            pl.col("attribution").sum()
        )  # fmt: skip
        assert fused["attribution"].to_list() == pytest.approx([1] * len(fused), abs=1e-4)


def test_what_cannot_be_explained_is_refused(hospital, tmp_path):
    with pytest.raises(ConfigError, match="--choose worst"):
        run(hospital, "tokens", tmp_path, choose="worst")
    with pytest.raises(ConfigError, match="no such answers"):
        run(hospital, "tokens", tmp_path, tasks=["mortality_30d"])
    with pytest.raises(DataError, match="1 of 1 have no labels"):
        run(hospital, "tokens", tmp_path, subjects=[1])


def test_the_command_writes_the_page(hospital, tmp_path):
    arguments = ["explain", *(str(hospital / name) for name in ("tokens", "data", "labels"))]
    options = ["--out", str(tmp_path / "why"), "--split", "all", "--count", "1", "--task", "readmission_30d"]
    found = CliRunner().invoke(app, [*arguments, *options, "--threads", "1"])
    assert found.exit_code == 0, found.output
    assert "explain.html" in found.output
    html = (tmp_path / "why" / "explain.html").read_text()
    assert "http-equiv" in html
    assert "readmission" in html.lower()
    assert all(file.stat().st_mode & 0o077 == 0 for file in (tmp_path / "why").iterdir())
