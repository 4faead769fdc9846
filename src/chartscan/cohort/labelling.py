"""From subjects' events to LABELS: each record is built once and shown to every task.

A task gives one `Outcome` for each index stay: a label, or why there is none. `Counts` adds them up and is
checked: no stay is lost between the cohort and the labels.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import msgspec
import pyarrow as pa

from chartscan.cohort.evidence import FollowUp, follow_up_rule
from chartscan.cohort.record import COLUMNS, UNKNOWN_SITE, Record, Site, record_from_events
from chartscan.cohort.stays import DEFAULT, StayConfig
from chartscan.schema import LABELS, QUESTIONS, Counts
from chartscan.vocabulary.diagnoses import declared_codes


@dataclass(frozen=True, slots=True)
class Outcome:
    """One index stay as one task sees it.

    Excluded: the stay is not of the task's population (`eligible` false). Absent: it is, but
    how it ended is not known (`value` None). Both give a reason. Only the others become labels.
    """

    prediction_time: datetime | None  # None only where the stay has no such moment
    value: bool | None
    reason: str = ""
    eligible: bool = True
    flags: tuple[str, ...] = ()  # counted beside the label, they do not change it


def excluded(prediction_time: datetime | None, reason: str) -> Outcome:
    """The stay is not of the task's population."""
    return Outcome(prediction_time, None, reason, eligible=False)


def absent(prediction_time: datetime | None, reason: str) -> Outcome:
    """The stay is of the population, its outcome is unknown."""
    return Outcome(prediction_time, None, reason)


class Tally:
    """Counts in the making: `add` one subject's outcomes at a time, then `counts`."""

    def __init__(self) -> None:
        self._numbers: Counter[str] = Counter()
        self._excluded: Counter[str] = Counter()
        self._absent: Counter[str] = Counter()
        self._flags: Counter[str] = Counter()

    def add(self, outcomes: Iterable[Outcome], unpaired_ends: int = 0) -> None:
        """Count one subject: outcomes of all stays, and encounter ends without a start."""
        outcomes = list(outcomes)
        self._numbers["subjects"] += 1
        self._numbers["subjects_with_stay"] += bool(outcomes)
        self._numbers["subjects_labelled"] += any(o.value is not None for o in outcomes)
        for outcome in outcomes:
            self._add(outcome)
        if unpaired_ends:
            self._flags["encounter end without a start"] += unpaired_ends

    def _add(self, outcome: Outcome) -> None:
        self._numbers["index_stays"] += 1
        self._flags.update(outcome.flags)
        if not outcome.eligible:
            self._excluded[outcome.reason] += 1
            return
        self._numbers["eligible"] += 1
        if outcome.value is None:
            self._absent[outcome.reason] += 1
        else:
            self._numbers["positive" if outcome.value else "negative"] += 1

    def counts(self, settings: dict[str, Any]) -> Counts:
        """The numbers so far, checked to add up; reasons in order of their count."""
        return Counts(
            **self._numbers,
            excluded=dict(self._excluded.most_common()),
            absent=dict(self._absent.most_common()),
            flags=dict(self._flags.most_common()),
            settings=settings,
        )


_REPORT_EVERY = 1000


class Task(Protocol):
    """A clinical task: any module or object with these three names."""

    @property
    def TITLE(self) -> str: ...

    @property
    def DEFAULT(self) -> msgspec.Struct: ...

    def label(self, record: Record) -> list[Outcome]: ...


class Dataset(Protocol):
    """What labelling needs of a dataset."""

    @property
    def follow_up(self) -> dict[str, Any]: ...

    @property
    def manifest(self) -> dict[str, Any]: ...

    def subjects(self, columns: list[str]) -> Iterable[tuple[int, pa.Table]]: ...


Progress = Callable[[int, int | None], None]  # subjects done, subjects in all if known


