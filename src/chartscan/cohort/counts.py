"""What a task says of one stay, and the counts over all of them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

# What a task says of one index stay: a label, or why there is none.


@dataclass(frozen=True, slots=True)
class Outcome:
    """One index stay as one task sees it.

    Excluded: the stay is not of the task's population (`eligible` false). Absent: it is, but how
    it ended is unknown (`value` None). Both give a reason. Only the others become labels.
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


# The cohort of one task in numbers: who was seen, who was left out and why, what the rest became.


class Counts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """index_stays = eligible + excluded; eligible = positive + negative + absent. Checked when made."""

    subjects: int = 0  # all whose record was read
    subjects_with_stay: int = 0
    subjects_labelled: int = 0
    index_stays: int = 0
    eligible: int = 0
    positive: int = 0
    negative: int = 0
    excluded: dict[str, int] = {}  # reason -> stays not of the population
    absent: dict[str, int] = {}  # reason -> eligible stays with an unknown outcome
    flags: dict[str, int] = {}  # noteworthy, counted besides
    settings: dict[str, Any] = {}  # task, stays and follow-up as they were set

    def __post_init__(self) -> None:
        if self.index_stays != self.eligible + sum(self.excluded.values()):
            raise ValueError("cohort counts do not add up: index stays != eligible + excluded")
        if self.eligible != self.positive + self.negative + sum(self.absent.values()):
            raise ValueError("cohort counts do not add up: eligible != positive + negative + absent")
        if not self.subjects_labelled <= self.subjects_with_stay <= self.subjects:
            raise ValueError("cohort counts do not add up: labelled > with a stay > all subjects")


class Tally:
    """Counts in the making: `add` one subject's outcomes at a time, then `counts`."""

    def __init__(self) -> None:
        self._numbers: Counter[str] = Counter()
        self._excluded: Counter[str] = Counter()
        self._absent: Counter[str] = Counter()
        self._flags: Counter[str] = Counter()

    def add(self, outcomes: Iterable[Outcome], unpaired_ends: int = 0) -> None:
        """One subject: the outcomes of all its stays, and the encounter ends that had no start."""
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
