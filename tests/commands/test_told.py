"""What was found on the way reaches the terminal, the run record, the predictions and the report."""

import json
import shutil
import zlib

import numpy as np
import pytest

from chartscan.artifact import load
from chartscan.commands.evaluate import ReportPlan, run_evaluate
from chartscan.commands.ingest import IngestPlan, run_ingest
from chartscan.commands.predict import run_predict
from chartscan.commands.train import run_train
from chartscan.errors import DataError
from chartscan.evaluation import read_predictions
from chartscan.labels.files import save_labels
from chartscan.labels.making import make_labels
from chartscan.notes import notes_in
from chartscan.simulator import SimulateConfig, simulate
from chartscan.store.dataset import Dataset
from icu import Silent

TASKS = ("readmission_30d", "mortality_30d")


def hospital(folder, seed, renamed=0, subjects=120):
    """A simulated dataset with labels; of ten laboratory codes `renamed` are written in another way."""
    simulate(folder / "export", SimulateConfig(subjects=subjects, seed=seed))
    path = folder / "export" / "Observation.ndjson"
    path.write_text("".join(in_dialect(line, renamed) for line in path.read_text().splitlines(keepends=True)))
    dataset, _ = run_ingest(IngestPlan("fhir", folder / "export", folder / "data", [], []), Silent())
    save_labels(make_labels(dataset, list(TASKS), Silent()), folder / "labels", as_folder=True)
    return folder


def in_dialect(line, renamed):
    record = json.loads(line)
    for coding in record["code"]["coding"]:
        if zlib.crc32(coding["code"].encode()) % 10 < renamed:
            coding["code"] = f"LOCAL-{coding['code']}"
    return json.dumps(record) + "\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A hospital with a model of its own."""
    folder = hospital(tmp_path_factory.mktemp("home"), seed=5)
    watcher = Silent()
    run_train("xgboost", folder / "data", folder / "trees", folder / "labels", [], watcher)
    (folder / "said.json").write_text(json.dumps(watcher.said))
    return folder


def predicted(home, place, out, split="all", labels="labels"):
    """The watcher of a prediction of `place` by the model of `home`."""
    watcher = Silent()
    asked = place / labels
    list(run_predict(home / "trees", place / "data", asked, out, split, 1, watcher))
    return watcher


def report_of(predictions, place, out):
    watcher = Silent()
    report, _ = run_evaluate(ReportPlan([predictions], out, data=place / "data", bootstrap=20), watcher)
    page = " ".join(report.read_text().replace("&#39;", "'").replace("&gt;", ">").split())
    return page, json.loads((out / "metrics.json").read_text()), watcher


def test_a_note_of_training_reaches_terminal_run_record_predictions_and_report(home, tmp_path):
    said = json.loads((home / "said.json").read_text())
    notes = [note for note in notes_in(load(home / "trees").run) if note.where == "mortality_30d"]
    assert {note.code for note in notes} == {"few_train_events", "no_calibration"}
    watcher = predicted(home, home, tmp_path / "p", "held_out")
    run = read_predictions(tmp_path / "p" / "mortality_30d.parquet").run
    page, metrics, _ = report_of(tmp_path / "p", home, tmp_path / "report")
    few, raw = notes
    for note in notes:
        assert said.count(str(note)) == 1
        assert note in notes_in({"notes": run["training_notes"]})
    assert few.text in page
    told = next(note for note in notes_in(run) if note.code == "no_calibration")
    assert raw.text.partition(";")[0] in told.text
    assert watcher.said.count(str(told)) == 1
    assert told.text in page
    assert {note["code"] for note in metrics["notes"]} >= {"few_train_events", "no_calibration", "few_events"}


@pytest.fixture(scope="module")
def elsewhere(home, tmp_path_factory):
    """Another hospital with codes of its own, the watcher of its predictions, their record, the report."""
    folder = tmp_path_factory.mktemp("elsewhere")
    other = hospital(folder / "other", seed=6, renamed=2, subjects=60)
    watcher = predicted(home, other, folder / "p")
    run = read_predictions(folder / "p" / "readmission_30d.parquet").run
    return other, watcher, run, report_of(folder / "p", other, folder / "report")[0]


