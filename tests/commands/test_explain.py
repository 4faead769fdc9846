"""`chartscan explain` on a small simulated hospital: numbers that add up, nothing of records in lines."""

import json
import re
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import torch
from typer.testing import CliRunner

from chartscan import artifact as artifacts
from chartscan.artifact import Artifact, Ensemble, Network
from chartscan.cli import app
from chartscan.commands.explain import ExplainPlan, run_explain
from chartscan.commands.forecast import ForecastJob, run_forecast
from chartscan.commands.forecast_report import ForecastReportJob, run_forecast_report
from chartscan.commands.ingest import IngestPlan, run_ingest
from chartscan.commands.zero_shot import ZeroShotJob, run_zero_shot
from chartscan.errors import ConfigError, DataError
from chartscan.generate import Plan
from chartscan.inputs.hourly import CHANNELS, SeriesConfig, Variables
from chartscan.inputs.readers import HourlyReader, TokenReader
from chartscan.inputs.tokens import SequenceConfig, fit_bins, fit_pace, fit_vocabulary
from chartscan.interpret import faithfulness, future
from chartscan.interpret import series as series_explaining
from chartscan.interpret import tokens as token_explaining
from chartscan.interpret.explanation import Question, voices
from chartscan.interpret.future import Ahead, forecasts_beside
from chartscan.labels.files import save_labels
from chartscan.labels.making import make_labels
from chartscan.models import ehrmamba, gru, hymate, hymate_carried
from chartscan.objectives import classification, prompted, readouts
from chartscan.objectives.next_event import NextEvent
from chartscan.objectives.prompted import Prompted
from chartscan.simulator import SimulateConfig, simulate
from chartscan.store.dataset import Dataset
from icu import Silent
from other_device import other_device
from private_files import files_for_everybody, files_of_subjects

TASKS = ("long_stay_7d", "readmission_30d")
CARRIED = ("hymate_carried", "gru")  # their steps take minutes on the other device
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
    artifacts.save(root / "pretrained", pretrained_artifact(dataset))
    for name, model in (("hymate", hymate), ("hymate_carried", hymate_carried), ("gru", gru)):
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
    network = Network("ehrmamba", config, model, {"head": head}, prompted.Config())
    return Artifact(TokenReader(vocabulary, bins), network, TASKS)


def pretrained_artifact(dataset):
    """Of another vocabulary than `sequence_artifact`."""
    torch.manual_seed(1)
    tables = [dataset.read_shard(path) for path in dataset.shards()]
    settings = SequenceConfig(min_subjects=3, context=64, n_bins=3)
    bins = fit_bins(tables, settings)
    vocabulary = fit_vocabulary(tables, bins, settings)
    model = ehrmamba.Model(ehrmamba.Config(d_model=8, n_layers=1, d_state=4, time_dim=4), len(vocabulary))
    head = NextEvent(model.width, len(vocabulary))
    network = Network("ehrmamba", model.config, model, {"forecast": head})
    return Artifact(TokenReader(vocabulary, bins), network)


def series_artifact(dataset, name, module):
    torch.manual_seed(0)
    tables = [dataset.read_shard(path) for path in dataset.shards()]
    variables = Variables.fit(tables, SeriesConfig(min_subjects=2))
    config = {
        "hymate": hymate.Config(d_model=8, n_layers=1, n_heads=2, d_state=4),
        "gru": gru.Config(d_model=8, channels=len(CHANNELS)),
        "hymate_carried": hymate_carried.Config(CHANNELS, d_model=8, n_heads=2, d_state=4),
    }[name]
    model = module.Model(config, variables.n_variables, variables.n_statics)
    if hasattr(model, "fit_inputs"):
        model.fit_inputs(torch.rand(20, variables.n_variables, len(CHANNELS)), torch.ones(20, 2).tril())
    objective, settings = HEADS[model.HEAD]
    head = objective.make(model, len(TASKS), settings)
    return Artifact(HourlyReader(variables), Network(name, config, model, {"head": head}, settings), TASKS)


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
    out = tmp_path_factory.mktemp("why") / "out"
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
    out = tmp_path / "why"
    _, table, report = run(hospital, "tokens", out, tasks=["long_stay_7d"], subjects=[subject])
    assert table["prediction_time"].unique().to_list() == [asked]
    assert report["chosen"] == "subjects"


