"""What a record says of times and of death, where it says less than exactly.

A time known to a day, a month or a year is an interval; a comparison holds only where it holds for every
instant of it. Whether a patient died in a stay is decided from all that speaks of it: the discharge
dispositions of the stay's encounters, the time of death, that the patient is dead without a time, or said to
be alive. The answer is True or False only where all of it agrees; evidence that conflicts, or was not
understood, gives None with a reason.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any, Literal, NamedTuple

import msgspec

from chartscan.errors import ConfigError
from chartscan.vocabulary.dispositions import SILENT, Meaning, meaning_of


class Interval(NamedTuple):
    """An instant that lies somewhere in [first, last], both included; exact where both are equal.

    A comparison holds only where it holds for every instant of both; its opposite may then be unproven too.
    """

    first: datetime
    last: datetime

    def surely_before(self, other: "Interval") -> bool:
        """Whether every instant of this comes before every instant of the other."""
        return self.last < other.first

    def surely_not_after(self, other: "Interval") -> bool:
        """Whether no instant of this comes after one of the other."""
        return self.last <= other.first

    def overlaps(self, other: "Interval") -> bool:
        """Whether both may be the same instant."""
        return self.first <= other.last and other.first <= self.last

    def covers(self, other: "Interval") -> bool:
        """Whether the other lies within this."""
        return self.first <= other.first and other.last <= self.last

    def within(self, other: "Interval") -> "Interval":
        """Return the part inside `other`; without overlap, the nearer end of `other`."""
        first = min(max(self.first, other.first), other.last)
        return Interval(first, max(first, min(self.last, other.last)))

    def later(self, by: timedelta) -> "Interval":
        """The interval moved; at the end of the calendar it stays there."""
        return Interval(moved(self.first, by), moved(self.last, by))

    def united(self, other: "Interval") -> "Interval":
        """The smallest interval with both in it."""
        return Interval(min(self.first, other.first), max(self.last, other.last))


def interval(last: datetime, first: datetime | None = None) -> Interval:
    """The interval that ends at `last`; exact without `first`."""
    return Interval(last if first is None else min(first, last), last)


def moved(time: datetime, by: timedelta) -> datetime:
    """`time` moved; a result outside of the calendar is its first or last instant."""
    try:
        return time + by
    except OverflowError:
        return datetime.max if by > timedelta(0) else datetime.min


class FollowUp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Until when subjects were followed: the rule that tells "no event" from "not known".

    A dataset states one rule for all of its subjects. Without one, every outcome that was not seen is absent.
    `export_time`: for everyone at `time`, the export's own (ISO 8601; UTC unless it has an offset; a bare
    date is the start of that day).

    `days_after_last_event`: `days` after the subject's last event. With 0 days nothing is assumed,
    which keeps negatives only where a later event proves that the window was watched.
    """

    rule: Literal["export_time", "days_after_last_event", "unknown"] = "unknown"
    time: str | None = None
    days: float = 0

    def __post_init__(self) -> None:
        if self.rule == "export_time" and self.time is None:
            raise ValueError("the rule export_time needs a time")
        if self.time is not None:
            datetime.fromisoformat(self.time)  # ValueError if it is none
        if self.days < 0:
            raise ValueError("days must not be negative")

    def end(self, last_event: datetime | None) -> datetime | None:
        """Return the last instant known to be without the event; None where unknown."""
        if self.rule == "export_time" and self.time is not None:
            return _utc(self.time)
        if self.rule == "days_after_last_event" and last_event is not None:
            return last_event + timedelta(days=self.days)
        return None


def follow_up_rule(settings: Mapping[str, Any] | FollowUp | None) -> FollowUp:
    """Return a manifest's `follow_up` rule (unknown for None); ConfigError if invalid."""
    if isinstance(settings, FollowUp):
        return settings
    try:
        return msgspec.convert(dict(settings or {}), FollowUp)
    except msgspec.ValidationError as err:
        raise ConfigError(
            f"follow_up: {err}. Expected {{'rule': 'export_time', 'time': ISO 8601}} or "
            "{'rule': 'days_after_last_event', 'days': N}."
        ) from err


