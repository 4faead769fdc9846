"""Encounters, and hospital stays made of them: transfers merged, who died inside decided once.

Knows no task. A stay is what the hospital calls one admission to discharge, however many encounters the
record splits it into.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Literal, TypeAlias

import msgspec

from chartscan.cohort.evidence import (
    LATE_RECORDING,
    NOT_SAID,
    Ending,
    Interval,
    Life,
    disposition_of_last,
    ending,
    interval,
    moved,
)
from chartscan.vocabulary.dispositions import SILENT

MAYBE_ONE_STAY = "dates alone do not say whether the next encounter is part of the stay"
INSTANT = timedelta(microseconds=1)  # from the last instant of a day to the first of the next
LOST_END = "an earlier stay ended at an unknown time"
LOST = "a stay of the patient cannot be used, and may be at any time"
UNKNOWN_CLASS = "an encounter of unknown class may be part of the stay"

# Settings of time, within what a calendar can add. Nothing is asked before the admission, nor of the past.
_MOST_DAYS = 100 * 366
Hours: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=24 * _MOST_DAYS)]
Days: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=_MOST_DAYS)]
HorizonDays: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=_MOST_DAYS)]


class StayConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How stays, and so all labels, are formed: section `stays` of a site file."""

    version: int = 2
    merge_gap_hours: Hours = 0.0  # encounters that overlap, touch or lie at most this far apart are one stay
    merge_dates: bool = (
        False  # an end and a start known by date only are one stay on the same or the next day
    )
    doubtful_death_days: Days = 60  # an event later than this after death puts the death in doubt
    # A death known by its date only, on the day of a discharge that says nothing: unknown, or in hospital.
    same_day_death: Literal["unknown", "in_hospital"] = "unknown"
    planned_classes: tuple[str, ...] = ()  # admission classes (upper case) whose stays are planned
    planned_priorities: tuple[str, ...] = ()  # Encounter.priority (upper case) of planned stays: EL


DEFAULT = StayConfig()
_NO_SPAN = Interval(datetime.max, datetime.max), Interval(datetime.min, datetime.min)


@dataclass(frozen=True, slots=True)
class Encounter:
    """One encounter of the record.

    `end` is None while the encounter is open, or where the end lay before the start. `start` and `end` are
    the last instants that the record allows; the first ones stand beside them where the record knows less
    than the instant.
    """

    id: str | None
    start: datetime
    end: datetime | None
    hospital: bool
    admission_class: str = ""  # HOSPITAL_ADMISSION//<class>//..., empty if not given
    disposition: str = ""  # HOSPITAL_DISCHARGE//<disposition> or HOSPITAL_OUTCOME//..., empty if not given
    outcome_without_end: bool = False  # the record says how it ended, not when
    first_start: datetime | None = None
    first_end: datetime | None = None
    priority: str = ""  # fourth part of the admission's code
    class_known: bool = True  # False: it may be a hospital stay
    start_known: bool = True  # False: at any time from `first_start` on

    @property
    def begins(self) -> Interval:
        """When it started."""
        return interval(self.start, self.first_start)

    @property
    def ends(self) -> Interval:
        """Return the interval of the end, never before the start; open encounters end there."""
        if self.end is None:
            return self.begins
        return interval(self.end, max(self.first_end or self.end, self.begins.first))


@dataclass(frozen=True, slots=True)
class Stay:
    """Hospital encounters that overlap or touch. `end` is None if any of them has none.

    `start` and `end` are the last instants that the record allows, `begins` and `ends` the whole intervals.
    """

    start: datetime
    end: datetime | None
    encounter_ids: tuple[str | None, ...]
    admission_class: str  # of the first encounter
    disposition: str  # of the last encounter to end; empty if not given
    died_in_hospital: bool | None  # None: not known, see `died_reason`
    died_reason: str
    begins: Interval
    ends: Interval | None
    death: Interval | None = None  # when the patient died in it
    outcome_without_end: bool = False  # the record says how it ended, not when
    planned: bool = False
    start_known: bool = True
    uncertain: str = ""  # why its bounds are not known: it may be one stay with another encounter

    @property
    def has_disposition(self) -> bool:
        """Whether the record says how the stay ended."""
        return self.disposition not in SILENT


