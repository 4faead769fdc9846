"""The Python API: thin functions with the arguments of the command line, and the tutorial that uses them."""

import inspect
import json
import re
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from typer.testing import CliRunner

import chartscan
from chartscan import cli, parquet_files
from chartscan.api import _assignments
from chartscan.errors import ConfigError, DataError
from chartscan.schema import LABELS, PREDICTIONS
from chartscan.settings import UnknownSetting

VERBS = [name for name in chartscan.__all__ if not name.startswith("_")]
COMMANDS = [name for name in VERBS if name != "load"]
PAGE = (Path(__file__).parent.parent / "docs" / "tutorial.md").read_text(encoding="utf-8")
NETWORK = "## A network"  # from here on the page takes minutes
IN_PYTHON = {"input_path": "path", "quiet": "progress"}  # named otherwise than on the command line
SEVERAL = {("explain", "task"): "tasks", ("evaluate", "metric"): "metrics"}


def run_page(text: str, folder: Path) -> dict[str, object]:
    """Runs the code of a page in `folder`; returns its variables, and what it wrote to standard error."""
    names: dict[str, object] = {}
    said = StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()), redirect_stderr(said):
        patch.chdir(folder)
        for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            exec(block, names)
    return names | {"stderr": said.getvalue()}


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    """The folder in which the first part of the tutorial ran."""
    return tmp_path_factory.mktemp("tutorial")


@pytest.fixture(scope="module")
def tutorial(hospital):
    """What the first part of the tutorial left in its variables."""
    return run_page(PAGE.partition(NETWORK)[0], hospital)


def test_the_tutorial_goes_from_an_export_to_a_report(tutorial, hospital):
    report = tutorial["report"]
    assert report.path == Path("report/report.html")
    assert (hospital / report.path).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert {one.task for one in report.metrics.tasks} == set(tutorial["labels"])
    assert all(task in str(report) for task in tutorial["labels"])
    assert tutorial["stderr"] == ""


def test_the_page_on_notebooks_goes_on_where_the_tutorial_ends(tutorial, hospital):
    page = (Path(__file__).parent.parent / "docs" / "notebook.md").read_text(encoding="utf-8")
    names = run_page(page, hospital)
    assert names["labels"].equals(tutorial["labels"]["long_stay_7d"])
    assert names["predictions"].table.equals(tutorial["predictions"]["long_stay_7d"])
    assert set(names["figures"]["task"]) == set(tutorial["labels"])
    assert len(names["figure"].data) == 1
    assert names["stderr"] == ""


def test_the_tutorial_reaches_the_report_in_fifteen_lines():
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.partition(NETWORK)[0], re.MULTILINE | re.DOTALL)
    assert sum(line != "" for block in blocks for line in block.splitlines()) <= 15


@pytest.mark.soak
def test_the_whole_tutorial_runs(tmp_path):
    names = run_page(PAGE, tmp_path)
    assert (tmp_path / "why" / "explain.html").is_file()
    assert {one.model for one in names["report"].metrics.tasks[0].models} == {"ehrmamba", "xgboost"}
    assert names["why"].num_rows > 0
    assert names["futures"].num_rows > 0


def test_what_verbs_return_is_what_stands_in_their_files(tutorial, hospital):
    for task, table in tutorial["labels"].items():
        assert parquet_files.read_table(hospital / "labels" / f"{task}.parquet", "").equals(table)
        assert table.schema.remove_metadata() == LABELS
    for task, table in tutorial["predictions"].items():
        assert parquet_files.read_table(hospital / "predictions" / f"{task}.parquet", "").equals(table)
        assert table.schema.remove_metadata() == PREDICTIONS
    metrics = json.loads((hospital / "report" / "metrics.json").read_text())
    assert [one["task"] for one in metrics["tasks"]] == [one.task for one in tutorial["report"].metrics.tasks]
    assert chartscan.load(str(hospital / "trees")).run["recipe"]["seed"] == 1


def test_the_command_line_writes_the_same_labels(tutorial, hospital, tmp_path):
    arguments = ["label", "long_stay_7d", str(hospital / "dataset"), str(tmp_path / "l.parquet")]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    chartscan.label("long_stay_7d", str(hospital / "dataset"), str(tmp_path / "m.parquet"))
    assert (tmp_path / "l.parquet").read_bytes() == (tmp_path / "m.parquet").read_bytes()