@pytest.mark.parametrize(
    ("artifact", "methods"),
    [
        ("hymate", {"integrated gradients", "integrated gradients of values", "fusion attention", "attention",
                    "occlusion"}),
        ("hymate_carried", {"integrated gradients", "integrated gradients of values", "occlusion"}),
        ("gru", {"integrated gradients", "integrated gradients of values", "occlusion"}),
    ],
)  # fmt: skip
def test_series_are_explained_by_event_and_by_variable_and_hour(hospital, tmp_path, artifact, methods):
    _, table, report = run(
        hospital, artifact, tmp_path / "why", tasks=["long_stay_7d"], count=1, truth=hospital / "export"
    )
    assert set(table["method"]) == methods
    assert set(report["tasks"]["long_stay_7d"]["methods"]) == methods
    occluded = table.filter(pl.col("method") == "occlusion")
    assert occluded["code"].str.starts_with("LOINC//").any()
    assert (occluded["time"] <= occluded["prediction_time"]).all()
    assert occluded["attribution"].abs().max() > 0
    gradients = [m for m in methods if m.startswith("integrated gradients")]
    assert len(gradients) == 2
    for method in gradients:
        gap = report["tasks"]["long_stay_7d"]["methods"][method]["completeness_gap"]
        assert gap["relative"] < 0.01
    if artifact == "hymate":
        fused = table.filter(pl.col("method").str.contains("attention")).group_by("method", "subject_id").agg(
            pl.col("attribution").sum()
        )  # fmt: skip
        assert fused["attribution"].to_list() == pytest.approx([1] * len(fused), abs=1e-4)


@pytest.fixture(scope="module")
def ensemble(hospital):
    """The token model and another of its kind, and both as one artifact."""
    first = artifacts.load(hospital / "tokens")
    torch.manual_seed(5)
    model = ehrmamba.Model(first.network.config, *first.reader.sizes)
    heads = {"head": Prompted(model.width, len(TASKS))}
    second = replace(first, learned=replace(first.network, model=model, heads=heads))
    artifacts.save(hospital / "second", second)
    weights = {TASKS[0]: np.array([0.7, 0.5]), TASKS[1]: np.array([0.2, 1.1])}
    artifacts.save(hospital / "both", Ensemble("both", (first, second), weights))
    return weights


def test_an_ensemble_of_token_models_is_explained_by_the_weighed_sum_of_its_members(
    hospital, ensemble, tmp_path, monkeypatch
):
    monkeypatch.setattr(token_explaining, "to_tolerance", lambda method: (method(2), 2))  # a sum at any steps
    tables = {
        name: run(hospital, name, tmp_path / name, choose="random")[1]
        for name in ("tokens", "second", "both")
    }
    keys = ["task", "subject_id", "prediction_time", "method", "position"]
    joined = (
        tables["both"]
        .join(tables["tokens"], on=keys, suffix="_1")
        .join(tables["second"], on=keys, suffix="_2")
    )
    assert len(joined) == len(tables["both"]) > 0
    assert joined["attribution"].abs().max() > 0.01
    for (task,), rows in joined.group_by("task"):
        first, second = ensemble[task]
        expected = first * rows["attribution_1"] + second * rows["attribution_2"]
        np.testing.assert_allclose(rows["attribution"], expected, atol=1e-7, rtol=1e-5)


def test_members_that_read_other_tokens_are_not_explained_together(hospital):
    first = artifacts.load(hospital / "tokens")
    other = replace(first, reader=first.reader.with_tasks(["mortality_30d"]))
    for second in (other, artifacts.load(hospital / "gru")):
        weights = dict.fromkeys(TASKS, np.array([0.5, 0.5]))
        with pytest.raises(ConfigError, match="explained together"):
            voices(Ensemble("both", (first, second), weights), hospital)


def test_what_cannot_be_explained_is_refused(hospital, tmp_path):
    with pytest.raises(ConfigError, match="--choose worst"):
        run(hospital, "tokens", tmp_path / "why", choose="worst")
    with pytest.raises(ConfigError, match="no such task here"):
        run(hospital, "tokens", tmp_path / "why", tasks=["mortality_30d"])
    with pytest.raises(DataError, match="1 of 1 have no labels"):
        run(hospital, "tokens", tmp_path / "why", subjects=[1])
    with pytest.raises(ConfigError, match="exists already"):
        run(hospital, "tokens", tmp_path)
    with pytest.raises(ConfigError, match="no forecasting head"):
        run(hospital, "tokens", tmp_path / "why", forecast=hospital / "tokens")
    assert list(tmp_path.iterdir()) == []


