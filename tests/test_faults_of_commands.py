"""A disk that fails at any one call of a command: one line names the file, and what was there stays.

A command that is killed at any one step: what it wrote is old or new, and the next run removes the rest.
"""

import errno
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from chartscan import cli, files
from chartscan.errors import DataError
from chartscan.evaluation import read_metrics, read_predictions
from chartscan.labels.files import read_labels
from faulty_disk import ERRORS, Disk, failing

DRAFT = re.compile(r"\.(.+)\.[0-9a-f]{16}")
QUICK = ("label all", "predict", "evaluate", "train", "simulate")
NETWORK = ("pretrain=null", "finetune.epochs=1", "model.d_model=8", "model.n_layers=1")
TASKS = ("long_stay_7d", "in_hospital_mortality")


def all_labels(out: Path) -> None:
    for task in TASKS:
        read_labels(out / f"{task}.parquet")


def all_predictions(out: Path) -> None:
    for task in TASKS:
        read_predictions(out / f"{task}.parquet")


class Case(NamedTuple):
    """A command that writes OUT, and how to read what it wrote. `replaces`: it may be there before."""

    arguments: Sequence[object]
    out: str
    read: Callable[[Path], Any]
    replaces: bool = True


TRAIN = ("train", "logistic", "--data", "data", "--labels", "labels", "--threads", 1, "--out")
CASES = {
    "label": Case(("label", "long_stay_7d", "data"), "out/l.parquet", read_labels),
    "label all": Case(("label", "all", "data"), "out/labels", all_labels),
    "predict": Case(("predict", "trained", "data", "labels"), "out/p", all_predictions),
    "evaluate": Case(
        ("evaluate", "predicted", "--data", "data", "--model", "trained", "--bootstrap", 2, "--out"),
        "out/r",
        read_metrics,
    ),
    "train": Case(TRAIN, "out/run", files.verify, replaces=False),
    "explain": Case(
        ("explain", "network", "data", "labels", "--count", 1, "--out"), "out/why", files.verify, False
    ),
    "forecast": Case(
        ("forecast", "network", "data", "--days", 1, "--events", 2), "out/f.parquet", Path.read_bytes
    ),
    "simulate": Case(("simulate", "--subjects", 5), "out/export", lambda out: list(out.iterdir()), False),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset of few subjects, labels of two tasks, a model and predictions."""
    folder = tmp_path_factory.mktemp("hospital")
    run_in(
        folder,
        ("simulate", "export", "--subjects", 40, "--seed", 5),
        ("ingest", "fhir", "export", "data"),
        *(("label", task, "data", f"labels/{task}.parquet") for task in TASKS),
        (*TRAIN, "trained"),
        ("predict", "trained", "data", "labels", "predicted"),
    )
    return folder


def run_in(folder: Path, *commands: Sequence[object]) -> None:
    """Runs commands that succeed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in commands:
            assert chartscan(command) == 0


def with_network(case: Case, here: Path) -> Case:
    """The case, in a folder where there is a network if it needs one."""
    if "network" in case.arguments and not (here / "network").exists():
        settings = [part for setting in NETWORK for part in ("--set", setting)]
        given = ("--data", "data", "--labels", "labels", "--threads", 1, "--out", "network")
        run_in(here, ("train", "ehrmamba-tiny", *given, *settings))
    return case


def chartscan(arguments: Sequence[object]) -> int:
    """Runs a command in this process; its exit code."""
    hooks = sys.excepthook, sys.unraisablehook, sys.stdout, sys.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["chartscan", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as end:
            return int(end.code or 0)
        finally:
            sys.excepthook, sys.unraisablehook, sys.stdout, sys.stderr = hooks
    return 0


def tree(folder: Path) -> set[str]:
    """Everything below a folder, hidden too."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.fixture
def here(place, monkeypatch) -> Iterator[Path]:
    """The hospital's folder as the working one, without what an earlier test wrote."""
    monkeypatch.chdir(place)
    shutil.rmtree("out", ignore_errors=True)
    yield place
    shutil.rmtree("out", ignore_errors=True)


def arguments(case: Case) -> list[object]:
    return (
        [*case.arguments, case.out]
        if case.arguments[0] != "simulate"
        else ["simulate", case.out, "--subjects", 5]
    )


def calls(case: Case, here: Path, capfd: Any) -> int:
    """How many calls the command makes, when OUT is there before if it may be."""
    if case.replaces:
        assert chartscan(arguments(case)) == 0, capfd.readouterr().err
    disk = Disk(here)
    with failing(disk):
        assert chartscan(arguments(case)) == 0, capfd.readouterr().err
    case.read(here / case.out)
    return disk.calls


def named(path: Path) -> str:
    """How the user knows a file: a draft by the name that it is to have."""
    return "/".join(DRAFT.sub(r"\1", part) for part in path.parts).replace("//", "/")


def check(case: Case, here: Path, capfd: Any, at: int, number: int) -> None:
    """Fail at one call and see what is said, and what is left."""
    shutil.rmtree("out", ignore_errors=True)
    if case.replaces:
        assert chartscan(arguments(case)) == 0
    before = tree(here)
    capfd.readouterr()
    disk = Disk(here, at, number)
    with failing(disk):
        code = chartscan(arguments(case))
    said = capfd.readouterr().err
    told = f"call {at}, {disk.what} of {disk.path} ({errno.errorcode[number]}):\n{said}"
    if code == 0:
        assert disk.what in TOLERATED or disk.path.is_dir(), told
        return
    assert re.search("^error: ", said, re.MULTILINE), told
    for word in ("Traceback", "unexpected", "Exception ignored"):
        assert word not in said, told
    relative = os.path.relpath(named(disk.path), here)
    assert relative in said or Path(relative).parent.as_posix() in said, told
    assert relative in said, told
    left = tree(here) - before
    assert not [
        name for name in left if any(map(DRAFT.fullmatch, name.split("/"))) or name.endswith(".lock")
    ], told
    if case.replaces or (here / case.out).exists():
        case.read(here / case.out)
    else:
        work = f"{case.out}.work"  # what --resume goes on from
        assert {name for name in left if not f"{name}/".startswith(f"{work}/")} <= {"out"}, told
        assert (here / work).exists() or not left, told


TOLERATED = {"listdir", "scandir", "mkdir", "link"}  # without them there is another way
SOME = 1


@pytest.mark.parametrize("name", QUICK)
def test_when_one_of_some_calls_to_the_disk_fails_the_file_is_named_and_nothing_is_lost(here, capfd, name):
    case, chance = CASES[name], random.Random(os.environ.get("CHARTSCAN_SEED", "0") + name)
    for at in chance.sample(range(1, calls(case, here, capfd) + 1), SOME):
        check(case, here, capfd, at, chance.choice(ERRORS))


@pytest.mark.soak
@pytest.mark.parametrize("first", range(len(ERRORS)))
@pytest.mark.parametrize("name", CASES)
def test_whichever_call_to_the_disk_fails_the_file_is_named_and_nothing_is_lost(here, capfd, name, first):
    case, wrong = with_network(CASES[name], here), []
    for at in range(1, calls(case, here, capfd) + 1):
        try:
            check(case, here, capfd, at, ERRORS[(first + at) % len(ERRORS)])
        except (AssertionError, DataError) as err:
            wrong.append(str(err).partition("\nassert")[0])
    assert not wrong, "\n\n".join(wrong)


SCRIPT = Path(__file__).parent / "support" / "run_and_die.py"
KILLED = ("label all", "predict", "evaluate", "train", "explain")


class Dying:
    """A process that runs a command as often as wanted, dying at a chosen step of it."""

    def __init__(self, case: Case, here: Path, temporary: Path):
        resumed = ["--resume"] if case.arguments[0] == "train" else []
        command = [sys.executable, SCRIPT, here / "out", *arguments(case), *resumed]
        self._process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(temporary)},
            cwd=here,
        )

    def run(self, step: int = 0) -> tuple[str, int]:
        """How a run ended, and after how many steps; `step` 0: it lives."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{step}\n")
        self._process.stdin.flush()
        outcome, steps = self._process.stdout.readline().rsplit(maxsplit=1)
        return outcome, int(steps)

    def __enter__(self) -> "Dying":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def killed_at(case: Case, here: Path, tmp_path: Path, choose: Callable[[range], Iterable[int]]) -> None:
    """Kill the command at the steps chosen of all that it makes, and run it again after each death."""
    if case.replaces:
        assert chartscan(arguments(case)) == 0
        shutil.copytree("out", tmp_path / "before")
    (tmp_path / "temporary").mkdir()
    with Dying(case, here, tmp_path / "temporary") as dying:
        outcome, steps = dying.run()
        assert outcome == "lived 0"
        whole, told_apart = tree(here / "out"), 0
        for step in choose(range(1, steps + 1)):
            shutil.rmtree("out", ignore_errors=True)
            if case.replaces:
                shutil.copytree(tmp_path / "before", "out")
            assert dying.run(step)[0] == "died", step
            assert all(is_left_by_a_death(name, case) for name in tree(here / "out") - whole), step
            published = Path(case.out).exists()
            if published:
                told_apart += not readable(case, here / case.out)
            again = dying.run()[0]
            assert again == ("lived 2" if published and not case.replaces else "lived 0"), step
            locks = (
                {f"{Path(case.out).name}.lock"} if again == "lived 2" else set()
            )  # free, and empty of records
            assert tree(here / "out") - locks == whole, step
    assert list((tmp_path / "temporary").iterdir()) == []
    assert told_apart <= 2 * (case.arguments[0] == "evaluate")  # steps that die between the two


def readable(case: Case, path: Path) -> bool:
    """Whether what is published is old or new. The two files of a report are replaced one after the other:
    between the two renames the reader says that they are of two runs."""
    try:
        case.read(path)
    except DataError as err:
        if "of another run than metrics.json. Evaluate again." not in str(err):
            raise
        return False
    return True


def is_left_by_a_death(name: str, case: Case) -> bool:
    """Whether the next run removes it."""
    drafts = any(map(DRAFT.fullmatch, name.split("/")))
    return drafts or name.endswith(".lock") or f"out/{name}/".startswith(f"{case.out}.work/")


@pytest.mark.soak
@pytest.mark.parametrize("name", ["label all"])
def test_killed_at_some_step_a_command_leaves_old_or_new_and_the_next_run_removes_the_rest(
    here, tmp_path, name
):
    chance = random.Random(os.environ.get("CHARTSCAN_SEED", "0") + name)
    killed_at(CASES[name], here, tmp_path, lambda steps: chance.sample(steps, 1))


@pytest.mark.soak
@pytest.mark.parametrize("name", KILLED)
def test_killed_at_any_step_a_command_leaves_old_or_new_and_the_next_run_removes_the_rest(
    here, tmp_path, name
):
    killed_at(with_network(CASES[name], here), here, tmp_path, lambda steps: steps)
