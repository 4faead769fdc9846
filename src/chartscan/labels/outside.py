"""Tasks from outside the package: a Python file of the user, or a module of an installed package.

A task is a module with `label(record, config)`, `DEFAULT`, `TITLE` and `DESCRIPTION`, and optionally
`DEPENDS_ON`, `SETTLED_BY` and `title(config)`. It is checked once, here, and then used like a built-in one.
Packages offer theirs under the entry point `chartscan.tasks`. What a label means is up to the file.
"""

import inspect
import traceback
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from chartscan.cohort import Outcome, Record
from chartscan.errors import ConfigError
from chartscan.find import from_entry_point, from_file, installed, names
from chartscan.labels.refusal import DEPENDABLE
from chartscan.task_files import is_free_name
from chartscan.tasks._title import titled

KIND = "task"
NOT_NAMES = {"all"}  # what stands for several tasks


class OutsideTask:
    """A task that is no part of chartscan, with the same names as the module of a built-in task."""

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
        """The title with these settings: by the module's `title`, or TITLE and what differs from DEFAULT."""
        settings = self.DEFAULT if config is None else config
        if hasattr(self._module, "title"):
            return str(self._module.title(settings))
        return titled(self.TITLE, settings, self.DEFAULT)


def task_of_file(path: Path) -> tuple[str, OutsideTask]:
    """Name and task of a Python file; ConfigError where it is no task, or its name is taken or no name."""
    name = file_task(path)
    return name, OutsideTask(from_file(path, KIND), str(path))


def file_task(path: Path) -> str:
    """What the task in a file is called: the file's name without `.py`, with dashes as underscores."""
    name = path.stem.replace("-", "_")
    if name in {*names("tasks"), *installed("tasks"), *NOT_NAMES}:
        raise ConfigError(f"{path}: there is a task named '{name}' already. Rename the file.")
    if not name.isidentifier() or name.startswith("_") or not is_free_name(name):
        raise ConfigError(
            f"{path}: '{name}' can name no task, because files of labels are called so. Rename the file; use "
            "letters, digits and '_', such as icu_transfer.py."
        )
    return name


def task_of_package(point: EntryPoint) -> OutsideTask:
    """The task of an installed package."""
    module, place = from_entry_point(point, KIND)
    return OutsideTask(module, place)


def check_task(module: ModuleType, place: str) -> None:
    """ConfigError that names `place` and the first thing that a task must have and `module` lacks."""
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
