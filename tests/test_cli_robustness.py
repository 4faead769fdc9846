"""Terminals, folders and readers of all kinds: every file is written, every word of help is there."""

import io
import os
import re
import sys
import textwrap

import pyarrow.parquet as pq
import pytest
import typer

from chartscan import cli
from chartscan.cli.output import steady
from chartscan.evaluation import read_predictions
from icu import TASK, labels, make_icu

APP = typer.main.get_command(cli.app)
ODD_FOLDER = "Übung [x] [/b] 'a' *\u2028 :smile: 100%"


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs a command with a terminal of an encoding and a width; gives its exit code, output and errors."""

    def run_(*arguments, encoding="utf-8", columns=200):
        out, err = ((tmp_path / name).open("w", encoding=encoding) for name in ("out", "err"))
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        monkeypatch.setattr(sys, "argv", ["chartscan", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        finally:
            for stream in (sys.stdout, sys.stderr, out, err):
                stream.flush()
            out.close()
            err.close()
        return code, *((tmp_path / name).read_bytes().decode(encoding) for name in ("out", "err"))

    return run_


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    """A dataset and labels in a folder with a name that is hard on terminals, patterns and markup."""
    root = tmp_path_factory.mktemp("odd") / ODD_FOLDER / "b\nc"
    root.mkdir(parents=True)
    make_icu(root / "data")
    (root / "labels").mkdir()
    pq.write_table(labels()[TASK][0], root / "labels" / f"{TASK}.parquet")
    return root


def words(text):
    """Letters and digits in their order, without what breaks and frames lines."""
    return re.sub(r"[^A-Za-z0-9]", "", text)


@pytest.mark.parametrize("command", [None, *APP.commands])
@pytest.mark.parametrize(
    ("encoding", "columns"), [("latin-1", 200), ("ascii", 40), ("utf-8", 40), ("latin-1", 20)]
)
def test_help_holds_every_word_in_every_terminal(run, command, encoding, columns):
    code, out, err = run(*[command] if command else [], "--help", encoding=encoding, columns=columns)
    assert (code, err) == (0, "")
    assert "\\u" not in out
    assert "\b" not in out
    found = APP.commands[command] if command else APP
    shown = words(out)
    for paragraph in re.split(r"\n\s*\n", textwrap.dedent(found.help or "").partition("Tasks:")[0]):
        assert words(paragraph) in shown
    for parameter in found.params:
        assert words(parameter.help or "") in shown
        assert all(words(name) in shown for name in parameter.opts if name[0] == "-")
        assert words(parameter.metavar or "") in shown
    for name, one in getattr(found, "commands", {}).items():
        assert name in out
        assert words((one.help or "").strip().partition(".")[0].partition(":")[0])[:20] in shown


def test_help_in_a_usual_terminal_has_its_frames(run):
    assert "╭" in run("label", "--help", columns=100)[1]
    assert "╭" not in run("label", "--help", columns=79)[1]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_the_main_job_works_in_an_odd_folder_and_any_encoding(run, hospital, encoding):
    here, data, asked = hospital / encoding, hospital / "data", hospital / "labels"
    for arguments in (
        ("train", "logistic-summary", "--data", data, "--labels", asked, "--out", here / "m"),
        ("predict", here / "m", data, asked, here / "p"),
        (
            "evaluate",
            here / "p",
            "--data",
            data,
            "--model",
            here / "m",
            "--out",
            here / "r",
            "--bootstrap",
            9,
        ),
    ):
        code, _, err = run(*arguments, encoding=encoding)
        assert (code, "Traceback" in err) == (0, False), err
    assert read_predictions(here / "p").task == TASK
    assert {path.name for path in (here / "r").iterdir()} >= {"report.html", "metrics.json"}
    assert not list(here.glob("*.lock"))


def test_an_error_that_names_a_path_of_other_letters_is_told_in_ascii(run, tmp_path):
    code, _, err = run("label", "all", tmp_path / "Ü\udcff", tmp_path / "l", encoding="ascii")
    assert code == 5
    assert "\\xdc\\udcff: no such folder" in err


def test_a_reader_that_goes_away_stops_no_work(hospital, monkeypatch, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        monkeypatch.setattr(sys, "stderr", pipe)
        for arguments in (
            ("train", "logistic-summary", "--data", hospital / "data", "--labels", hospital / "labels"),
            ("predict", tmp_path / "m", hospital / "data", hospital / "labels", tmp_path / "p"),
        ):
            out = ["--out", str(tmp_path / "m")] if arguments[0] == "train" else []
            monkeypatch.setattr(sys, "argv", ["chartscan", *map(str, arguments), *out])
            with pytest.raises(SystemExit) as end:
                cli.main()
            sys.stdout.flush()
            assert end.value.code == 0
        monkeypatch.undo()
    assert (tmp_path / "p" / f"{TASK}.parquet").is_file()


def test_a_stream_that_is_closed_is_nowhere_and_one_of_a_test_is_left_alone():
    with steady(None) as nowhere:
        print("Ü", file=nowhere)
    captured = io.StringIO()
    assert steady(captured) is captured


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("ingest", "fhir", "in", "out", "--set", "shard_rows=5"), "--store shard_rows=5"),
        (("ingest", "fhir", "in", "out", "--set", "seed=5"), "--store seed=5"),
        (("ingest", "fhir", "in", "out", "--set", "shard_row=5"), "did you mean --store shard_rows?"),
        (("ingest", "fhir", "in", "out", "--store", "time_zone=UTC"), "--set time_zone=UTC"),
        (("ingest", "fhir", "in", "out", "--store", "shard_row=5"), "--store shard_row: no field"),
        (
            ("ingest", "fhir", "in", "out", "--set", "overwrite=true"),
            "an option for it: --overwrite",
        ),
        (("train", "gru", "--data", "d", "--out", "o", "--set", "threads=1"), "an option for it: --threads"),
        (("study", "hours", "--out", "o", "--set", "seeds=1"), "an option for it: --seeds"),
        (("train", "gru", "--data", "d", "--out", "o", "--set", "sede=1"), "Did you mean 'seed'?"),
    ],
)
def test_a_setting_of_another_option_names_the_right_one(run, arguments, says, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    code, _, err = run(*arguments)
    assert code == 2
    assert says in err
    assert not list((tmp_path / "empty").iterdir())