def test_the_share_of_unknown_codes_of_another_hospital_is_told_in_all_places(elsewhere):
    _, watcher, run, page = elsewhere
    (note,) = [note for note in notes_in(run) if note.code == "unknown_codes"]
    assert "LOINC" in note.text
    assert watcher.said.count(str(note)) == 1
    counted = run["coverage"]["events"]
    unknown, events = (sum(one[name] for one in counted.values()) for name in ("unknown", "events"))
    assert f"{unknown / events:.1%} of {events:,} events" in note.text
    assert note.text in page
    assert f"xgboost: {events:,} events, {100 * unknown / events:.2f} % not known" in page


def test_a_hospital_of_which_more_than_a_fifth_is_unknown_is_refused_with_its_worst_systems(home, tmp_path):
    other = hospital(tmp_path / "other", seed=6, renamed=10, subjects=30)
    with pytest.raises(DataError, match=r"LOINC \d+% of .*At most 20% can be accepted"):
        predicted(home, other, tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_patients_of_another_hospital_with_the_same_ids_did_not_teach_the_model(home, elsewhere, tmp_path):
    other, _, run, page = elsewhere
    ids = Dataset.open(other / "data").subject_ids()
    assert len(np.intersect1d(ids, Dataset.open(home / "data").subject_ids())) == len(ids)
    assert run["seen"]["seen"] == 0
    assert run["seen"]["other_people"] > 0
    assert f"none of the {run['seen']['subjects']} subjects were used in training" in page
    assert "another dataset" in page
    assert "Not held out" not in page
    predicted(home, other, tmp_path / "held-out", "held_out")  # not refused


def test_the_hospitals_own_patients_are_recognised_in_a_later_export(home, tmp_path):
    later = tmp_path / "later"
    plan = IngestPlan("fhir", home / "export", later / "data", [], [], follow_up_end="2025-03-08")
    dataset, _ = run_ingest(plan, Silent())
    save_labels(make_labels(dataset, list(TASKS), Silent()), later / "labels", as_folder=True)
    predicted(home, later, tmp_path / "p")
    seen = read_predictions(tmp_path / "p" / "readmission_30d.parquet").run["seen"]
    assert seen["other_people"] == 0
    assert 0.6 * seen["subjects"] < seen["seen"] < seen["subjects"]
    page, _, _ = report_of(tmp_path / "p", later, tmp_path / "report")
    assert f"{seen['seen']} of the {seen['subjects']} subjects were used in training" in page
    assert "Not held out" in page


def test_the_settings_of_the_labels_stand_in_every_title_of_the_report(home, tmp_path):
    dataset = Dataset.open(home / "data")
    found = make_labels(dataset, ["readmission_30d"], Silent(), ["horizon_days=90"])
    save_labels(found, tmp_path / "labels", as_folder=True)
    shutil.copytree(home / "data", tmp_path / "data")
    watcher = predicted(home, tmp_path, tmp_path / "p", "held_out")
    assert any("Asked with horizon_days=90 (learned: 30)" in line for line in watcher.said)
    page, _, _ = report_of(tmp_path / "p", home, tmp_path / "report")
    assert page.count("Readmission within 90 days after discharge") >= 5
    assert "within 30 days" not in page


def test_a_model_of_a_dataset_without_follow_up_says_so(home, tmp_path):
    plan = IngestPlan("fhir", home / "export", tmp_path / "data", [], [], follow_up_days=0)
    dataset, _ = run_ingest(plan, Silent())
    save_labels(make_labels(dataset, ["readmission_30d"], Silent()), tmp_path / "labels", as_folder=True)
    watcher = Silent()
    run_train("logistic", tmp_path / "data", tmp_path / "run", tmp_path / "labels", [], watcher)
    codes = [note.code for note in notes_in(load(tmp_path / "run").run)]
    assert "follow_up_not_known" in codes
    assert any("The end of follow-up is unknown" in line for line in watcher.said)
