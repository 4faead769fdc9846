"""Tasks by name, with settings: built-in, user files, and installed packages.

A task is a module with `label(record, config)`, `DEFAULT`, `TITLE` and `DESCRIPTION`, and optionally
`DEPENDS_ON`, `SETTLED_BY` and `title(config)`. One from outside is checked once, here, and then used like a
built-in one. Packages offer theirs under the entry point `chartscan.tasks`.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec

from chartscan.errors import ConfigError, DataError
from chartscan.find import find, from_entry_point, from_file, installed, names, unknown
from chartscan.schema import Counts
from chartscan.settings import with_settings
from chartscan.task_files import is_free_name

if TYPE_CHECKING:
    from chartscan.cohort import Outcome, Record

KIND = "task"
DEPENDABLE = {  # what a task may name in DEPENDS_ON, and how a refusal says it
    "class": "encounters have a class",
    "encounter_status": "encounters have a status",
    "disposition": "hospital stays end with a disposition",
    "diagnosis_system": "diagnoses are coded in a system",
    "diagnosis": "diagnoses have a code",
    "diagnosis_status": "statuses of diagnoses are in a word",
}
NOT_NAMES = {"all"}  # what stands for several tasks


class OutsideTask:
    """A task from outside chartscan, with the same names as a built-in task."""

    def __init__(self, module: ModuleType, place: str):
        check_task(module, place)
        self._module = module
        self._place = place
        self.TITLE: str = module.TITLE
        self.DESCRIPTION: str = module.DESCRIPTION
        self.DEFAULT: msgspec.Struct = module.DEFAULT
        self.DEPENDS_ON: tuple[str, ...] = tuple(getattr(module, "DEPENDS_ON", ()))
        self.SETTLED_BY: tuple[str, ...] = tuple(getattr(module, "SETTLED_BY", ()))

    def label(self, record: Record, config: msgspec.Struct | None = None) -> list[Outcome]:
        """One outcome per stay.

        ConfigError with file and line where `label` fails or gives anything else. The text of its error is
        left out, since it may hold content of the record.
        """
        from chartscan.cohort import Outcome

        try:
            found = self._module.label(record, self.DEFAULT if config is None else config)
        except Exception as err:
            place = f"{self._place}{_line(err, self._module)}"
            raise ConfigError(f"{place}: label failed with {type(err).__name__}. Mend the task.") from err
        if not isinstance(found, list) or not all(isinstance(one, Outcome) for one in found):
            raise ConfigError(
                f"{self._place}: label must return a list of chartscan.cohort.Outcome, one for each stay of "
                "record.stays."
            )
        return found

    def title(self, config: msgspec.Struct | None = None) -> str:
        """Return the module's `title`, or TITLE with the settings that differ from DEFAULT."""
        settings = self.DEFAULT if config is None else config
        if hasattr(self._module, "title"):
            return str(self._module.title(settings))
        from chartscan.tasks._shared import titled

        return titled(self.TITLE, settings, self.DEFAULT)


def task_names() -> list[str]:
    """Names of the built-in tasks and of those of installed packages, sorted."""
    return sorted({*names("tasks"), *installed("tasks")})


def task_modules(wanted: Sequence[str | Path] | None = None) -> dict[str, ModuleType | OutsideTask]:
    """Return tasks by name, all of `task_names` when none is named.

    A path is the Python file of a task. ConfigError for a name that no task has, and for a file or package
    that holds no proper task. A text is never taken for a path: names come from label files, too.
    """
    return dict(_task(name) for name in wanted or task_names())


def _task(name: str | Path) -> tuple[str, ModuleType | OutsideTask]:
    if isinstance(name, Path):
        return task_of_file(name)
    plain = name.replace("-", "_")
    if plain in names("tasks"):
        return plain, find("tasks", plain)
    others = installed("tasks")
    if plain not in others:
        raise ConfigError(
            f"{unknown('task', plain, task_names())} A task of your own is named by its .py file."
        )
    return plain, task_of_package(others[plain])


def tasks_to_label(task: str, files: Sequence[Path]) -> list[str | Path]:
    """Return the tasks to label: the named one, or all with `files`.

    The one that is named may be a Python file itself. ConfigError for two files of one name, and for files of
    other tasks than the one named.
    """
    if task.endswith(".py"):
        files, task = [*files, Path(task)], file_task(Path(task))
    by_name: dict[str, Path] = {}
    for path in files:
        other = by_name.setdefault(file_task(path), path)
        if other != path:
            raise ConfigError(f"--task {path}: {other} is a task of the same name. Rename one of them.")
    if task == "all":
        return [*task_names(), *by_name.values()]
    others = [name for name in by_name if name != task.replace("-", "_")]
    if others:
        raise ConfigError(f"--task {by_name[others[0]]}: not the task '{task}'. Label 'all' or {others[0]}.")
    return list(by_name.values()) or [task]


@dataclass(frozen=True)
class SetTask:
    """A task with settings of its own."""

    module: ModuleType | OutsideTask
    DEFAULT: msgspec.Struct

    @property
    def TITLE(self) -> str:
        """The title of the task with these settings."""
        return self.module.title(self.DEFAULT)

    @property
    def SETTLED_BY(self) -> tuple[str, ...]:
        """Event types after which nothing changes an answer; with other settings than its own, unknown."""
        return tuple(getattr(self.module, "SETTLED_BY", ())) if self.DEFAULT == self.module.DEFAULT else ()

    @property
    def DEPENDS_ON(self) -> tuple[str, ...]:
        """Things whose words the answers depend on: class, encounter_status, disposition, diagnosis_system,
        diagnosis, diagnosis_status."""
        return tuple(getattr(self.module, "DEPENDS_ON", ()))

    def label(self, record: Record) -> list[Outcome]:
        """One outcome per stay, by the settings."""
        return self.module.label(record, self.DEFAULT)


