"""Tasks that are refused: too much of what they depend on is missing, or in words that were not understood.

A label needs to know which encounters are stays, how they ended, and what the diagnoses are. Where the words
for that are unknown, or the records are missing, answers would be absent, or worse, look like "nothing
happened".
"""

from collections.abc import Mapping
from typing import Any, Protocol

from chartscan.store.accounting import unknown_words
from chartscan.store.dataset import Dataset

_RECORDS = {
    "class": "encounters have a class",
    "encounter_status": "encounters have a status",
    "disposition": "hospital stays end with a disposition",
    "diagnosis_system": "diagnoses are coded in a system",
    "diagnosis": "diagnoses have a code",
    "diagnosis_status": "statuses of diagnoses are in a word",
}
DEPENDABLE = tuple(_RECORDS)  # what a task may name in DEPENDS_ON
_COUNTED = {"sex", *_RECORDS}  # a source that counts none of these counts no words that tasks depend on
_REMEDY = (
    "Declare the words in a site file: chartscan ingest SOURCE IN OUT --suggest-site site.yaml lists them; "
    "fill it in, and ingest again with --site site.yaml. Or allow more with --max-unknown"
)
_NO_ENCOUNTER = (
    "the dataset holds no encounter, so no hospital stay is known. Ingest an export with Encounters, or "
    "allow it with --max-unknown 1"
)
_NO_DIAGNOSIS = (
    "the dataset holds hospital stays and no diagnosis, so every answer would be no. Ingest an export with "
    "Conditions, or allow it with --max-unknown 1"
)


class DependentTask(Protocol):
    """As much of a task as this module needs."""

    @property
    def DEPENDS_ON(self) -> tuple[str, ...]: ...


def refused_tasks(dataset: Dataset, tasks: Mapping[str, DependentTask], max_unknown: float) -> dict[str, str]:
    """Why tasks are refused, by task. A dataset whose source counts no words refuses none."""
    recognition = dataset.manifest.get("recognition", {})
    no_stay = _no_stay(recognition)
    found = {name: no_stay or _reason(recognition, task, max_unknown) for name, task in tasks.items()}
    return {name: reason for name, reason in found.items() if reason}


def _reason(recognition: Mapping[str, Any], task: DependentTask, max_unknown: float) -> str:
    return _missing(recognition, task, max_unknown) or _too_unknown(recognition, task, max_unknown)


def _missing(recognition: Mapping[str, Any], task: DependentTask, max_unknown: float) -> str:
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


def _too_unknown(recognition: Mapping[str, Any], task: DependentTask, max_unknown: float) -> str:
    reasons = []
    for thing in task.DEPENDS_ON:
        found = recognition.get(thing)
        if found and found["unknown"] > max_unknown * _records(found):
            share = found["unknown"] / _records(found)
            reasons.append(
                f"{found['unknown']:,} of {_records(found):,} {_RECORDS[thing]} that is not understood "
                f"({share:.1%}, at most {max_unknown:.1%}): {unknown_words(found)}"
            )
    return "; ".join(reasons)


def _records(found: Mapping[str, Any]) -> int:
    return found["recognised"] + found["mapped"] + found["unknown"] + found["not_said"]


def refusal_lines(refused: Mapping[str, str]) -> list[str]:
    """What to say of tasks that are refused; tasks with one reason share a line."""
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