def merged_stays(
    encounters: Iterable[Encounter],
    life: Life = NOT_SAID,
    config: StayConfig = DEFAULT,
    lost: frozenset[str | None] = frozenset(),
) -> tuple[Stay, ...]:
    """Stays in order of their start, from the hospital encounters among `encounters`.

    An open encounter reaches no further than its start: one forgotten discharge must not swallow every
    later stay. Where dates do not say whether two encounters are one stay they stay apart, both `uncertain`;
    so is a stay that an encounter of unknown class touches and reaches beyond, every stay that begins after
    one whose end is `lost` (by id), and all where one is lost altogether (None).
    """
    encounters = list(encounters)
    groups = _groups([e for e in encounters if e.hospital], config)
    strangers = [e for e in encounters if not e.hospital and not e.class_known]
    gap = timedelta(hours=config.merge_gap_hours)
    spans = [_span(group) for group in groups]
    begun = [all(part.start_known for part in group) for group in groups]
    starts = [begins.first if known else begins.last for (begins, _), known in zip(spans, begun, strict=True)]
    starts += [e.begins.first if e.start_known else e.begins.last for e in strangers]
    last_start = max(starts, default=datetime.min)
    stays = [_stay(group, life, last_start, config) for group in groups]
    for number, span in enumerate(spans):
        others = spans[:number] + spans[number + 1 :]
        begun_then = begun[:number] + begun[number + 1 :]
        if None in lost:
            stays[number] = replace(stays[number], uncertain=LOST)
        elif any(span[0].last > reach.first for reach in _lost_ends(groups, number, lost)):
            stays[number] = replace(stays[number], uncertain=LOST_END)
        elif any(_may_join(span, other, gap) for other in others) or any(
            not (begun[number] and known) and _may_overlap(span, other, gap)
            for other, known in zip(others, begun_then, strict=True)
        ):
            stays[number] = replace(stays[number], uncertain=MAYBE_ONE_STAY)
        elif any(_reaches_beyond(span, stranger, gap) for stranger in strangers):
            stays[number] = replace(stays[number], uncertain=UNKNOWN_CLASS)
    return tuple(stays)


def _lost_ends(groups: list[list[Encounter]], number: int, lost: frozenset[str | None]) -> Iterable[Interval]:
    """When encounters began whose end is lost, in other stays than that of a number."""
    if lost:
        for other, group in enumerate(groups):
            yield from (part.begins for part in group if other != number and part.id in lost)


def _groups(parts: list[Encounter], config: StayConfig) -> list[list[Encounter]]:
    """Encounters that are surely one stay, by start."""
    gap = timedelta(hours=config.merge_gap_hours)
    groups: list[list[Encounter]] = []
    span = _NO_SPAN
    for part in sorted(parts, key=_order):
        if groups and _joins(span, part, gap, config.merge_dates):
            groups[-1].append(part)
            span = _span([part], span)
        else:
            groups.append([part])
            span = _span([part])
    return groups


def _joins(span: tuple[Interval, Interval], part: Encounter, gap: timedelta, merge_dates: bool) -> bool:
    """Whether an encounter surely belongs to a stay: neither began after the other had ended."""
    begins, reach = span
    if part.begins.surely_not_after(reach.later(gap)) and begins.surely_not_after(part.ends.later(gap)):
        return True
    by_date = reach.first < reach.last and part.begins.first < part.begins.last
    return merge_dates and by_date and part.begins.first <= moved(reach.last, gap + INSTANT)