def label_dataset(
    dataset: Dataset,
    tasks: Mapping[str, Task],
    progress: Progress | None = None,
    questions: bool = False,
    stays: StayConfig = DEFAULT,
) -> dict[str, tuple[pa.Table, Counts]]:
    """Return LABELS (or QUESTIONS) and cohort counts of every task over a whole dataset."""
    subjects, site = dataset.subjects(COLUMNS), site_of(dataset.manifest)
    return label_subjects(subjects, tasks, dataset.follow_up, stays, progress, questions, site)


def site_of(manifest: Mapping[str, Any]) -> Site:
    """Return the time zone and site words of a manifest."""
    vocabulary = (manifest.get("site") or {}).get("vocabulary") or {}
    classes, systems = vocabulary.get("class") or {}, vocabulary.get("systems") or {}
    settings = manifest.get("settings") or {}
    named = (settings.get("systems") or {}) | systems
    return Site(
        time_zone=settings.get("time_zone") or "UTC",
        other_classes=frozenset(
            str(word).rpartition("|")[2].strip().upper() for word, kind in classes.items() if kind != "stay"
        ),
        diagnosis_systems=frozenset(systems.values()),
        diagnoses=declared_codes(vocabulary.get("diagnoses") or {}, named),
    )


def label_subjects(
    subjects: Iterable[tuple[int, pa.Table]],
    tasks: Mapping[str, Task],
    follow_up: FollowUp | Mapping[str, Any] | None,
    stays: StayConfig = DEFAULT,
    progress: Progress | None = None,
    questions: bool = False,
    site: Site = UNKNOWN_SITE,
) -> dict[str, tuple[pa.Table, Counts]]:
    """Return LABELS and cohort counts of every task.

    Rows are in the order of `subjects`, then of time. `subjects` gives each subject's EVENTS rows (at least
    `record.COLUMNS`) once. With `questions` the tables are QUESTIONS instead: every eligible stay, also where
    its outcome is unknown.
    """
    rule = follow_up_rule(follow_up)
    columns: dict[str, _Columns] = {name: _Columns() for name in tasks}
    done = 0
    for _, events in subjects:
        record = record_from_events(events, rule, stays, site)
        for name, task in tasks.items():
            columns[name].add(record, task.label(record))
        done += 1
        if progress and done % _REPORT_EVERY == 0:
            progress(done, None)
    if progress:
        progress(done, done)
    found = {name: columns[name].result(_settings(task, stays, rule, site)) for name, task in tasks.items()}
    return {name: (_asked(table, questions), counts) for name, (table, counts) in found.items()}


def _asked(table: pa.Table, questions: bool) -> pa.Table:
    """QUESTIONS of every row, or LABELS of those whose answer is known."""
    if questions:
        return table.select(QUESTIONS.names).cast(QUESTIONS)
    return table.filter(table["boolean_value"].is_valid()).cast(LABELS)


def _settings(task: Task, stays: StayConfig, rule: FollowUp, site: Site) -> dict[str, Any]:
    """The settings as JSON holds them, so that counts read back equal those written."""
    settings = {"title": task.TITLE, "task": task.DEFAULT, "stays": stays, "follow_up": rule}
    settings["time_zone"] = site.time_zone
    return msgspec.json.decode(msgspec.json.encode(settings))


class _Columns:
    """Eligible stays of one task in the making, with their labels where they are known."""

    def __init__(self) -> None:
        self._subjects: list[int] = []
        self._times: list[datetime] = []
        self._values: list[bool | None] = []
        self._tally = Tally()

    def add(self, record: Record, outcomes: list[Outcome]) -> None:
        self._tally.add(outcomes, record.unpaired_ends)
        for outcome in outcomes:
            if outcome.eligible and outcome.prediction_time is not None:
                self._subjects.append(record.subject_id)
                self._times.append(outcome.prediction_time)
                self._values.append(outcome.value)

    def result(self, settings: dict[str, Any]) -> tuple[pa.Table, Counts]:
        arrays = [self._subjects, self._times, self._values]
        columns = [pa.array(a, field.type) for a, field in zip(arrays, LABELS, strict=True)]
        return pa.table(columns, names=LABELS.names), self._tally.counts(settings)
