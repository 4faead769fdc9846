"""Encounters, and hospital stays made of them: transfers merged, who died inside decided once.

Knows no task. A stay is what the hospital calls one admission to discharge, however many encounters the
record splits it into.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import msgspec

UNKNOWN_DISPOSITIONS = frozenset({"", "UNK", "UNKNOWN"})
DEAD_DISPOSITIONS = frozenset({"DIED", "DEAD", "DECEASED", "EXP"})  # and everything with EXPIRED in it


class StayConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How stays are formed; part of what every label depends on."""

    version: int = 1
    merge_gap_hours: float = 0.0  # encounters that overlap, touch or lie at most this far apart are one stay
    doubtful_death_days: int = 60  # an event later than this after death puts the death in doubt


DEFAULT = StayConfig()


@dataclass(frozen=True, slots=True)
class Encounter:
    """One encounter of the record. `end` is None while it is open, or where it lay before the start."""

    id: str | None
    start: datetime
    end: datetime | None
    hospital: bool
    admission_class: str = ""  # HOSPITAL_ADMISSION//<class>//..., empty if not given
    disposition: str = ""  # HOSPITAL_DISCHARGE//<disposition> or HOSPITAL_OUTCOME//..., empty if not given
    outcome_without_end: bool = False  # the record says how it ended, not when


@dataclass(frozen=True, slots=True)
class Stay:
    """Hospital encounters that overlap or touch. `end` is None if any of them has none."""

    start: datetime
    end: datetime | None
    encounter_ids: tuple[str | None, ...]
    admission_class: str  # of the first encounter
    disposition: str  # of the last encounter to end; empty if not given
    died_in_hospital: bool
    outcome_without_end: bool = False  # the record says how it ended, not when

    @property
    def has_disposition(self) -> bool:
        """Whether the record says how the stay ended."""
        return self.disposition not in UNKNOWN_DISPOSITIONS


def merged_stays(
    encounters: Iterable[Encounter], death: datetime | None, config: StayConfig = DEFAULT
) -> tuple[Stay, ...]:
    """Stays in order of their start, from the hospital encounters among `encounters`.

    An open encounter reaches no further than its start: one forgotten discharge must not swallow every
    later stay.
    """
    gap = timedelta(hours=config.merge_gap_hours)
    groups: list[list[Encounter]] = []
    reach = datetime.min
    for part in sorted((e for e in encounters if e.hospital), key=_order):
        if groups and part.start <= reach + gap:
            groups[-1].append(part)
            reach = max(reach, part.end or part.start)
        else:
            groups.append([part])
            reach = part.end or part.start
    return tuple(_stay(parts, death) for parts in groups)


def _order(encounter: Encounter) -> tuple[datetime, datetime, str]:
    return encounter.start, encounter.end or encounter.start, encounter.id or ""


def _stay(parts: list[Encounter], death: datetime | None) -> Stay:
    ends = [p.end for p in parts if p.end is not None]
    end = max(ends) if len(ends) == len(parts) else None
    last = max(parts, key=_end_order)
    return Stay(
        start=parts[0].start,
        end=end,
        encounter_ids=tuple(p.id for p in parts),
        admission_class=parts[0].admission_class,
        disposition=last.disposition,
        died_in_hospital=_died(parts, last.disposition, end, death),
        outcome_without_end=last.outcome_without_end,
    )


def _end_order(encounter: Encounter) -> tuple[datetime, datetime, str]:
    """By end; what ended nobody knows when comes last, what is open first."""
    without = datetime.max if encounter.outcome_without_end else datetime.min
    return encounter.end or without, encounter.start, encounter.id or ""


def _died(parts: list[Encounter], disposition: str, end: datetime | None, death: datetime | None) -> bool:
    """By disposition; where it is missing, by a death date not after the discharge date."""
    if any(_is_dead(p.disposition) for p in parts):
        return True
    unknown = disposition in UNKNOWN_DISPOSITIONS
    return unknown and end is not None and death is not None and _day(death) <= _day(end)


def _is_dead(disposition: str) -> bool:
    return "EXPIRED" in disposition or disposition in DEAD_DISPOSITIONS


def _day(time: datetime) -> date:
    return time.date()
