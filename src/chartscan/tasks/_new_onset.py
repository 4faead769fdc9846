"""New onset of a condition within a year of discharge, shared by the tasks that differ in codes alone.

A code counts from the start of its encounter, or from when it was recorded if it has none: a diagnosis coded
after discharge for the index stay belongs to the index stay, and an old one told later was not known before.
"""

from datetime import datetime, timedelta

import msgspec

from chartscan.cohort import Outcome, Record, Stay, absent, excluded
from chartscan.cohort.code_groups import CodeGroup
from chartscan.tasks._at_discharge import exclusion


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`group` says which codes are the condition; its version travels with it."""

    group: CodeGroup
    version: int = 1
    horizon_days: int = 365


def label(record: Record, config: Config) -> list[Outcome]:
    """One outcome per stay, predicted at discharge.

    Eligible: discharged alive, and no code of the group on an encounter that started up to and including
    the discharge. Positive: a code on an encounter starting in (discharge, discharge + horizon]. Negative:
    none, and alive and followed up to discharge + horizon. Otherwise absent.
    """
    times = [d.time for d in record.diagnoses if config.group.matches(d.code)]
    return [_outcome(record, stay, times, config) for stay in record.stays]


def _outcome(record: Record, stay: Stay, times: list[datetime | None], config: Config) -> Outcome:
    reason = exclusion(record, stay) or _coded_before(times, stay)
    if reason or stay.end is None:
        return excluded(stay.end, reason)
    until = stay.end + timedelta(days=config.horizon_days)
    flags = () if _has_codes(record, stay.end) else ("no diagnosis coded up to discharge",)
    if any(t is not None and stay.end < t <= until for t in times):
        return Outcome(stay.end, True, flags=flags)
    if record.death is not None and record.death < until:
        return absent(stay.end, f"life ends within {config.horizon_days} d without a code")
    if record.death_without_time:
        return absent(stay.end, "death without a time")
    if record.follow_up_end is None or record.follow_up_end < until:
        return absent(stay.end, f"follow-up ends within {config.horizon_days} d without a code")
    return Outcome(stay.end, False, flags=flags)


def _coded_before(times: list[datetime | None], stay: Stay) -> str:
    if any(t is not None and stay.end is not None and t <= stay.end for t in times):
        return "condition already coded"
    return "condition coded at an unknown time" if None in times else ""


def _has_codes(record: Record, until: datetime) -> bool:
    return any(d.time is not None and d.time <= until for d in record.diagnoses)