def _span(
    parts: Iterable[Encounter], span: tuple[Interval, Interval] = _NO_SPAN
) -> tuple[Interval, Interval]:
    """When the first of the parts of a stay began, and until when the last of them reached; `span` is that of
    other parts."""
    begins, reach = span
    for part in parts:
        begins = Interval(min(begins.first, part.begins.first), min(begins.last, part.begins.last))
        reach = Interval(max(reach.first, part.ends.first), max(reach.last, part.ends.last))
    return begins, reach


def _may_join(one: tuple[Interval, Interval], other: tuple[Interval, Interval], gap: timedelta) -> bool:
    """Whether two stays that are not surely one may be one, in some reading of their dates."""
    first, second = sorted((one, other))
    inexact = first[1].first < first[1].last or second[0].first < second[0].last
    # Where both are exact and do not lie apart, what is not exact is the start of the first or the end of the
    # second: they overlap in some reading.
    return second[0].first <= moved(first[1].last, gap + INSTANT if inexact else gap)


def _may_overlap(one: tuple[Interval, Interval], other: tuple[Interval, Interval], gap: timedelta) -> bool:
    """Whether two stays, of which one began at an unknown time, touch in some reading."""
    return one[0].first <= moved(other[1].last, gap) and other[0].first <= moved(one[1].last, gap)


def _reaches_beyond(span: tuple[Interval, Interval], stranger: Encounter, gap: timedelta) -> bool:
    """Whether an encounter, were it a hospital one, would make the stay longer. An open one may last on."""
    begins, reach = span
    until = datetime.max if stranger.end is None else stranger.ends.last
    touches = stranger.begins.first <= moved(reach.last, gap) and begins.first <= moved(until, gap)
    inside = begins.first <= stranger.begins.first and until <= reach.last
    return touches and not inside


def _order(encounter: Encounter) -> tuple[datetime | str | bool, ...]:
    """By start. Ids come last, for what is the same to labels: they are others under another site key."""
    e = encounter
    told = e.admission_class, e.priority, e.disposition
    return e.start, e.end or e.start, e.begins.first, e.ends.first, e.end is None, *told, e.id or ""


def _stay(parts: list[Encounter], life: Life, last_start: datetime, config: StayConfig) -> Stay:
    """`last_start` is that of the patient's last stay, or of what may be one."""
    by_end = sorted(parts, key=_end_order)
    last = [part for part in by_end if _may_end_last(part, by_end[-1])]
    disposition = disposition_of_last(part.disposition for part in last)
    begins, reach = _span(parts)
    closed = all(p.end is not None for p in parts)
    found: Ending = ending(
        [*(p.disposition for p in by_end), disposition],
        begins,
        reach if closed else None,
        life,
        comes_back=last_start > moved(reach.last, LATE_RECORDING),
        same_day_in_hospital=config.same_day_death == "in_hospital",
    )
    first = parts[0]
    planned = all(
        part.admission_class in config.planned_classes or part.priority in config.planned_priorities
        for part in parts
        if part.begins == first.begins
    )
    return Stay(
        start=first.start,
        end=None if found.end is None else found.end.last,
        encounter_ids=tuple(p.id for p in parts),
        admission_class=first.admission_class,
        disposition=disposition,
        died_in_hospital=found.died,
        died_reason=found.reason,
        begins=begins,
        ends=found.end,
        death=found.death,
        outcome_without_end=by_end[-1].outcome_without_end,
        planned=planned,
        start_known=all(part.start_known for part in parts),
    )


def _end_order(encounter: Encounter) -> datetime:
    """By end; what ended at an unknown time comes last, what is open first."""
    return encounter.end or (datetime.max if encounter.outcome_without_end else datetime.min)


def _may_end_last(part: Encounter, last: Encounter) -> bool:
    """Whether a part of a stay may have ended last, `last` being the one with the latest end."""
    if last.end is None or part.end is None:
        return _end_order(part) == _end_order(last)
    return part.ends.last >= last.ends.first