def test_a_fine_tuned_model_does_not_forecast_beside_an_explanation(hospital, tmp_path):
    made = artifacts.load(hospital / "tokens")
    heads = {**made.network.heads, "forecast": NextEvent(made.network.model.width, *made.reader.sizes)}
    artifacts.save(tmp_path / "tuned", replace(made, learned=replace(made.network, heads=heads)))
    with pytest.raises(ConfigError, match="was fine-tuned"):
        run(hospital, "tokens", tmp_path / "why", forecast=tmp_path / "tuned")


@pytest.mark.parametrize("artifact", ["tokens", "hymate"])
def test_forecasts_stand_beside_what_the_record_says_came(hospital, tmp_path, artifact, monkeypatch):
    monkeypatch.setattr(future, "MOST_TOKENS", 150)
    settings = {"tasks": ["readmission_30d"], "count": 2, "days": 60.0, "samples": 3}
    _, table, report = run(hospital, artifact, tmp_path / "why", forecast=hospital / "pretrained", **settings)
    assert report["forecast"]["days"] == 60
    futures = pl.read_parquet(tmp_path / "why" / "forecast.parquet")
    assert set(futures["sample"]) <= {-1, 0, 1, 2}
    shown = patients_of(tmp_path / "why" / "explain.html")
    asked = table.select("subject_id", "prediction_time").unique(maintain_order=True)
    assert len(shown) == len(asked) == 2
    assert sum(len(one["forecast"]["came"]["days"]) for one in shown) > 0
    for patient, (subject, now) in zip(shown, asked.iter_rows(), strict=True):
        came, drawn = patient["forecast"]["came"], patient["forecast"]["shares"]
        expected = known_between(hospital, subject, now, now + timedelta(days=60))
        assert sorted(came["days"]) == pytest.approx([d for d, _ in expected], rel=1e-3, abs=1e-4)
        own = futures.filter(
            (pl.col("subject_id") == subject) & (pl.col("prediction_time") == now) & (pl.col("days") > 0)
        )
        for token, share, first in zip(drawn["token"], drawn["weight"], drawn["days"], strict=True):
            held = own.filter((pl.col("code") == token) & (pl.col("sample") >= 0))
            days = held.group_by("sample").agg(pl.col("days").min())["days"]
            assert share == pytest.approx(len(days) / 3, rel=1e-3)
            assert first == pytest.approx(days.median(), rel=1e-3)


