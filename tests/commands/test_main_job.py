"""The user's way, command by command, on a small simulated hospital."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from chartscan import cli
from chartscan.evaluation import read_predictions
from chartscan.find import names
from chartscan.store.dataset import Dataset
from private_files import files_for_everybody, files_of_subjects

SMALL = ["model.d_model=16", "model.n_layers=1", "batch_size=4096"]
QUICK = ["pretrain.epochs=1", "finetune.epochs=2", *SMALL]
SETTINGS = [part for setting in QUICK for part in ("--set", setting)]


class Done(NamedTuple):
    """A command that has ended."""

    returncode: int
    stderr: str


def in_this_process(command: list[str]) -> Done:
    """Runs a command of `chartscan` without the seconds that a new process needs to begin."""
    said, hooks = io.StringIO(), (sys.excepthook, sys.unraisablehook)
    code: int | str | None = 0
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(said), redirect_stdout(io.StringIO()):
        patch.setattr(sys, "argv", ["chartscan", *command])
        patch.setattr(warnings, "formatwarning", warnings.formatwarning)  # put back in the end
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        finally:
            sys.excepthook, sys.unraisablehook = hooks
    return Done(int(code or 0), said.getvalue())


def in_its_own_process(command: list[str]) -> Done:
    """Runs a command as a user does."""
    arguments = [sys.executable, "-m", "chartscan", *command]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stderr)


def chartscan(*arguments: object, code: int = 0, run: Callable[[list[str]], Done] = in_this_process) -> Done:
    """Runs a command, and checks its exit code."""
    done = run(list(map(str, arguments)))
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with export, dataset, labels, a run and its predictions, and those of the trees."""
    folder = tmp_path_factory.mktemp("hospital")
    with files_for_everybody():
        return made(folder)


def made(folder: Path) -> Path:
    # few patients, of a seed by which the held-out ones have both answers of every task
    chartscan("simulate", folder / "export", "--subjects", 100, "--seed", 14)
    chartscan("ingest", "fhir", folder / "export", folder / "data", run=in_its_own_process)
    chartscan("label", "all", folder / "data", folder / "labels")
    for recipe, settings in (("ehrmamba-tiny", SETTINGS), ("xgboost", [])):
        chartscan(
            "train", recipe, "--data", folder / "data", "--labels", folder / "labels",
            "--out", folder / recipe, "--threads", 1, *settings,
        )  # fmt: skip
        chartscan("predict", folder / recipe, folder / "data", folder / "labels", folder / f"p-{recipe}")
    return folder


def test_predictions_are_of_held_out_subjects_only(place):
    held_out = Dataset.open(place / "data").subject_ids("held_out")
    for task in names("tasks"):
        one = read_predictions(place / "p-ehrmamba-tiny" / f"{task}.parquet")
        assert one.task == task
        assert one.table.num_rows > 0
        assert np.isin(one.table["subject_id"].to_numpy(), held_out).all()


def test_a_single_label_file_gives_a_single_prediction_file(place, tmp_path):
    chartscan("label", "readmission_30d", place / "data", tmp_path / "labels.parquet")
    labels, out = tmp_path / "labels.parquet", tmp_path / "p.parquet"
    chartscan("predict", place / "xgboost", place / "data", labels, out)
    alone = read_predictions(out).table
    assert alone.equals(read_predictions(place / "p-xgboost" / "readmission_30d.parquet").table)


def test_the_report_holds_each_task_with_baseline_and_ceiling(place):
    chartscan(
        "evaluate", place / "p-ehrmamba-tiny", "--against", place / "p-xgboost", "--data", place / "data",
        "--model", place / "ehrmamba-tiny", "--truth", place / "export" / "truth", "--bootstrap", 100,
        "--out", place / "report",
    )  # fmt: skip
    metrics = json.loads((place / "report" / "metrics.json").read_bytes())
    assert sorted(task["task"] for task in metrics["tasks"]) == names("tasks")
    for task in metrics["tasks"]:
        assert [one["model"] for one in task["models"]] == ["ehrmamba", "xgboost"]
        assert task["ceiling"]["estimates"]["auroc"]["value"] is not None
        table = read_predictions(place / "p-xgboost" / f"{task['task']}.parquet").table
        expected = roc_auc_score(table["boolean_value"], table["predicted_boolean_probability"])
        assert task["models"][1]["estimates"]["auroc"]["value"] == pytest.approx(expected)
    html = (place / "report" / "report.html").read_text()
    assert "Readmission within 30 days" in html
    assert "MedicationAdministration" in html  # the data accounting


def test_what_names_subjects_is_for_its_owner_alone(place):
    private, readable = files_of_subjects(place)
    assert {Path(name).parts[0] for name in private} == {"data", "labels", "p-ehrmamba-tiny", "p-xgboost"}
    assert {Path(name).parts[0] for name in readable} == {"export"}  # of nobody who lives


