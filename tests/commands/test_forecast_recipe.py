"""Forecasting a dataset: the file of futures, and risks from sampled futures as the tasks define outcomes."""

import json
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chartscan.artifact import load, save
from chartscan.commands.forecast import FORECASTS, ForecastJob, run_forecast
from chartscan.commands.forecast_report import ForecastReportJob, run_forecast_report
from chartscan.commands.ingest import IngestPlan, run_ingest
from chartscan.commands.train import run_train
from chartscan.commands.zero_shot import LEAST, ZeroShotJob, plan_for, run_zero_shot
from chartscan.errors import ConfigError, DataError
from chartscan.evaluation import read_predictions
from chartscan.find import find
from chartscan.generate import Future, Plan
from chartscan.generate.histories import forecaster
from chartscan.generate.imagined import Imagined, known_events
from chartscan.inputs.tokens.types import TYPE_OF_EVENT
from chartscan.labels.files import save_labels
from chartscan.labels.making import make_labels
from chartscan.labels.tasks import set_tasks, task_as_labelled
from chartscan.schema import EVENTS, HELD_OUT, PREDICTIONS
from chartscan.simulator import SimulateConfig, simulate
from chartscan.store.dataset import Dataset
from icu import Silent
from other_device import other_device

DISCHARGE = datetime(2020, 3, 1, 12)
DAY = timedelta(days=1)
TOKENS = ("HOSPITAL_ADMISSION//IMP//EMD", "HOSPITAL_DISCHARGE//HOME", "HOSPITAL_DISCHARGE//EXPIRED")
TOKENS += ("MEDS_DEATH", "ICD10CM//I10", "LOINC//1//Q1")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A simulated dataset, labels, and a pretrained model of it."""
    root = tmp_path_factory.mktemp("forecast")
    simulate(root / "export", SimulateConfig(subjects=60, seed=1))
    dataset, _ = run_ingest(IngestPlan("fhir", root / "export", root / "data", [], []), Silent())
    labels = make_labels(dataset, ["readmission_30d"], Silent())
    save_labels(labels, root / "readmission.parquet", as_folder=False)
    settings = ["finetune=null", "pretrain.epochs=1", "model.d_model=16", "reader.min_subjects=2"]
    run_train(
        "ehrmamba-tiny", root / "data", root / "model", root / "readmission.parquet", settings, Silent()
    )
    return root


def forecast(made, name, **settings):
    chosen = {"plan": Plan(events=5, samples=2), **settings}
    job = ForecastJob(made / "model", made / "data", made / name, **chosen)
    return list(run_forecast(job, Silent())), pq.read_table(made / name)


def test_a_forecast_is_a_table_of_events_with_probabilities_and_times(made):
    lines, table = forecast(made, "a.parquet")
    assert table.schema.remove_metadata() == FORECASTS
    frame = pl.DataFrame(table)
    assert frame["probability"].is_between(0, 1).all()
    futures = frame.group_by("subject_id", "sample", maintain_order=True)
    events = ~pl.col("type").is_in(["[VS]", "[VE]", "[REG]", "interval"])
    assert (futures.agg(events.sum())["type"] == 5).mean() > 0.8  # the others die before
    assert set(frame["sample"]) == {0, 1}
    assert futures.agg(pl.col("days").diff().min() >= 0)["days"].all()
    assert "futures" in lines[0]


def test_the_same_seed_writes_the_same_bytes_and_another_seed_does_not(made):
    _, first = forecast(made, "b.parquet")
    forecast(made, "c.parquet")
    _, other = forecast(made, "d.parquet", plan=Plan(events=5, samples=2, seed=1))
    assert (made / "b.parquet").read_bytes() == (made / "c.parquet").read_bytes()
    assert not first.equals(other)


def test_a_model_without_a_pace_learns_the_same_one_from_the_train_split(made):
    trained = load(made / "model")
    assert trained.reader.pace is not None
    save(made / "older", replace(trained, reader=replace(trained.reader, pace=None)))
    forecast(made, "h.parquet")
    watcher = Silent()
    job = ForecastJob(made / "older", made / "data", made / "i.parquet", Plan(events=5, samples=2))
    list(run_forecast(job, watcher))
    assert "train split" in watcher.said[0]
    assert (made / "h.parquet").read_bytes() == (made / "i.parquet").read_bytes()


def test_a_pace_that_does_not_tell_ends_of_visits_apart_is_learned_anew(made):
    trained = load(made / "model")
    pace = msgspec.structs.replace(trained.reader.pace, waits=None)
    earlier = replace(trained, reader=replace(trained.reader, pace=pace))
    save(made / "earlier", earlier)
    watcher = Silent()
    found = forecaster(made / "earlier", Dataset.open(made / "data"), 1, watcher)
    assert "how soon a visit follows" in watcher.said[0]
    assert found.reader.pace == trained.reader.pace


def test_forecasts_at_questions_end_with_their_days(made):
    plan = Plan(days=30.0, samples=2)
    _, table = forecast(made, "e.parquet", at=made / "readmission.parquet", plan=plan)
    assert max(table["days"].to_pylist()) <= 30
    asked = pq.read_table(made / "readmission.parquet")["prediction_time"].to_pylist()
    assert set(table["prediction_time"].to_pylist()) <= set(asked)


def test_a_folder_or_a_wrong_split_is_refused(made):
    with pytest.raises(ConfigError, match="folder"):
        forecast(made, ".")
    with pytest.raises(ConfigError, match="split"):
        forecast(made, "f.parquet", split="all")


@pytest.mark.parametrize("recipe", [ForecastJob, ZeroShotJob])
def test_a_place_that_cannot_be_written_is_told_before_anything_is_read(tmp_path, recipe):
    (tmp_path / "file").touch()
    out, nowhere = tmp_path / "file" / "out.parquet", tmp_path / "nowhere"
    if recipe is ForecastJob:
        lines = run_forecast(ForecastJob(nowhere, nowhere, out, Plan()), Silent())
    else:
        lines = run_zero_shot(ZeroShotJob(nowhere, nowhere, nowhere / "a.parquet", out, Plan()), Silent())
    with pytest.raises(OSError, match="cannot be written") as err:
        list(lines)
    assert err.value.filename == str(out)


def test_zero_shot_answers_the_task_with_the_settings_of_its_labels(made):
    """Asked 12 hours after admission, where the task itself asks at 24, of stays too long for any future."""
    dataset, risks = Dataset.open(made / "data"), {}
    for hours in (168, 3000):
        settings = ["hours=12", f"longer_than_hours={hours}"]
        labels = make_labels(dataset, ["long_stay_7d"], Silent(), settings)
        path, out = made / f"long-{hours}.parquet", made / f"long-{hours}-risks.parquet"
        save_labels(labels, path, as_folder=False)
        job = ZeroShotJob(made / "model", made / "data", path, out, Plan(samples=3, days=20.0))
        list(run_zero_shot(job, Silent()))
        risks[hours] = read_predictions(out).table["predicted_boolean_probability"].to_numpy()
    assert risks[168].max() > 0.3
    assert risks[3000].max() == np.float32(LEAST)


def test_labels_made_with_settings_that_the_task_no_longer_has_are_refused(made):
    counts = make_labels(Dataset.open(made / "data"), ["long_stay_7d"], Silent())["long_stay_7d"][1]
    assert task_as_labelled("long_stay_7d", counts).DEFAULT == find("tasks", "long_stay_7d").DEFAULT
    assert task_as_labelled("long_stay_7d", None).DEFAULT == find("tasks", "long_stay_7d").DEFAULT
    older = msgspec.structs.replace(counts, settings={"task": {"days": 7}})
    with pytest.raises(DataError, match="chartscan label long_stay_7d"):
        task_as_labelled("long_stay_7d", older)


def test_zero_shot_risks_are_predictions_of_the_labelled_rows(made):
    out = made / "zero.parquet"
    job = ZeroShotJob(made / "model", made / "data", made / "readmission.parquet", out, Plan(samples=3))
    list(run_zero_shot(job, Silent()))
    found = read_predictions(out)
    assert found.task == "readmission_30d"
    assert found.table.schema.remove_metadata() == PREDICTIONS
    splits = pq.read_table(made / "data" / "metadata" / "subject_splits.parquet").to_pylist()
    held_out = {row["subject_id"] for row in splits if row["split"] == HELD_OUT}
    assert set(found.table["subject_id"].to_pylist()) <= held_out
    risk = found.table["predicted_boolean_probability"].to_numpy()
    assert ((risk >= np.float32(LEAST)) & (risk <= 1 - LEAST)).all()
    told = found.run["futures_that_tell"]
    assert len(told) == len(risk)
    assert max(told) <= 3 + 1e-6
    assert min(told) > 0
    assert found.run["futures_that_do_not_tell"] == round(3 * len(told) - sum(told))


def test_a_zero_shot_risk_is_the_share_of_the_futures_that_a_forecast_draws(made):
    """Brute force: a readmission is the start of a stay among the events of a future within 30 days."""
    labels, few, out = (
        pq.read_table(made / "readmission.parquet"),
        made / "few.parquet",
        made / "many.parquet",
    )
    splits = pq.read_table(made / "data" / "metadata" / "subject_splits.parquet").to_pylist()
    held_out = sorted(row["subject_id"] for row in splits if row["split"] == HELD_OUT)
    pq.write_table(labels.filter(np.isin(labels["subject_id"].to_numpy(), held_out[:2])), few)
    job = ZeroShotJob(made / "model", made / "data", few, out, Plan(samples=60))
    list(run_zero_shot(job, Silent()))
    _, table = forecast(made, "futures.parquet", at=few, plan=Plan(days=30.0, samples=60))
    keys = ["subject_id", "prediction_time"]
    back = pl.DataFrame(table).filter((pl.col("type") == "admission") & (pl.col("days") > 0))
    shares = back.select(*keys, "sample").unique().group_by(keys).len()
    both = pl.DataFrame(read_predictions(out).table).join(shares, on=keys, how="left")
    share = both["len"].fill_null(0).to_numpy() / 60
    assert share.max() > 0.05
    error = np.sqrt(np.maximum(share * (1 - share), 0.02) / 60)
    assert (np.abs(both["predicted_boolean_probability"].to_numpy() - share) < 4 * error).all()


def test_a_zero_shot_risk_does_not_depend_on_who_else_is_asked(made):
    def risks(name, labels):
        job = ZeroShotJob(made / "model", made / "data", labels, made / name, Plan(samples=3))
        list(run_zero_shot(job, Silent()))
        table = read_predictions(made / name).table
        keys = zip(table["subject_id"].to_pylist(), table["prediction_time"].to_pylist(), strict=True)
        return dict(zip(keys, table["predicted_boolean_probability"].to_pylist(), strict=True))

    everybody = risks("all.parquet", made / "readmission.parquet")
    labels = pq.read_table(made / "readmission.parquet")
    asked = sorted({subject for subject, _ in everybody})[::2]
    pq.write_table(
        labels.filter(np.isin(labels["subject_id"].to_numpy(), asked)), made / "some-labels.parquet"
    )
    some = risks("some.parquet", made / "some-labels.parquet")
    assert 0 < len(some) < len(everybody)
    assert some == {key: everybody[key] for key in some}


# --- what tasks say of imagined futures ---


def known(*more):
    """One stay from 5 days before DISCHARGE to DISCHARGE, and what happened later."""
    row = dict.fromkeys(EVENTS.names) | {"subject_id": 1}

    def event(kind, time, code, **values):
        return row | {"event_type": kind, "time": time, "available_time": time, "code": code} | values

    rows = [
        event("birth", datetime(1960, 1, 1), "MEDS_BIRTH"),
        event("admission", DISCHARGE - 5 * DAY, TOKENS[0], encounter_id="a"),
        event("discharge", DISCHARGE, TOKENS[1], encounter_id="a"),
        event("admission", DISCHARGE + DAY, TOKENS[0], encounter_id="b"),  # the truth, not to be seen
    ]
    return pa.Table.from_pylist([*rows, *more], schema=EVENTS)


class Codes:
    tokens = TOKENS


def outcome(task, *told, now=DISCHARGE, days=60, ended="days"):
    """What `task` says of a future of (type, token, days after `now`)."""
    times = [int((now + d * DAY - datetime(1970, 1, 1)) / timedelta(microseconds=1)) for *_, d in told]
    future = Future(
        0,
        0,
        np.array([TOKENS.index(code) for _, code, _ in told], dtype=np.int32),
        np.array([TYPE_OF_EVENT[kind] for kind, _, _ in told], dtype=np.uint8),
        np.array(times, dtype=np.int64),
        np.zeros(len(told), dtype=np.float32),
        ended,
    )
    imagined = Imagined(find("tasks", task), Codes, known_events(known(), now), now, now + days * DAY)
    return imagined.outcome(future)


BACK = ("admission", TOKENS[0])
DEAD = ("death", TOKENS[3])


@pytest.mark.parametrize(("day", "expected"), [(1, True), (29.9, True), (30, True), (30.1, False)])
def test_readmission_is_a_new_stay_within_its_days(day, expected):
    assert outcome("readmission_30d", (*BACK, day)) is expected


def test_a_quiet_future_has_no_outcome_and_a_short_one_does_not_tell():
    assert outcome("readmission_30d") is False
    assert outcome("mortality_30d") is False
    assert outcome("readmission_30d", ("lab", TOKENS[5], 3), ended="tokens") is None
    assert outcome("readmission_30d", (*BACK, 3), ended="tokens") is True


def test_deaths_count_by_the_rules_of_each_task():
    assert outcome("mortality_30d", (*DEAD, 12), ended="death") is True
    assert outcome("mortality_30d", (*DEAD, 40), ended="death") is False
    assert outcome("readmission_30d", (*DEAD, 12), ended="death") is False


def test_the_end_of_the_open_stay_tells_its_length_and_how_it_ended():
    at = DISCHARGE - 4 * DAY
    home, dead = ("discharge", TOKENS[1]), ("discharge", TOKENS[2])
    assert outcome("long_stay_7d", (*home, 2), now=at) is False
    assert outcome("long_stay_7d", (*home, 7), now=at) is True
    assert outcome("in_hospital_mortality", (*home, 7), now=at) is False
    assert outcome("in_hospital_mortality", (*dead, 7), now=at) is True
    assert outcome("in_hospital_mortality", now=at) is None


def test_a_diagnosis_counts_for_the_stay_it_is_made_in():
    code = ("diagnosis", TOKENS[4])
    stay = [(*BACK, 90), (*code, 91), ("discharge", TOKENS[1], 92)]
    assert outcome("hypertension_1y", *stay, days=366) is True
    assert outcome("hypertension_1y", days=366) is False


def test_futures_reach_a_day_beyond_the_tasks_horizon():
    assert plan_for(Plan(), find("tasks", "readmission_30d"), ()).days == 31
    assert plan_for(Plan(days=5.0), find("tasks", "readmission_30d"), ()).days == 5


def test_futures_branch_at_what_settles_an_answer_by_the_tasks_own_settings_alone():
    def plan(name, settings=(), **values):
        return plan_for(Plan(**values), set_tasks([name], settings)[name], (40,))

    assert plan("mortality_30d").branch_at == ("death",)
    assert plan("mortality_30d").part_at == (40,)
    assert plan("readmission_30d").branch_at == ("admission", "death")
    assert plan("readmission_30d").part_at == ()
    for other in (plan("readmission_30d", ["horizon_days=7"]), plan("readmission_30d", top_p=0.9)):
        assert other.branch_at == other.part_at == ()


def test_a_branch_tells_by_what_it_has_seen():
    assert outcome("readmission_30d", (*BACK, 12), ended="branch") is True
    assert outcome("readmission_30d", (*BACK, 30.5), ended="branch") is False
    assert outcome("mortality_30d", (*DEAD, 12), ended="branch") is True
    assert outcome("mortality_30d", (*BACK, 12), ended="branch") is None


def test_a_report_on_forecasts_is_written(made):
    out = made / "report"
    path = run_forecast_report(ForecastReportJob(made / "model", made / "data", out, bootstrap=20), Silent())
    assert path.exists()
    found = json.loads((out / "forecasts.json").read_text())
    assert set(found["subjects"]) == {"all tokens", "events"}
    assert {s["method"] for s in found["scores"]} >= {"ehrmamba", "n-gram", "copy of the last 10"}
    assert found["next_tokens"] > 100


@pytest.mark.parametrize("wrong", [{"temperature": float("inf")}, {"days": float("inf")}, {"top_p": 0.0}])
def test_a_plan_without_sense_is_refused_by_name(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Plan(**wrong)


@pytest.mark.parametrize(
    "plan",
    [
        Plan(events=3, temperature=0, tokens=20),
        Plan(events=3, samples=2, top_p=0.9, tokens=20, grammar=True),
    ],
)
def test_futures_are_drawn_on_another_device_as_on_the_cpu(made, plan):
    _, here = forecast(made, "here.parquet", plan=plan)
    with other_device() as device:
        _, there = forecast(made, "there.parquet", plan=plan, device=device)
    assert there.drop_columns("probability").equals(here.drop_columns("probability"))
    np.testing.assert_allclose(there["probability"], here["probability"], atol=1e-5)


def test_risks_and_reports_are_made_on_another_device_as_on_the_cpu(made):
    plan = Plan(samples=2, days=5.0, tokens=20)
    jobs = [
        ZeroShotJob(
            made / "model", made / "data", made / "readmission.parquet", made / "z-here.parquet", plan
        ),
        ForecastReportJob(made / "model", made / "data", made / "r-here", bootstrap=10),
    ]
    list(run_zero_shot(jobs[0], Silent()))
    run_forecast_report(jobs[1], Silent())
    with other_device() as device:
        list(run_zero_shot(replace(jobs[0], out=made / "z-there.parquet", device=device), Silent()))
        run_forecast_report(replace(jobs[1], out=made / "r-there", device=device), Silent())
    here, there = (read_predictions(made / f"z-{name}.parquet").table for name in ("here", "there"))
    assert there.equals(here)
    (same, here), (as_well, there) = (
        values(made / f"r-{name}" / "forecasts.json") for name in ("here", "there")
    )
    assert as_well == same
    np.testing.assert_allclose(there, here, atol=1e-5)


def values(path):
    """What a JSON file holds without its fractions and digests, and these fractions."""
    fractions = []
    found = json.loads(path.read_text(), parse_float=lambda text: fractions.append(float(text)))
    return {name: found[name] for name in found.keys() - {"files", "sha256"}}, fractions
