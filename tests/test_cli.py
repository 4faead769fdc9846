"""What a user meets before any work begins: help, refusals and exit codes."""

import inspect
import re
import runpy
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer

from chartscan import cli
from chartscan.commands.recipes import setting_lines
from chartscan.commands.train import recipe_of
from chartscan.errors import ConfigError, DataError
from chartscan.find import find, names
from chartscan.machine import device_of
from chartscan.recipes import ABOUT, find_recipe, hourly, recipe_names, tokens

COMMANDS = ("demo", "simulate", "ingest", "label", "train", "recipes", "predict", "evaluate", "bench")


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Runs a command in this process, in an empty folder; gives its exit code, output and errors."""

    def run_(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["chartscan", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        said = capsys.readouterr()
        return code, said.out, said.err

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return run_


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_has_help_and_every_command_an_example(command):
    found = typer.main.get_command(cli.app).commands[command]
    for parameter in found.params:
        assert parameter.help, f"{command} {parameter.name}"
    assert re.search(rf"\n  chartscan {command} .*\Z", inspect.cleandoc(found.help))
    assert all(len(line) <= 78 for line in inspect.cleandoc(found.help).splitlines() if line[:2] == "  ")


def test_help_names_the_commands_in_their_order_and_every_exit_code(run):
    code, out, _ = run("--help")
    assert code == 0
    steps = [
        out.index(f"chartscan {command} ") for command in ("ingest", "label", "train", "predict", "evaluate")
    ]
    assert steps == sorted(steps)
    assert [int(n) for n in re.findall(r"^ +(\d+)  \w", out, re.MULTILINE)] == [0, 1, 2, 3, 4, 5, 130, 143]
    assert "\b" not in out


def test_help_lists_tasks_and_recipes_from_their_files(run):
    tasks, recipes = run("label", "--help")[1], run("train", "--help")[1]
    assert all(f"  {name} " in tasks and find("tasks", name).TITLE in tasks for name in names("tasks"))
    assert all(f"  {name} " in recipes for name in recipe_names())


@pytest.mark.parametrize("command", cli.LAB)
def test_a_command_of_the_lab_says_how_to_get_it_where_the_lab_is_not_installed(run, monkeypatch, command):
    real = typer.main.get_command(cli.app)
    monkeypatch.delitem(real.commands, command)
    monkeypatch.setattr(cli, "app", real)
    code, _, said = run(command, "anything")
    assert code == 2
    assert "pip install chartscan-lab" in said
    assert "pip install ./lab" in said


def test_the_version_is_shown(run):
    assert run("--version")[:2] == (0, "chartscan 0.1.0\n")


def test_only_real_recipes_are_known():
    real = tokens.RECIPES | hourly.RECIPES
    assert recipe_names() == sorted(real)
    assert len(real) == sum(len(one.RECIPES) for one in (tokens, hourly))
    assert {"ehrmamba", "xgboost", "hymate", "hymate-paper", "gru"} <= set(real)
    assert find_recipe("ehrmamba_tiny") is find_recipe("ehrmamba-tiny")
    for wrong in ("train", "bench_train", "ehrmamba-tinny", "_job"):
        with pytest.raises(ConfigError, match="No recipe named") as caught:
            find_recipe(wrong)
        known = str(caught.value).partition("Known: ")[2]
        assert known == ", ".join(recipe_names()) + "."
    with pytest.raises(ConfigError, match="Did you mean 'ehrmamba-tiny'"):
        find_recipe("ehrmamba-tinny")


def test_recipes_are_listed_with_what_each_is_for(run):
    code, out, _ = run("recipes")
    listed = " ".join(out.split())
    assert code == 0
    assert all(f"{name} {about}" in listed for name, about in ABOUT.items())
    assert max(map(len, out.splitlines())) <= 78


@pytest.mark.parametrize("name", recipe_names())
def test_the_settings_shown_of_a_recipe_make_that_recipe(name, run):
    shown = list(setting_lines(find_recipe(name)))
    assert recipe_of(name, shown) == find_recipe(name)
    code, out, _ = run("recipes", name.replace("-", "_"))
    assert code == 0
    assert set(shown) <= set(out.splitlines())
    assert out.splitlines()[-1] == f"chartscan train {name} --data DATASET --labels LABELS --out RUN"


def test_an_ensemble_names_its_members_and_their_settings(run):
    out = run("recipes", "hymate-blend")[1]
    assert '{"recipe":"hymate","settings":["refit=false"],"seeds":[0]}' in out
    assert "chartscan recipes hymate, chartscan recipes xgboost-summary" in out


def test_python_m_chartscan_is_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["__main__.py", "--version"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("chartscan", run_name="__main__")
    assert (end.value.code, capsys.readouterr().out) == (0, "chartscan 0.1.0\n")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("recip", ["recipes"]),
        ("recipes hymate-f", ["hymate-folds"]),
        ("train ehrmamba2", ["ehrmamba2", "ehrmamba2-tiny"]),
        ("label mort", ["mortality_30d"]),
        ("ingest ph", ["physionet2012"]),
    ],
)
def test_the_shell_completes_commands_recipes_tasks_and_sources(run, monkeypatch, words, offered):
    monkeypatch.setenv("_CHARTSCAN_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"chartscan {words}")
    monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
    code, out, _ = run()
    assert (code, out.split()) == (0, offered)


@pytest.mark.parametrize(
    "arguments",
    [
        ("demo", "out", "--threads", -1),
        ("demo", "out", "--subjects", 0),
        ("simulate", "out", "--subjects", 0),
        ("simulate", "out", "--seed", -1),
        ("ingest", "fhir", "in", "out", "--follow-up-days", -1),
        ("ingest", "fhir", "in", "out", "--splits", "train=a"),
        ("ingest", "physionet2012", "in", "out", "--splits", "train=a:2"),
        ("ingest", "physionet2012", "in", "out", "--set", "splits=train"),
        ("train", "xgboost", "--data", "d", "--out", "o", "--threads", -1),
        ("train", "xgboost", "--data", "d", "--out", "o", "--device", "gpu"),
        ("predict", "a", "d", "l", "o", "--threads", -1),
        ("explain", "a", "d", "l", "--out", "o", "--days", 60),
        ("forecast", "a", "d", "o", "--greedy", "--samples", 5),
        ("forecast", "a", "d", "o", "--greedy", "--temperature", 0.5),
        ("forecast", "a", "d", "o", "--temperature", 0, "--samples", 5),
        ("evaluate", "p", "--out", "o", "--bootstrap", 0),
        ("evaluate", "p", "--out", "o", "--seed", -1),
        ("bench", "train", "--set", "threads=0"),
        ("bench", "train", "--set", "lengths=[]"),
        ("bench", "models", "--set", "rows=[1]"),
        ("bench", "models", "--set", 'recipes=["xgboost"]'),
        ("bench", "ingest", "--set", "sizes_mb=[0]"),
        ("bench", "ingest", "--out", "."),
        ("bench", "coffee"),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(run, arguments, tmp_path):
    code, _, err = run(*arguments)
    assert code == 2, err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["ingest", "fihr", "in", "out"], 2, "Did you mean 'fhir'"),
        (["train", "ehrmamba-tinny", "--data", "x", "--out", "y"], 2, "Did you mean 'ehrmamba-tiny'"),
        (["recipes", "ehrmamba-tinny"], 2, "Did you mean 'ehrmamba-tiny'"),
        (["label", "readmission_30d", "nowhere", "out.parquet"], 5, "chartscan ingest"),
        (["predict", "nowhere", "nowhere", "nowhere", "out"], 5, "nowhere"),
        (["evaluate", "nowhere", "--out", "out"], 5, "chartscan predict"),
        (["bench", "coffee"], 2, "Known: forecast, ingest, models, scan, step, train"),
    ],
)
def test_a_wrong_word_is_answered_with_a_remedy(arguments, code, says, run):
    found, _, err = run(*arguments)
    assert (found, "Traceback" in err) == (code, False)
    assert says in err


def test_a_gpu_that_is_not_there_is_answered_with_a_remedy(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="Leave --device out"):
        device_of("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_of("cuda") == "cuda"


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "xgboost", "--data", "d", "--out", "o"),
        ("predict", "a", "d", "l", "o"),
        ("forecast", "a", "d", "o"),
        ("forecast-report", "a", "d", "--out", "o"),
        ("zero-shot", "a", "d", "l", "o"),
        ("explain", "a", "d", "l", "--out", "o"),
        ("study", "hours", "--data", "d", "--labels", "l", "--out", "o"),
    ],
)
def test_every_command_of_a_network_refuses_a_device_that_is_not_there(run, monkeypatch, arguments, tmp_path):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, _, err = run(*arguments, "--device", "cuda")
    assert code == 2
    assert "Leave --device out" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "a", "d", "l", "o"),
        ("forecast", "a", "d", "o"),
        ("forecast-report", "a", "d", "--out", "o"),
        ("zero-shot", "a", "d", "l", "o"),
        ("explain", "a", "d", "l", "--out", "o"),
    ],
)
def test_a_network_is_loaded_to_the_device_that_was_asked_for(run, monkeypatch, arguments):
    import torch

    from chartscan import artifact
    from chartscan.commands import zero_shot
    from chartscan.store.dataset import Dataset

    def load(folder, device="cpu"):
        raise ConfigError(f"{folder} to {device}")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(Dataset, "open", classmethod(lambda cls, path: None))
    monkeypatch.setattr(zero_shot, "asked_of_one_task", lambda *_: ("readmission_30d", None, None))
    monkeypatch.setattr(artifact, "load", load)
    assert "a to cuda" in run(*arguments, "--device", "cuda")[2]
    assert "a to cpu" in run(*arguments)[2]


def test_a_folder_where_a_file_is_meant_is_said_so_and_the_reverse(run, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    for arguments, says in (
        (("label", "readmission_30d", "d", "folder"), "folder is a folder. With one task"),
        (("label", "all", "d", "file"), "file is a file. With several tasks"),
        (("predict", "a", "d", "file", "folder"), "folder is a folder. With one task"),
        (("predict", "a", "d", "folder", "file"), "file is a file. With several tasks"),
    ):
        code, _, err = run(*arguments)
        assert (code, err.count("\n")) == (2, 1)
        assert says in err


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (PermissionError(13, "Permission denied", "/data/x"), 1, "/data/x: Permission denied"),
        (OSError(28, "No space left on device"), 1, "used by chartscan label: No space left"),
        (OSError("odd Jane"), 1, "used by chartscan label: unexpected OSError"),
        (RuntimeError("sizes differ\nJane"), 1, "unexpected RuntimeError"),
        (ValueError("patient Jane Doe"), 1, "unexpected ValueError"),
    ],
)
def test_every_error_is_one_line_with_an_exit_code(run, monkeypatch, error, code, says):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("chartscan.commands.label.check_out", fail)
    monkeypatch.delenv(cli.DEBUG, raising=False)
    found, _, err = run("label", "all", "d", "o")
    assert found == code
    assert err.count("\n") == 1
    assert says in err
    assert "Jane" not in err


def test_an_unexpected_error_names_the_settings_given():
    arguments = ["train", "x", "--set", "model.d_state=7", "--set", "seed=1"]
    assert "model.d_state=7, seed=1" in cli.unexpected(ValueError("secret"), arguments)


def test_the_text_of_an_unexpected_error_is_told_only_where_it_is_about_numbers():
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.nn.Linear(3, 4)(torch.zeros(2, 5))
    assert "shapes cannot be multiplied" in cli.unexpected(caught.value)
    with pytest.raises(RuntimeError) as caught:
        raise RuntimeError("patient Jane Doe")
    assert "Jane" not in cli.unexpected(caught.value)


def test_a_traceback_shows_kinds_and_places_of_all_errors_and_no_foreign_text():
    def fail() -> None:
        try:
            raise KeyError("Jane Doe")
        except KeyError as err:
            inner = ExceptionGroup("Jane group", [ValueError("Jane in a group")])
            inner.add_note("Jane in a note")
            try:
                raise inner from err
            except ExceptionGroup:
                raise DataError("labs.csv, row 3: no date") from inner

    with pytest.raises(DataError) as caught:
        fail()
    shown = cli.traceback_without_content(caught.value)
    assert "Jane" not in shown.replace('"Jane', "")  # but for the lines of this test itself
    for words in ("builtins.KeyError", "builtins.ExceptionGroup", "ValueError", "labs.csv, row 3", "in fail"):
        assert words in shown


HOSTILE = "\x1b[2J\x07\r\x9b31m\u202egnp.exe\u200b\x7f\udc80[red]x[/red]"


def test_what_comes_from_outside_cannot_steer_the_terminal(run, monkeypatch, capsys):
    from chartscan.console import Display, shown

    assert shown(HOSTILE) == r"\x1b[2J\x07\r\x9b31m\u202egnp.exe\u200b\x7f\udc80[red]x[/red]"
    assert shown("Müller 血 [x]") == "Müller 血 [x]"
    Display().say(f"{HOSTILE}: done\nnext")
    said = capsys.readouterr().out
    assert said.count("\n") == 2
    assert not set(said) & set("\x1b\x07\r\x9b\u202e\u200b\x7f")
    assert "[red]x[/red]" in said
    name = HOSTILE.replace("\udc80", "")
    for arguments in (
        ("label", "all", f"no{name}", "out"),
        ("predict", f"no{name}", "d", "l", "p"),
        ("train", f"x{name}", "--data", "d", "--out", "o"),
        (f"co{name}",),
        ("label", f"--{name}", "x"),
        ("evaluate", "p", "--out", "o", "--seed", name),
        ("label", "all", "d", "out\nerror: all is well"),
    ):
        code, out, err = run(*arguments)
        assert code in (2, 5), err
        assert not set(out + err) & set("\x1b\x07\r\x9b\u202e\u200b\x7f"), arguments
        assert not any(line.startswith("error: all is well") for line in err.splitlines())


def test_a_bar_shows_names_as_they_are(monkeypatch):
    import io

    from rich.console import Console

    from chartscan.console import Display

    display = Display()
    display.console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with display.progress("[red]x[/red]\x1b[2J", "rows") as progress:
        progress(1, 2, "[blue]\x07")
    written = display.console.file.getvalue()
    assert "[red]x[/red]" in written
    assert "\x07" not in written
    assert "\x1b[2J" not in written


def test_a_wrong_truth_is_refused_without_reading_on(tmp_path):
    from chartscan.errors import DataError
    from chartscan.evaluation.truth import _read, truth_file

    (tmp_path / "truth").mkdir()
    file = tmp_path / "truth" / "risk.parquet"
    pq.write_table(pa.table({"subject_id": [1]}), file)
    assert truth_file(tmp_path) == truth_file(tmp_path / "truth") == truth_file(file) == file
    with pytest.raises(DataError, match="not true risks"):
        _read(file)
    file.write_text("words")
    with pytest.raises(DataError, match="could not read it as parquet"):
        _read(file)
    with pytest.raises(DataError, match="name EXPORT or that file"):
        truth_file(tmp_path / "elsewhere")