def test_nothing_is_overwritten_and_the_remedy_is_named(place):
    before = (place / "data" / "manifest.json").read_bytes()
    again = chartscan("ingest", "fhir", place / "export", place / "data", code=2, run=in_its_own_process)
    assert "--overwrite" in again.stderr
    assert (place / "data" / "manifest.json").read_bytes() == before
    run = chartscan("train", "xgboost", "--data", place / "data", "--out", place / "xgboost", code=2)
    assert "not overwritten" in run.stderr


def losses(run: Path) -> list[dict[str, float]]:
    """Loss and gradient norm of every step of both phases, from the run's own record."""
    curves = json.loads((run / "run.json").read_bytes())["curves"]
    return [
        {key: row[key] for key in ("step", "loss", "grad_norm")}
        for phase in ("pretraining/losses", "fine-tuning/losses")
        for row in curves[phase]
    ]


def test_a_killed_run_goes_on_with_the_same_losses_bit_for_bit(place, tmp_path):
    arguments = [
        *("train", "ehrmamba-tiny", "--data", str(place / "data"), "--labels", str(place / "labels")),
        *("--out", str(tmp_path / "run"), "--threads", "1", *SETTINGS),
        *("--set", "pretrain.checkpoint_every_steps=2", "--set", "finetune.checkpoint_every_steps=2"),
    ]
    command = [sys.executable, "-m", "chartscan", *arguments]
    for phase in ("pretraining", "fine-tuning"):
        resume = ["--resume"] if (tmp_path / "run.work").exists() else []
        process = subprocess.Popen([*command, *resume], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(tmp_path / "run.work" / phase / "losses.jsonl", process, lines=5)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    chartscan(*arguments, "--resume", run=in_its_own_process)
    assert losses(tmp_path / "run") == losses(place / "ehrmamba-tiny")


def wait_for(file: Path, process: subprocess.Popen[bytes], lines: int) -> None:
    """Until `file` has so many lines."""
    while not file.exists() or file.read_bytes().count(b"\n") < lines:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)


def test_labels_of_another_dataset_are_refused(place, again, tmp_path):
    wrong = chartscan("predict", place / "xgboost", again, place / "labels", tmp_path / "p", code=2)
    assert "made from another dataset" in wrong.stderr


@pytest.fixture(scope="module")
def again(place: Path) -> Path:
    """The same patients, split otherwise, with labels of their own."""
    chartscan("ingest", "fhir", place / "export", place / "again", "--store", "seed=7")
    chartscan("label", "all", place / "again", place / "labels-again")
    return place / "again"


def test_subjects_that_taught_a_model_are_not_held_out_under_another_split(place, again, tmp_path):
    labels = place / "labels-again"
    wrong = chartscan("predict", place / "xgboost", again, labels, tmp_path / "p", code=2)
    assert "were used to train the model" in wrong.stderr
    body = ["--set", f"start_from={place / 'ehrmamba-tiny'}", *SETTINGS[4:]]
    start = ["train", "ehrmamba-tiny", "--labels", labels, "--out", tmp_path / "run", *body]
    assert "was trained on" in chartscan(*start, "--data", again, code=2).stderr


def test_a_pretrained_model_is_fine_tuned_later(place, tmp_path):
    labels, tasks = tmp_path / "labels", ("long_stay_7d", "readmission_30d")
    labels.mkdir()
    for task in tasks:
        shutil.copy(place / "labels" / f"{task}.parquet", labels)
    common = ["--data", place / "data", "--labels", labels, "--threads", 1, *SETTINGS[4:]]
    once = ["--set", "pretrain.epochs=1", "--set", "finetune=null"]
    chartscan("train", "ehrmamba-tiny", "--out", tmp_path / "body", *common, *once)
    asked = chartscan("predict", tmp_path / "body", place / "data", labels, tmp_path / "p", code=2)
    assert "only pretrained" in asked.stderr
    start = ["--set", "pretrain=null", "--set", f"start_from={tmp_path / 'body'}"]
    start += ["--set", "finetune.epochs=1"]
    chartscan("train", "ehrmamba-tiny", "--out", tmp_path / "run", *common, *start)
    chartscan("predict", tmp_path / "run", place / "data", labels, tmp_path / "p")
    assert sorted(path.stem for path in (tmp_path / "p").glob("*.parquet")) == list(tasks)


def test_a_run_is_resumed_only_as_it_was_begun(place, tmp_path):
    (tmp_path / "run.work").mkdir()
    (tmp_path / "run.work" / "job.json").write_text(json.dumps({"recipe": "SequenceRecipe"}))
    common = ["--data", place / "data", "--labels", place / "labels", "--out", tmp_path / "run"]
    wrong = chartscan("train", "xgboost", *common, "--resume", code=2)
    assert "differs in" in wrong.stderr
    assert "recipe" in wrong.stderr
