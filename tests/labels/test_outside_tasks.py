"""A task of the user, in one file, is used like a built-in one; a file that is no task is refused."""

import json
import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from chartscan import cli, find
from chartscan.commands import demo
from chartscan.errors import ConfigError
from chartscan.labels import tasks as made
from chartscan.labels.files import read_labels, save_labels
from chartscan.labels.making import make_labels
from chartscan.labels.tasks import OutsideTask, task_as_labelled, task_modules, task_of_file, tasks_to_label
from chartscan.task_files import task_files
from icu import Silent, make_icu

PAGE = Path(__file__).parent.parent.parent / "docs" / "extend-task.md"


def example(number: int) -> str:
    """A Python example of docs/extend-task.md."""
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[number]


@pytest.fixture
def task(tmp_path) -> Path:
    """The task of docs/extend-task.md as a file."""
    path = tmp_path / "contact_7d.py"
    path.write_text(example(0))
    return path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_icu(tmp_path_factory.mktemp("icu") / "data", subjects=20)


@pytest.fixture
def package(monkeypatch, task):
    """An installed package that offers the task."""
    monkeypatch.syspath_prepend(task.parent)
    points = [EntryPoint("contact-7d", "contact_7d", "chartscan.tasks")]
    monkeypatch.setattr(find, "entry_points", lambda group: points if group == "chartscan.tasks" else [])
    yield points
    sys.modules.pop("contact_7d", None)


