"""Predictions named by a user: names that differ, and only with their own model and data."""

import msgspec
import pytest

from chartscan import files
from chartscan.commands.evaluate import ReportPlan, run_evaluate
from chartscan.errors import ConfigError, DataError
from chartscan.evaluation import write_predictions
from chartscan.evaluation.predictions import check_artifact, check_dataset, read_given, told_apart


@pytest.fixture
def write(make_models, tmp_path):
    """Writes predictions of a model to a file below the temporary folder; gives its path."""
    table = make_models(n=300)[0][0].table

    def write_(place, task="readmission_30d", model="ehrmamba", **run):
        write_predictions(tmp_path / place, table, task, model, run)
        return tmp_path / place

    return write_


def names(*paths):
    return [one.model for one in told_apart(read_given(paths))]


def test_two_trained_models_of_one_name_are_told_apart_by_their_folders(write, tmp_path):
    for task in ("a", "b"):
        write(f"pretrained/{task}.parquet", task, artifact="1")
        write(f"frozen/{task}.parquet", task, artifact="2")
    found = names(tmp_path / "pretrained", tmp_path / "frozen")
    assert found == ["ehrmamba", "ehrmamba", "ehrmamba (frozen)", "ehrmamba (frozen)"]


def test_files_are_told_apart_by_what_differs_in_their_paths(write):
    assert names(write("p.parquet"), write("q.parquet")) == ["ehrmamba", "ehrmamba (q)"]
    first, second = write("x/readmission_30d.parquet"), write("y/readmission_30d.parquet")
    assert names(first, second) == ["ehrmamba", "ehrmamba (y)"]
    third = write("z/x/readmission_30d.parquet")
    assert len(set(names(first, second, third))) == 3


def test_one_trained_model_keeps_one_name_over_all_its_files(write):
    mine = [write("p/a.parquet", "a", artifact="1"), write("p/b.parquet", "b", artifact="1")]
    theirs = [write("q/a.parquet", "a", artifact="2"), write("q/b.parquet", "b", artifact="2")]
    assert names(*mine, *theirs) == ["ehrmamba"] * 2 + ["ehrmamba (q)"] * 2


def test_models_of_different_names_keep_them(write):
    assert names(write("p.parquet"), write("q.parquet", model="xgboost")) == ["ehrmamba", "xgboost"]


def test_the_same_predictions_given_twice_are_refused(write):
    path = write("p.parquet", artifact="1")
    with pytest.raises(ConfigError, match="given twice"):
        read_given([path, path])
    with pytest.raises(ConfigError, match="by the same trained model"):
        names(path, write("q.parquet", artifact="1"))


def test_missing_predictions_are_said_to_be_missing(tmp_path):
    with pytest.raises(DataError, match="no predictions in this folder"):
        read_given([tmp_path])
    with pytest.raises(DataError, match="no such file or folder"):
        read_given([tmp_path / "p"])


def test_predictions_of_another_artifact_are_refused(write, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / files.MANIFEST).write_text("{}")
    right = files.sha256(tmp_path / "run" / files.MANIFEST)
    check_artifact(read_given([write("p.parquet", artifact=right), write("q.parquet")]), tmp_path / "run")
    with pytest.raises(ConfigError, match="did not write"):
        check_artifact(read_given([write("r.parquet", artifact="other")]), tmp_path / "run")


class OtherDataset(msgspec.Struct):
    path: str = "data"
    fingerprint: str = "1"


def test_predictions_on_another_dataset_are_refused(write):
    check_dataset(read_given([write("p.parquet", dataset="1"), write("q.parquet")]), OtherDataset())
    with pytest.raises(ConfigError, match="is not the dataset that"):
        check_dataset(read_given([write("r.parquet", dataset="2")]), OtherDataset())


class Silent:
    def say(self, text):
        raise AssertionError("nothing is to be said")

    def note(self, note):
        pass

    def progress(self, title, unit):
        from chartscan.console import Display

        return Display(quiet=True).progress(title, unit)


def test_a_report_holds_two_models_of_one_name(write, tmp_path):
    plan = ReportPlan([write("p.parquet")], tmp_path / "out", against=[write("frozen.parquet")], bootstrap=5)
    report, table = run_evaluate(plan, Silent())
    assert "ehrmamba (frozen)" in table
    assert "mean nothing" in report.read_text()


def test_a_file_where_the_report_folder_is_meant_is_said_so(write, tmp_path):
    path = write("p.parquet")
    with pytest.raises(ConfigError, match="is a file; expected a folder"):
        run_evaluate(ReportPlan([path], path), Silent())