def _utc(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time


# A death is often recorded some hours after the discharge that says it. Beyond this the two contradict.
LATE_RECORDING = timedelta(hours=24)

NOTHING_SAID = "no disposition and no death"
NOT_RECOGNISED = "disposition not recognised"
NO_TIME = "death without a time, stay without a disposition"
SAME_DAY = "death may lie before or after the discharge"
CONFLICT = "disposition and death contradict each other"
CODINGS_CONFLICT = "dispositions contradict each other"
LIVES = "disposition says dead, the patient is said to live"
DEAD_AND_LIVES = "the patient is said to be dead and to live"
COMES_BACK = "disposition says dead, the patient is admitted again later"


@dataclass(frozen=True, slots=True)
class Life:
    """What is known of a patient's death.

    `by_disposition`: the death was made from the disposition of a stay, so it is no evidence beside it.
    `doubt`: why the death is not believed. `disputed`: it may be that nothing of it is true.
    """

    death: Interval | None = None
    dead_without_time: bool = False
    said_alive: bool = False
    by_disposition: bool = False
    doubt: str = ""
    disputed: bool = False

    def after(self, reasons: Iterable[str]) -> "Life":
        """Return what remains of it where stays of the patient ended unknown for these reasons."""
        doubt = next((r for r in (COMES_BACK, CODINGS_CONFLICT) if r in reasons), "")
        if self.contradicted:
            return Life(dead_without_time=True, doubt=DEAD_AND_LIVES)
        return Life(dead_without_time=True, doubt=doubt) if self.by_disposition and doubt else self

    @property
    def contradicted(self) -> bool:
        """Whether the patient is recorded as dead and also as possibly alive."""
        return (self.said_alive or self.disputed) and (self.dead_without_time or self.death is not None)


NOT_SAID = Life()


class Ending(NamedTuple):
    """How a stay ended: `died` is None where unknown, and `reason` says why.

    `end` is when: a death within the stay ends it, also where the discharge was recorded later. `death` is
    when the patient died in it, None unless `died` is True.
    """

    died: bool | None
    reason: str
    end: Interval | None
    death: Interval | None = None


Said = Literal["dead", "dead, then alive", "alive", "conflict", "unrecognised", "nothing"]


def ending(
    dispositions: Sequence[str],
    start: Interval,
    end: Interval | None,
    life: Life,
    comes_back: bool = False,
    same_day_in_hospital: bool = False,
) -> Ending:
    """How a stay ended. `dispositions` are those of its encounters, the last to end last.

    `comes_back`: the patient was admitted again later. `same_day_in_hospital`: a death known by its date, the
    day of a discharge that says nothing, happened in hospital.
    """
    if life.contradicted:
        readings = [replace(life, said_alive=False, disputed=False), Life(said_alive=True)]
        readings += [NOT_SAID] if life.disputed else []
        rest = comes_back, same_day_in_hospital
        return _agreed([ending(dispositions, start, end, reading, *rest) for reading in readings])
    said = what_is_said(dispositions)
    of_its_own = life.by_disposition and said in ("dead", "dead, then alive", "conflict")
    told = replace(life, death=None) if of_its_own else life
    if end is None or told.death is None:
        died, reason = _without_time(said, told, comes_back)
    else:
        died, reason = _by_time(said, start, end, told.death, same_day_in_hospital)
    if end is None:
        return Ending(died, reason, None)
    death = life.death
    if died:
        when = end if death is None else _death_within(death, start, end, said)
        return Ending(True, "", when if when.last < end.last else end, when)
    if died is None and death is not None and death.overlaps(Interval(start.first, end.last)):
        return Ending(None, reason, end.united(death.within(Interval(start.last, end.last))))
    return Ending(died, reason, end)


def _agreed(readings: Sequence[Ending]) -> Ending:
    """What all readings of a death say of a stay together."""
    ends = [one.end for one in readings if one.end is not None]
    end = reduce(Interval.united, ends) if ends else None
    died = {one.died for one in readings}
    if len(died) > 1 or None in died:
        return Ending(None, DEAD_AND_LIVES, end)
    return readings[0]._replace(end=end)


def what_is_said(dispositions: Sequence[str]) -> Said:
    """Return what the dispositions of a stay say; the last encounter decides.

    Of several that may be the last, `disposition_of_last` says which it is.
    """
    meanings = [meaning_of(d) for d in dispositions]
    last = meanings[-1]
    if "conflict" in meanings:
        return "conflict"
    if "dead" in meanings:
        survived = last == "alive" or (last == "unknown" and dispositions[-1] not in SILENT)
        return "dead, then alive" if survived else "dead"
    if last == "alive":
        return "alive"
    return "nothing" if dispositions[-1] in SILENT else "unrecognised"


def disposition_of_last(dispositions: Iterable[str]) -> str:
    """Return the disposition of a stay from encounters that may have ended last.

    The encounters come in any order. One that was not understood leaves the answer open, one that says
    nothing does not. Where one says dead and another alive it is the latter: the stay is then "dead, then
    alive".
    """
    told = sorted(d for d in dispositions if d not in SILENT)
    by_meaning = {meaning_of(d): d for d in told}
    if by_meaning.keys() >= {"dead", "alive"} and "conflict" not in by_meaning:
        return by_meaning["alive"]
    order: tuple[Meaning, ...] = ("conflict", "unknown", "alive", "dead")
    return next((by_meaning[m] for m in order if m in by_meaning), "")


def _without_time(said: Said, life: Life, comes_back: bool) -> tuple[bool | None, str]:
    """Of a stay or a death without a time."""
    if said in ("conflict", "dead, then alive"):
        return None, CODINGS_CONFLICT
    if said == "dead" and life.said_alive:
        return None, LIVES
    if said == "dead" and life.death is None and comes_back:
        return None, COMES_BACK
    if said == "dead":
        return True, ""
    if said == "alive" or life.said_alive:
        return False, ""
    if life.dead_without_time:
        return None, NO_TIME
    return None, NOT_RECOGNISED if said == "unrecognised" else NOTHING_SAID


def _by_time(
    said: Said, start: Interval, end: Interval, death: Interval, same_day_in_hospital: bool
) -> tuple[bool | None, str]:
    """Of a patient whose death has a time. All readings of it that agree with what is said must agree."""
    if said == "conflict":
        return None, CODINGS_CONFLICT
    before, after = death.surely_before(start), end.surely_before(death)
    late = after and end.later(LATE_RECORDING).surely_before(death)
    inside = death.surely_not_after(end) and not before
    if said in ("dead", "dead, then alive"):
        agrees = not before and not (late if said == "dead" else after)
        return (True, "") if agrees else (None, CONFLICT)
    if said == "alive":
        return (None, CONFLICT) if inside or before else (False, "")
    if inside:
        return True, ""
    if said == "unrecognised" and after and not late:  # the word may say dead
        return None, NOT_RECOGNISED
    if after:
        return False, ""
    if same_day_in_hospital and not before and death.last - death.first <= timedelta(days=1):
        return True, ""
    return None, CONFLICT if before else SAME_DAY


def _death_within(death: Interval, start: Interval, end: Interval, said: Said) -> Interval:
    """When in the stay: a discharge that says so dates a death that is known less exactly."""
    if death.covers(end) or end.surely_before(death):
        return end
    return death.within(Interval(start.first, end.last))