def changed(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


def test_the_demonstration_shows_a_task_of_the_user_without_a_ceiling(task, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "MODELS", ("xgboost", "logistic"))  # quick ones
    monkeypatch.setattr(made, "task_names", lambda: ["readmission_30d"])
    watcher = Silent()
    report = demo.run_demo(tmp_path / "out", 60, 0, 1, watcher, [task])
    found = json.loads((report.parent / "metrics.json").read_bytes())
    by_name = {one["task"]: one for one in found["tasks"]}
    assert by_name.keys() == {"readmission_30d", "contact_7d"}
    assert by_name["contact_7d"]["ceiling"] is None
    assert by_name["readmission_30d"]["ceiling"] is not None
    assert by_name["contact_7d"]["events"] > 0
    page = report.read_text()
    assert "Contact within 7 days" in page
    line = "The true risks of this task are not known, so it has no ceiling."
    assert line in page
    assert {text for text in watcher.said if line in text} == {f"note: contact_7d: {line}"}


def test_a_file_is_labelled_by_its_name_with_settings_and_their_title(task, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [
        *("chartscan", "label", str(task), str(dataset.path), str(tmp_path / "l.parquet")),
        *("--set", "horizon_days=14", "--max-unknown", "1", "--quiet"),
    ])  # fmt: skip
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    _, name, counts = read_labels(tmp_path / "l.parquet")
    assert name == "contact_7d"
    assert counts.settings["title"] == "Contact within 7 days, horizon_days=14"
    assert made.title_of(name, counts.settings) == "Contact within 7 days, horizon_days=14"
    assert task_as_labelled(name, counts, task).DEFAULT.horizon_days == 14
    with pytest.raises(ConfigError, match=r"the labels are of 'other'"):
        task_as_labelled("other", counts, task)


def test_a_task_beside_all_is_one_of_them(task, dataset, tmp_path):
    found = make_labels(dataset, tasks_to_label("all", [task]), Silent(), max_unknown=1)
    assert set(found) == {*find.names("tasks"), "contact_7d"}
    save_labels(found, tmp_path / "labels", as_folder=True)
    assert {one.task for one in task_files(tmp_path / "labels")} == set(found)


def test_a_task_of_an_installed_package_is_found_by_its_name(package, dataset, monkeypatch, capsys):
    assert list(task_modules(["contact-7d"])) == ["contact_7d"]
    assert "contact_7d" in make_labels(dataset, None, Silent(), max_unknown=1)
    assert (
        made.title_of("contact_7d", {"task": {"horizon_days": 3}}) == "Contact within 7 days, horizon_days=3"
    )
    monkeypatch.setattr(sys, "argv", ["chartscan", "label", "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    assert "contact_7d" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="Did you mean 'contact_7d'"):
        task_modules(["contact_8d"])


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (("readmission-30d", "contact_7d"), "there is a task named 'readmission_30d' already"),
        (("broken", "no_such_module"), "broken = no_such_module: ModuleNotFoundError"),
        (("broken", "contact_7d:TITLE"), "expected the module of a task, found str"),
    ],
)
def test_a_package_with_a_broken_task_is_named(package, point, message):
    package[:] = [EntryPoint(*point, "chartscan.tasks")]
    with pytest.raises(ConfigError, match=message):
        task_modules()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("def label(", "def labels(", "a task needs label. Write: def label"),
        ("DEFAULT = Config()", "Config()", "NameError"),
        ('TITLE = "Contact within 7 days"', "", "a task needs TITLE. Write: TITLE"),
        ("DESCRIPTION = ", "ABOUT = ", "a task needs DESCRIPTION. Write: DESCRIPTION"),
        ("config: Config = DEFAULT) -> list", "*, config: Config = DEFAULT) -> list", "label is not as"),
        ("DEFAULT = Config()", "DEFAULT = {}", "DEFAULT is not as .*Expected a msgspec.Struct"),
        ('"class", ', '"clas", ', "DEPENDS_ON is not as a task needs it. Expected a tuple of these: class, "),
        ("import msgspec", "import msgspecc", r"line 5: ModuleNotFoundError: .*must be installed"),
        ("DEFAULT = Config()", "DEFAULT = Config(", r"line \d+: SyntaxError"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_task_is_refused_with_what_it_lacks(task, old, new, message):
    with pytest.raises(ConfigError, match=f"contact_7d.py.*{message}"):
        task_of_file(changed(task, old, new))


@pytest.mark.parametrize(
    "name", ["readmission_30d.py", "all.py", "train.py", "_mine.py", "7d.py", "la bel.py"]
)
def test_a_file_whose_name_can_be_no_task_is_refused(task, name):
    with pytest.raises(ConfigError, match="Rename the file"):
        task_of_file(task.rename(task.with_name(name)))


def test_files_are_named_once_and_used(task, tmp_path):
    (tmp_path / "again").mkdir()
    with pytest.raises(ConfigError, match="not the task 'readmission_30d'"):
        tasks_to_label("readmission_30d", [task])
    with pytest.raises(ConfigError, match="a task of the same name"):
        tasks_to_label("all", [task, tmp_path / "again" / task.name])
    with pytest.raises(ConfigError, match="no such Python file"):
        task_modules(tasks_to_label("missing.py", []))


def test_a_text_from_a_label_file_is_never_executed_as_a_file(task, monkeypatch):
    monkeypatch.chdir(task.parent)
    assert made.title_of("contact_7d.py", {}) == "contact 7d.py"


def test_an_error_within_a_label_names_the_line_and_no_content(task, dataset):
    changed(task, '    """One outcome per stay."""', '    raise ValueError("Mrs Smith")')
    line = task.read_text().splitlines().index('    raise ValueError("Mrs Smith")') + 1
    with pytest.raises(
        ConfigError, match=rf"contact_7d.py, line {line}: label failed with ValueError"
    ) as caught:
        make_labels(dataset, [task], Silent(), max_unknown=1)
    assert "Smith" not in str(caught.value)


def test_labels_that_are_no_outcomes_are_refused(task, dataset):
    changed(task, "return [outcome(record, stay, config) for", "return [True for")
    with pytest.raises(ConfigError, match=r"must return a list of chartscan.cohort.Outcome"):
        make_labels(dataset, [task], Silent(), max_unknown=1)


def test_a_title_of_its_own_is_used(task):
    with task.open("a") as file:
        file.write('\n\ndef title(config):\n    return f"Contact within {config.horizon_days} days"\n')
    one = task_of_file(task)[1]
    assert isinstance(one, OutsideTask)
    assert one.title(type(one.DEFAULT)(horizon_days=30)) == "Contact within 30 days"