def set_tasks(wanted: Sequence[str | Path] | None, settings: Sequence[str]) -> Mapping[str, SetTask]:
    """Return the named tasks with changed settings; ConfigError for settings of several tasks."""
    modules = task_modules(wanted)
    if settings and len(modules) > 1:
        raise ConfigError(f"--set {settings[0]}: tasks have settings of their own. Name one task, not 'all'.")
    return {name: SetTask(task, with_settings(task.DEFAULT, settings)) for name, task in modules.items()}


def title_of(name: str, settings: Mapping[str, Any]) -> str:
    """The title of a task with the settings that its labels were made with (`Counts.settings`).

    Of a task that is not found by its name, or has no such settings here: the title kept with the labels, or
    its name.
    """
    try:
        module = task_modules([name])[name]
        return module.title(msgspec.convert(settings.get("task", {}), type(module.DEFAULT)))
    except (ConfigError, msgspec.ValidationError):
        return str(settings.get("title") or name.replace("_", " "))


def task_as_labelled(name: str, counts: Counts | None, file: Path | None = None) -> SetTask:
    """Return the task with the settings of its labels, or its own.

    `file` holds the task where it is one of the user's own: ConfigError where its name is another. DataError
    where the task of this version has no such settings.
    """
    if file is not None and file_task(file) != name:
        raise ConfigError(f"--task {file}: the labels are of '{name}'. Name the file of that task.")
    module = task_modules([name if file is None else file])[name]
    settings = counts.settings.get("task", {}) if counts else {}
    try:
        return SetTask(module, msgspec.convert(settings, type(module.DEFAULT)))
    except msgspec.ValidationError as err:
        raise DataError(
            f"The labels of {name} were made with settings that the task does not have here ({err}). Make "
            f"them again: chartscan label {name} DATASET LABELS"
        ) from err


def task_of_file(path: Path) -> tuple[str, OutsideTask]:
    """Return name and task of a Python file; ConfigError where invalid or taken."""
    name = file_task(path)
    return name, OutsideTask(from_file(path, KIND), str(path))


def file_task(path: Path) -> str:
    """Return a task file's name without `.py`, dashes as underscores."""
    name = path.stem.replace("-", "_")
    if name in {*names("tasks"), *installed("tasks"), *NOT_NAMES}:
        raise ConfigError(f"{path}: there is a task named '{name}' already. Rename the file.")
    if not name.isidentifier() or name.startswith("_") or not is_free_name(name):
        raise ConfigError(
            f"{path}: '{name}' cannot name a task, because label files use this name. Rename the file; use "
            "letters, digits and '_', such as icu_transfer.py."
        )
    return name


def task_of_package(point: EntryPoint) -> OutsideTask:
    """The task of an installed package."""
    module, place = from_entry_point(point, KIND)
    return OutsideTask(module, place)


def check_task(module: ModuleType, place: str) -> None:
    """Raise ConfigError where `module` lacks part of a task, or has another form."""
    for name, remedy in _LACKING.items():
        if not hasattr(module, name):
            raise ConfigError(f"{place}: a task needs {name}. {remedy}")
    for name, (expected, right) in _WRONG.items():
        if hasattr(module, name) and not right(getattr(module, name)):
            raise ConfigError(f"{place}: {name} is not as a task needs it. Expected {expected}.")


def _takes_two(label: Any) -> bool:
    try:
        inspect.signature(label).bind(None, None)
    except (TypeError, ValueError):
        return False
    return True


def _settings(default: Any) -> bool:
    """Whether settings can be written with the labels, and read again."""
    if not isinstance(default, msgspec.Struct):
        return False
    try:
        return msgspec.json.decode(msgspec.json.encode(default), type=type(default)) == default
    except (TypeError, msgspec.MsgspecError):
        return False


def _words(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(isinstance(one, str) for one in value)


def _sentence(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


_LACKING: Mapping[str, str] = {
    "label": "Write: def label(record, config): return [Outcome(...) for stay in record.stays]",
    "DEFAULT": "Write: DEFAULT = Config(), with class Config(msgspec.Struct, frozen=True) for the settings.",
    "TITLE": 'Write: TITLE = "Transfer to intensive care", at most 60 letters: reports show it.',
    "DESCRIPTION": "Write: DESCRIPTION = and a sentence: what the label means, and when it is predicted.",
}
_WRONG: Mapping[str, tuple[str, Any]] = {
    "label": ("a function of a record and the settings: def label(record, config)", _takes_two),
    "DEFAULT": ("a msgspec.Struct whose values JSON can hold", _settings),
    "TITLE": ("a text", _sentence),
    "DESCRIPTION": ("a text", _sentence),
    "DEPENDS_ON": (
        f"a tuple of these: {', '.join(DEPENDABLE)}",
        lambda value: _words(value) and set(value) <= set(DEPENDABLE),
    ),
    "SETTLED_BY": ("a tuple of event types", _words),
    "title": ("a function of the settings: def title(config)", callable),
}


def _line(err: Exception, module: ModuleType) -> str:
    """The last line of the task's own file that an error passed."""
    lines = [f.lineno for f in traceback.extract_tb(err.__traceback__) if f.filename == module.__file__]
    return f", line {lines[-1]}" if lines else ""