def test_a_verb_prints_nothing_unless_progress_is_wanted(tutorial, hospital, tmp_path, capsys):
    data = hospital / "dataset"
    chartscan.label("long_stay_7d", data, tmp_path / "a.parquet")
    assert capsys.readouterr() == ("", "")
    chartscan.label("long_stay_7d", data, tmp_path / "b.parquet", progress=True)
    assert "long_stay_7d: " in capsys.readouterr().out


def test_what_is_exit_code_3_on_the_command_line_is_a_warning_at_the_calling_line(tmp_path):
    export = chartscan.simulate(tmp_path / "export", subjects=20)
    for name in ("Condition.ndjson", "manifest.json"):
        (export / name).unlink()
    with (export / "Observation.ndjson").open("a") as lines:
        lines.write("no JSON\n")
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always")
        chartscan.ingest("fhir", export, tmp_path / "data", follow_up_end="2024-12-31")
        labels = chartscan.label("all", tmp_path / "data", tmp_path / "labels")
    quarantined, *refused = map(str, (one.message for one in issued))
    assert quarantined == f"Lines in quarantine: 1 ({tmp_path / 'data' / 'quarantine'})."
    assert {text.partition(" was refused: the dataset contains")[0] for text in refused} == {
        *("fluid_disorder_1y", "hypertension_1y", "lipid_disorder_1y")
    }
    assert "long_stay_7d" in labels
    assert {(one.category, one.filename) for one in issued} == {(UserWarning, __file__)}


def test_errors_are_those_of_the_command_line(tutorial, hospital, tmp_path):
    data, labels = str(hospital / "dataset"), str(hospital / "labels")
    with pytest.raises(ConfigError, match="Did you mean 'xgboost'"):
        chartscan.train("xgbost", data, tmp_path / "m", labels=labels)
    with pytest.raises(UnknownSetting, match=r"Did you mean 'model.max_depth'"):
        chartscan.train("xgboost", data, tmp_path / "m", labels=labels, settings={"model.max_dept": 3})
    with pytest.raises(DataError, match="no such folder"):
        chartscan.label("all", tmp_path / "nowhere", tmp_path / "l")
    for wrong in ({"threads": -1}, {"device": "gpu"}):
        with pytest.raises(ConfigError):
            chartscan.predict(hospital / "trees", data, labels, tmp_path / "p", **wrong)
    for wrong in ({"count": 0}, {"days": 60}):
        with pytest.raises(ConfigError):
            chartscan.explain(hospital / "trees", data, labels, tmp_path / "w", **wrong)
    with pytest.raises(ConfigError, match="bootstrap"):
        chartscan.evaluate(hospital / "predictions", tmp_path / "r", bootstrap=0)
    with pytest.raises(ConfigError, match="max_unknown"):
        chartscan.label("all", data, tmp_path / "l", max_unknown=2)
    with pytest.raises(ConfigError, match="leave out"):
        chartscan.forecast(hospital / "trees", data, tmp_path / "f", greedy=True, samples=2)
    assert not list(tmp_path.iterdir())


def test_settings_are_passed_with_their_types():
    given = {"a.b": "7", "c": None, "d": Path("run"), "e": [1, 0.5], "f": True}
    assert _assignments(given) == ['a.b="7"', "c=null", 'd="run"', "e=[1,0.5]", "f=true"]
    assert _assignments(None) == []


@pytest.mark.parametrize("verb", COMMANDS)
def test_python_and_the_command_line_have_the_same_arguments_and_defaults(verb):
    ours = inspect.signature(getattr(chartscan, verb)).parameters
    theirs = inspect.signature(getattr(cli, verb)).parameters
    renamed = {name: SEVERAL.get((verb, name), IN_PYTHON.get(name, name)) for name in theirs}
    assert set(ours) == set(renamed.values())
    for name, parameter in theirs.items():
        default = ours[renamed[name]].default
        assert (default or None) == (parameter.default or None), name


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_documents_its_arguments_what_it_returns_raises_and_an_example(verb):
    text = inspect.getdoc(getattr(chartscan, verb))
    arguments = list(inspect.signature(getattr(chartscan, verb)).parameters)
    sections = re.split(r"^(Args|Returns|Raises|Examples):\n", text, flags=re.MULTILINE)
    assert sections[1::2] == ["Args", "Returns", "Raises", "Examples"]
    assert re.findall(r"^    (\w+): ", sections[2], re.MULTILINE) == arguments
    assert f"chartscan.{verb}(" in sections[8]


def test_importing_chartscan_imports_nothing_heavy():
    heavy = ("torch", "polars", "pyarrow", "numpy", "duckdb", "xgboost", "sklearn", "typer", "rich")
    code = f"import sys, chartscan; sys.exit(len([name for name in {heavy} if name in sys.modules]))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
