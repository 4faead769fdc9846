"""LABELS made from the events of a dataset, and why a task is refused.

How hospital stays are formed is set by `label`, a site file, or the dataset's own. A label needs to know
which encounters are stays, how they ended, and what the diagnoses are. Where the words for that are unknown,
or the records are missing, answers would be absent, or look like "nothing happened": the task is refused.

The cohort is imported when labels are made: a training on label files does not need it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from chartscan.errors import ConfigError, DataError, nearest
from chartscan.labels import MAX_UNKNOWN
from chartscan.labels.belonging import stamped
from chartscan.labels.files import Labels
from chartscan.labels.tasks import DEPENDABLE, SetTask, set_tasks
from chartscan.notes import Note, Notes
from chartscan.runs.job import Watcher
from chartscan.settings import with_settings
from chartscan.store.accounting import unknown_words
from chartscan.store.dataset import Dataset

if TYPE_CHECKING:
    from chartscan.cohort import StayConfig

PREFIX = "stays."  # of settings that say how stays are formed


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
    from chartscan.cohort import label_dataset

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


def stay_config(stays: Mapping[str, Any], where: str = PREFIX) -> StayConfig:
    """The section `stays` of a site file as settings; ConfigError that names the wrong one."""
    from chartscan.cohort import StayConfig

    known = [name for name in StayConfig.__struct_fields__ if name != "version"]
    for name in stays:
        if name not in known:
            raise ConfigError(f"{where}{name}: no such setting.{nearest(name, known)}")
    words = {name: [str(w).upper() for w in v] if isinstance(v, list) else v for name, v in stays.items()}
    try:
        return msgspec.convert(words, StayConfig, strict=False)
    except msgspec.ValidationError as err:
        raise ConfigError(f"{where.rstrip('.')}: {err}.") from None


def stays_of(
    dataset: Dataset, site: Path | None = None, settings: Sequence[str] = ()
) -> tuple[StayConfig, list[str]]:
    """How to form stays, and the settings that are not about them.

    Those of `settings` that begin with "stays." win over the site file, and that over the one the dataset was
    made with.
    """
    from chartscan.site import read_site

    own = dataset.manifest.get("site", {}).get("stays", {})
    formed = stay_config(read_site(site).stays if site else own, f"{site or dataset.path}: stays.")
    about = [s.removeprefix(PREFIX) for s in settings if s.startswith(PREFIX)]
    try:
        formed = with_settings(formed, about)
    except ConfigError as err:
        raise ConfigError(str(err).replace("--set ", f"--set {PREFIX}", 1)) from None
    return formed, [s for s in settings if not s.startswith(PREFIX)]


def vocabulary_note(dataset: Dataset, site: Path | None) -> str:
    """Return a warning where site words differ from the dataset's; else empty."""
    if site is None:
        return ""
    from chartscan.site import Vocabulary, read_site

    words = msgspec.to_builtins(read_site(site).vocabulary)
    own = dataset.manifest.get("site", {}).get("vocabulary") or msgspec.to_builtins(Vocabulary())
    if words in (own, msgspec.to_builtins(Vocabulary())):
        return ""
    return f"{site}: its vocabulary is not the dataset's. Words are read by ingest: ingest again with --site"


_COUNTED = {"sex", *DEPENDABLE}  # a source that counts none of these counts no words that tasks depend on
_REMEDY = (
    "Declare the words in a site file: chartscan ingest SOURCE IN OUT --suggest-site site.yaml lists them; "
    "fill it in, and ingest again with --site site.yaml. Or allow more with --max-unknown"
)
_NO_ENCOUNTER = (
    "the dataset contains no encounter, so no hospital stay is known. Ingest an export with Encounters, or "
    "allow it with --max-unknown 1"
)
_NO_DIAGNOSIS = (
    "the dataset contains hospital stays and no diagnosis, so every answer would be no. Ingest an export "
    "with Conditions, or allow it with --max-unknown 1"
)


def refused_tasks(dataset: Dataset, tasks: Mapping[str, SetTask], max_unknown: float) -> dict[str, str]:
    """Return by refused task the reason. None is refused where the source counts no words."""
    recognition = dataset.manifest.get("recognition", {})
    no_stay = _no_stay(recognition)
    found = {name: no_stay or _reason(recognition, task, max_unknown) for name, task in tasks.items()}
    return {name: reason for name, reason in found.items() if reason}


def _reason(recognition: Mapping[str, Any], task: SetTask, max_unknown: float) -> str:
    return _missing(recognition, task, max_unknown) or _too_unknown(recognition, task, max_unknown)


def _missing(recognition: Mapping[str, Any], task: SetTask, max_unknown: float) -> str:
    """What a task depends on and no record tells, though the source counts words."""
    if not recognition.keys() & _COUNTED or max_unknown >= 1:
        return ""
    if "class" not in recognition and "class" in task.DEPENDS_ON:
        return _NO_ENCOUNTER
    stays = recognition.get("class", {}).get("meanings", {}).get("stay")
    no_diagnosis = "diagnosis_system" in task.DEPENDS_ON and "diagnosis_system" not in recognition
    return _NO_DIAGNOSIS if stays and no_diagnosis else ""


def _no_stay(recognition: Mapping[str, Any]) -> str:
    """Why no task can be labelled at all: no encounter is known to be a stay, and some may be."""
    classes = recognition.get("class")
    if not classes or not classes["unknown"] or classes["meanings"].get("stay"):
        return ""
    return (
        f"no encounter is recognised as a hospital stay; {classes['unknown']:,} of {_records(classes):,} "
        f"have a class that is not understood: {unknown_words(classes)}"
    )


def _too_unknown(recognition: Mapping[str, Any], task: SetTask, max_unknown: float) -> str:
    reasons = []
    for thing in task.DEPENDS_ON:
        found = recognition.get(thing)
        if found and found["unknown"] > max_unknown * _records(found):
            share = found["unknown"] / _records(found)
            reasons.append(
                f"{found['unknown']:,} of {_records(found):,} {DEPENDABLE[thing]} that is not understood "
                f"({share:.1%}, at most {max_unknown:.1%}): {unknown_words(found)}"
            )
    return "; ".join(reasons)


def _records(found: Mapping[str, Any]) -> int:
    return found["recognised"] + found["mapped"] + found["unknown"] + found["not_said"]


def refusal_lines(refused: Mapping[str, str]) -> list[str]:
    """Return lines about refused tasks; tasks with the same reason share a line."""
    lines = [f"refused: {', '.join(names)}: {reason}" for reason, names in _by_reason(refused).items()]
    return [*lines, f"    {_REMEDY}"] if _words_are_unknown(refused) else lines


def all_refused(refused: Mapping[str, str]) -> str:
    """The error where no task is left."""
    reasons = (f"{', '.join(names)}: {reason}" for reason, names in _by_reason(refused).items())
    remedy = f" {_REMEDY}." if _words_are_unknown(refused) else ""
    return f"No labels can be made. {'. '.join(reasons)}.{remedy}"


def _words_are_unknown(refused: Mapping[str, str]) -> bool:
    return bool(set(refused.values()) - {_NO_ENCOUNTER, _NO_DIAGNOSIS})


def _by_reason(refused: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, reason in sorted(refused.items()):
        found.setdefault(reason, []).append(name)
    return found