def test_nothing_after_the_prediction_time_changes_a_forecast(hospital, monkeypatch):
    monkeypatch.setattr(future, "MOST_TOKENS", 150)
    monkeypatch.setattr(future, "MOST_SHARES", 10_000)  # else what came is shown among rarer ones too
    dataset, model = Dataset.open(hospital / "data"), artifacts.load(hospital / "pretrained")
    encoded = [model.reader.encoder.encode(record) for record in records(dataset).values()]
    model = replace(model, reader=replace(model.reader, pace=fit_pace(encoded, *model.reader.sizes)))
    subject, record = max(records(dataset).items(), key=lambda item: item[1].num_rows)
    known = pl.from_arrow(record).select(pl.coalesce("available_time", "time"))[:, 0]
    now = known.drop_nulls().sort()[len(known) // 2]
    question = [Question("readmission_30d", subject, now, 0.5, None)]
    cut = record.filter(pa.array((known <= now).fill_null(True)))
    assert cut.num_rows < record.num_rows - 10
    found = [
        forecasts_beside(model, dataset, question, {subject: one}, Ahead(50, 4, 0), Silent())
        for one in (record, cut)
    ]
    assert found[0].shown[0].shares == found[1].shown[0].shares != []
    assert found[0].shown[0].likeliest == found[1].shown[0].likeliest
    assert found[0].shown[0].came != []
    assert found[1].shown[0].came == []
    shown = found[0].shown[0]
    assert all(one.days > 0 for one in (*shown.came, *shown.likeliest, *shown.shares))
    monkeypatch.setattr(future, "MOST_SHARES", 3)
    few = forecasts_beside(model, dataset, question, {subject: record}, Ahead(50, 4, 0), Silent()).shown[0]
    came = {one.token for one in few.came}
    assert few.shares == [one for i, one in enumerate(shown.shares) if i < 3 or one.token in came]
    assert 3 < len(few.shares) < len(shown.shares)


def records(dataset):
    """The EVENTS of every subject."""
    return {s: r for path in dataset.shards() for s, r in dataset.shard_subjects(path)}


def known_between(root, subject, after, until):
    """(days after `after`, code) of the subject's events that became known until `until`, in order."""
    record = pl.from_arrow(records(Dataset.open(root / "data"))[subject])
    rows = record.filter(~pl.col("event_type").is_in(["birth", "outcome"]))
    rows = rows.select(pl.coalesce("available_time", "time").alias("known"), "code")
    rows = rows.filter((pl.col("known") > after) & (pl.col("known") <= until))
    return sorted(((known - after) / timedelta(days=1), code) for known, code in rows.iter_rows())


def patients_of(page):
    """What a page holds of its answers."""
    text = page.read_text()
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(found[1])["patients"]


def test_the_command_writes_the_page(hospital, tmp_path):
    arguments = ["explain", *(str(hospital / name) for name in ("tokens", "data", "labels"))]
    options = ["--out", str(tmp_path / "why"), "--split", "all", "--count", "1", "--task", "readmission_30d"]
    found = CliRunner().invoke(app, [*arguments, *options, "--threads", "1"])
    assert found.exit_code == 0, found.output
    assert "explain.html" in found.output
    html = (tmp_path / "why" / "explain.html").read_text()
    assert "http-equiv" in html
    assert "readmission" in html.lower()
    assert (tmp_path / "why").stat().st_mode & 0o077 == 0


@pytest.mark.filterwarnings("ignore:at..frobenius_norm:UserWarning")  # PyTorch's, of devices it does not know
@pytest.mark.parametrize(
    "artifact", ["tokens", "hymate", *(pytest.param(name, marks=pytest.mark.soak) for name in CARRIED)]
)
def test_a_network_is_explained_on_another_device_as_on_the_cpu(hospital, tmp_path, artifact, monkeypatch):
    for module in (token_explaining, series_explaining):  # the same on both, at any steps
        monkeypatch.setattr(module, "to_tolerance", lambda method: (method(2), 2))
    monkeypatch.setattr(faithfulness, "CURVE", (0.0, 0.5, 1.0))
    settings = {"count": 1, "tasks": [TASKS[0]]}
    if artifact == "tokens":
        settings |= {"forecast": hospital / "pretrained", "samples": 2}
    _, here, _ = run(hospital, artifact, tmp_path / "here", **settings)
    with other_device() as device:
        _, there, _ = run(hospital, artifact, tmp_path / "there", device=device, **settings)
    assert there.drop("attribution").equals(here.drop("attribution"))
    np.testing.assert_allclose(there["attribution"], here["attribution"], atol=1e-4)
    if artifact == "tokens":
        future, other = (pl.read_parquet(tmp_path / name / "forecast.parquet") for name in ("here", "there"))
        assert other.drop("probability").equals(future.drop("probability"))


def test_what_is_said_of_subjects_is_for_its_owner_alone(hospital, tmp_path):
    common, labels = (hospital / "pretrained", hospital / "data"), hospital / "labels" / f"{TASKS[1]}.parquet"
    with files_for_everybody():
        list(
            run_forecast(
                ForecastJob(*common, tmp_path / "f.parquet", Plan(events=2), split="train"), Silent()
            )
        )
        plan = Plan(samples=1, days=2.0, tokens=20)
        list(run_zero_shot(ZeroShotJob(*common, labels, tmp_path / "z.parquet", plan, "train"), Silent()))
        run_forecast_report(ForecastReportJob(*common, tmp_path / "report", "train", bootstrap=10), Silent())
        forecast = {"forecast": hospital / "pretrained", "samples": 2}
        run(hospital, "tokens", tmp_path / "why", count=1, tasks=[TASKS[0]], **forecast)
    names = {"attributions.parquet", "explain.html", "forecast.parquet"}
    assert files_of_subjects(tmp_path) == (
        ["f.parquet", *(f"why/{n}" for n in sorted(names)), "z.parquet"],
        [],
    )
