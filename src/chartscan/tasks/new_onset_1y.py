"""New onset of a condition within a year of discharge, for three conditions.

A code counts from the start of its encounter, or from when it was recorded if it has none: a diagnosis coded
after discharge for the index stay belongs to the index stay, and an old one told later was not known before.
A diagnosis in a system or a code that is not understood may be any condition, and one whose status is not
understood may be none.
"""

from datetime import timedelta
from enum import Enum

import msgspec

from chartscan.cohort import HorizonDays, Interval, Outcome, Record, Stay, absent, excluded
from chartscan.cohort.record import Diagnosis
from chartscan.tasks._shared import counted, not_asked_at_discharge, titled
from chartscan.vocabulary.diagnoses import FLUID_DISORDER, HYPERTENSION, LIPID_DISORDER, CodeGroup

DEPENDS_ON = ("class", "encounter_status", "disposition", "diagnosis_system", "diagnosis", "diagnosis_status")


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`group` says which codes are the condition; its version travels with it."""

    group: CodeGroup
    version: int = 2
    horizon_days: HorizonDays = 365


class Place(Enum):
    """Where a diagnosis may lie: before discharge, in the window, or later."""

    BEFORE = 1
    WITHIN = 2
    LATER = 3


def label(record: Record, config: Config) -> list[Outcome]:
    """One outcome per stay, predicted at discharge.

    Eligible: discharged alive, and no code of the group on an encounter that started up to and including
    the discharge. Positive: a code on an encounter starting in (discharge, discharge + horizon]. Negative:
    none, and alive and followed up to discharge + horizon. Otherwise absent, also where a date or a code that
    is not understood leaves two of these possible.
    """
    site = record.site
    said = [(d, config.group.says(d.code, site.diagnosis_systems, site.diagnoses)) for d in record.diagnoses]
    surely = [d for d, of_group in said if of_group]
    perhaps = [d for d, of_group in said if of_group is None]
    return [_outcome(record, stay, surely, perhaps, config) for stay in record.stays]


def _outcome(
    record: Record, stay: Stay, surely: list[Diagnosis], perhaps: list[Diagnosis], config: Config
) -> Outcome:
    not_asked = not_asked_at_discharge(record, stay)
    if not_asked is not None and not not_asked.eligible:
        return not_asked
    assert stay.ends is not None
    assert stay.end is not None
    horizon = timedelta(days=config.horizon_days)
    places = [_places(d.when, stay.ends, horizon) for d in surely]
    if {Place.BEFORE} in places:
        return excluded(stay.end, "condition already coded")
    if any(d.time is None for d in surely):
        return excluded(stay.end, "condition coded at an unknown time")
    if not_asked is not None:
        return not_asked
    foreign = [_places(d.when, stay.ends, horizon) for d in perhaps]
    doubt = _doubt(places, foreign, stay.ends, horizon)
    if doubt:
        return absent(stay.end, doubt)
    flags = () if _has_codes(record, stay) else ("no diagnosis coded up to discharge",)
    if {Place.WITHIN} in places:
        return Outcome(stay.end, True, flags=flags)
    unknown = _not_followed(record, stay.ends.later(horizon), config.horizon_days)
    return absent(stay.end, unknown) if unknown else Outcome(stay.end, False, flags=flags)


def _places(when: Interval | None, end: Interval, horizon: timedelta) -> set[Place]:
    """All places where a diagnosis of that time may lie."""
    if when is None:
        return set(Place)
    until = end.later(horizon)
    found = set()
    if when.first <= end.last:
        found.add(Place.BEFORE)
    if when.last > end.first and when.first <= until.last:
        found.add(Place.WITHIN)
    if when.last > until.first:
        found.add(Place.LATER)
    return found


def _doubt(surely: list[set[Place]], foreign: list[set[Place]], end: Interval, horizon: timedelta) -> str:
    """Why neither yes nor no can be said of the codes; empty where it can."""
    if any(Place.BEFORE in places for places in surely):
        return "the condition may have been coded before the discharge or after it"
    if any(Place.BEFORE in places for places in foreign):
        return "a diagnosis before the discharge is not understood: its system, code, status or time"
    if {Place.WITHIN} in surely:
        return ""
    if any(Place.WITHIN in places for places in surely):
        return "the condition may have been coded within the window or after it"
    if any(Place.WITHIN in places for places in foreign):
        return "a diagnosis within the window is not understood: its system, code, status or time"
    return ""


def _not_followed(record: Record, until: Interval, days: int) -> str:
    """Why "no code" may mean that the record ends too early; empty where it was followed to the end."""
    if record.life.death is not None and record.life.death.first < until.last:
        return f"life ends within {days} d without a code"
    if record.death_without_time:
        return record.life.doubt or "death without a time"
    if record.follow_up_end is None or record.follow_up_end < until.last:
        return f"follow-up ends within {days} d without a code"
    return ""


def _has_codes(record: Record, stay: Stay) -> bool:
    return any(d.time is not None and stay.end is not None and d.time <= stay.end for d in record.diagnoses)


class NewOnset:
    """One condition's task, with the same names as any task module."""

    DEPENDS_ON = DEPENDS_ON

    def __init__(self, condition: str, group: CodeGroup, codes: str):
        self.condition = condition
        self.Config, self.DEFAULT = Config, Config(group)
        self.TITLE = f"New {condition} within a year"
        self.DESCRIPTION = (
            f"{codes} coded for the first time on an encounter that starts within 365 days after discharge. "
            "Predicted at discharge, for patients who leave alive and never had it coded."
        )

    def label(self, record: Record, config: Config | None = None) -> list[Outcome]:
        """One outcome per stay, as `label` says."""
        return label(record, config or self.DEFAULT)

    def title(self, config: Config | None = None) -> str:
        """The title of the task with these settings."""
        settings = config or self.DEFAULT
        window = "a year" if settings.horizon_days == 365 else counted(settings.horizon_days, "day")
        text = f"New {self.condition} within {window}"
        return titled(text, settings, self.DEFAULT, told=("horizon_days",))


TASKS = {
    "hypertension_1y": NewOnset(
        "hypertension", HYPERTENSION, "Hypertensive disease (ICD-10 I10-I1A, ICD-9 401-405)"
    ),
    "fluid_disorder_1y": NewOnset(
        "fluid or electrolyte disorder",
        FLUID_DISORDER,
        "A disorder of fluid, electrolyte or acid-base balance (ICD-10 E86-E87, ICD-9 276)",
    ),
    "lipid_disorder_1y": NewOnset(
        "lipid disorder", LIPID_DISORDER, "A disorder of lipid metabolism (ICD-10 E78, ICD-9 272)"
    ),
}
