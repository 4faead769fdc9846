"""LABELS of tasks over a dataset, made or read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pyarrow as pa

from chartscan import parquet_files
from chartscan.cohort import Counts, Outcome, Record, StayConfig, label_dataset
from chartscan.cohort.label_files import read_task, stored_labels
from chartscan.errors import ConfigError, DataError
from chartscan.find import find, installed, names, unknown
from chartscan.labels import MAX_UNKNOWN
from chartscan.labels.belonging import stamped
from chartscan.labels.forming import stays_of
from chartscan.labels.outside import OutsideTask, file_task, task_of_file, task_of_package
from chartscan.labels.refusal import all_refused, refusal_lines, refused_tasks
from chartscan.notes import Note, Notes
from chartscan.runs.job import Watcher
from chartscan.settings import with_settings
from chartscan.store.dataset import Dataset
from chartscan.task_files import task_files

Labels = dict[str, tuple[pa.Table, Counts | None]]


def task_names() -> list[str]:
    """Names of the built-in tasks and of those of installed packages, sorted."""
    return sorted({*names("tasks"), *installed("tasks")})


def task_modules(wanted: Sequence[str | Path] | None = None) -> dict[str, ModuleType | OutsideTask]:
    """Tasks by name; all of `task_names` when none is named. A path is the Python file of a task.

    ConfigError for a name that no task has, and for a file or package that holds no proper task. A text is
    never taken for a path: names come from label files, too.
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
    """What `task_modules` is to find: the task that is named, or for 'all' every task and those of `files`.

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
        own: tuple[str, ...] = getattr(self.module, "SETTLED_BY", ())
        return own if self.DEFAULT == self.module.DEFAULT else ()

    @property
    def DEPENDS_ON(self) -> tuple[str, ...]:
        """Things whose words the answers depend on: class, encounter_status, disposition, diagnosis_system,
        diagnosis, diagnosis_status."""
        own: tuple[str, ...] = getattr(self.module, "DEPENDS_ON", ())
        return own

    def label(self, record: Record) -> list[Outcome]:
        """One outcome per stay, by the settings."""
        return self.module.label(record, self.DEFAULT)


def set_tasks(wanted: Sequence[str | Path] | None, settings: Sequence[str]) -> Mapping[str, SetTask]:
    """The tasks named, with settings changed; ConfigError where settings are meant for several tasks."""
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
    """The task with the settings that its labels were made with; its own where they do not say.

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
            f"The labels of {name} were made with settings that it does not have here ({err}). Make them "
            f"again: chartscan label {name} DATASET LABELS"
        ) from err


def make_labels(
    dataset: Dataset,
    wanted: Sequence[str | Path] | None,
    watcher: Watcher,
    settings: Sequence[str] = (),
    questions: bool = False,
    stays: StayConfig | None = None,
    max_unknown: float = MAX_UNKNOWN,
    notes: Notes | None = None,
) -> Labels:
    """LABELS (or QUESTIONS) and cohort counts of tasks, computed from the events.

    `wanted` is as in `task_modules`. `stays` says how stays are formed; default: as the dataset's site file
    does. Tasks that depend on too many unknown words are left out, each with a note or a line that says why;
    DataError where none is left.
    """
    tasks = set_tasks(wanted, settings)
    refused = refused_tasks(dataset, tasks, max_unknown)
    if len(refused) == len(tasks):
        raise DataError(all_refused(refused))
    if notes is None:
        for line in refusal_lines(refused):
            watcher.say(line)
    else:
        notes.extend(Note("refused_task", f"Refused. {reason}", task) for task, reason in refused.items())
    tasks = {name: task for name, task in tasks.items() if name not in refused}
    formed = stays_of(dataset)[0] if stays is None else stays
    with watcher.progress("Labels", "subjects") as progress:
        found = label_dataset(dataset, tasks, progress, questions, stays=formed)
    return {task: (table, stamped(counts, dataset)) for task, (table, counts) in found.items()}


def save_labels(labels: Labels, out: Path, as_folder: bool, questions: bool = False) -> None:
    """One parquet file a task in the folder `out`, all or none; or the only labels as the file `out`."""
    stored = {}
    for task, (table, counts) in labels.items():
        assert counts is not None
        path = out / f"{task}.parquet" if as_folder else out
        stored[path] = stored_labels(table, task, counts, questions)
    parquet_files.write_tables(stored)


def check_out(out: Path, as_folder: bool, names: str = "OUT") -> None:
    """ConfigError where a folder would be written over the file `out`, or a file over the folder."""
    if as_folder and out.exists() and not out.is_dir():
        raise ConfigError(
            f"{out} is a file. With several tasks {names} is a folder: name a new one, or one that exists."
        )
    if not as_folder and out.is_dir():
        raise ConfigError(
            f"{out} is a folder. With one task {names} is a file: name one in it, such as {out}/TASK.parquet."
        )


def cohort_lines(labels: Labels) -> list[str]:
    """For each task: stays seen, eligible, positive, negative, and why the others are not there."""
    lines = []
    for task, (table, counts) in sorted(labels.items()):
        if counts is None:
            lines.append(f"{task}: {table.num_rows:,} labels")
            continue
        lines.append(
            f"{task}: {counts.index_stays:,} stays, {counts.eligible:,} eligible, "
            f"{counts.positive:,} positive, {counts.negative:,} negative"
        )
        if "boolean_value" not in table.column_names:
            lines.append(f"    {table.num_rows:,} questions, answers left out")
        lines += [f"    not eligible: {n:,} {reason}" for reason, n in counts.excluded.items()]
        lines += [f"    no label: {n:,} {reason}" for reason, n in counts.absent.items()]
    return lines


def load_labels(path: Path, questions: bool = False, notes: Notes | None = None) -> Labels:
    """LABELS by task from one file, or from every task of a folder; QUESTIONS too where welcome.

    DataError where there is none, or no task has any row.
    """
    given = task_files(path)
    if not given:
        what = "no label files in this folder" if path.is_dir() else "no such file or folder of labels"
        raise DataError(f"{path}: {what}. Make some: chartscan label all DATASET LABELS")
    found: Labels = {}
    for one in given:
        table, task, counts = read_task(one, questions, notes)
        same = next((name for name in found if name.casefold() == task.casefold()), None)
        if same:
            raise ConfigError(f"{path}: two files hold labels of task '{same}'. Keep one.")
        found[task] = table, counts
    if not any(table.num_rows for table, _ in found.values()):
        raise DataError(_without_rows(path, found))
    return found


def _without_rows(path: Path, labels: Labels) -> str:
    """What to say of labels that ask nothing, with what their counts tell."""
    told = [
        f"{task}: {counts.index_stays:,} stays, {counts.eligible:,} eligible, "
        f"{sum(counts.absent.values()):,} without a known outcome"
        for task, (_, counts) in sorted(labels.items())
        if counts is not None
    ]
    because = f" ({'; '.join(told)})" if told else ""
    return (
        f"{path}: holds no rows, so nothing is asked{because}. Name other labels, or make them anew: "
        "chartscan label TASK DATASET OUT. With --questions stays without a known outcome are asked, too."
    )
