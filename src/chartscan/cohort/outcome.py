"""What a task says of one index stay: a label, or why there is none."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Outcome:
    """One index stay as one task sees it.

    Excluded: the stay is not of the task's population (`eligible` false). Absent: it is, but nobody knows
    how it ended (`value` None). Both give a reason. Only the others become labels.
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
