"""What tasks share: prediction times after admission or at discharge, and titles.

A stay that ends exactly at the prediction time is still eligible. Its discharge may then be seen, so it is
flagged; one that ends there in death is excluded. No stay is predicted before the hours have passed, nor
after the end of follow-up.
"""

from datetime import datetime, timedelta
from typing import Any

import msgspec

from chartscan.cohort import Interval, Outcome, Record, Stay, absent, excluded
from chartscan.cohort.evidence import NOTHING_SAID

ENDS_AT_PREDICTION = "discharged at the prediction time"


def not_asked_after(record: Record, stay: Stay, hours: float) -> Outcome | None:
    """Return why a stay has no prediction or known answer; else None."""
    if not stay.start_known:
        return absent(None, "the stay began at an unknown time")
    at = stay.start + timedelta(hours=hours)
    reason = _exclusion_after(record, stay, at, hours)
    if reason:
        return excluded(at, reason)
    doubt = _doubt(record, stay, at)
    return absent(at, doubt) if doubt else None


def _exclusion_after(record: Record, stay: Stay, at: datetime, hours: float) -> str:
    if record.death_doubtful:
        return "death doubtful: events long after it"
    if _not_yet(record, stay, at):
        return f"less than {hours:g} h of the stay seen before follow-up ends"
    death = _death(record, stay)
    if death is not None and death.last <= at:
        return "not alive at the prediction time"
    if stay.ends is not None and stay.ends.last < stay.begins.first + timedelta(hours=hours):
        return f"stay shorter than {hours:g} h"
    if stay.died_in_hospital and stay.end == at:
        return "not alive at the prediction time"
    return ""


def _doubt(record: Record, stay: Stay, at: datetime) -> str:
    """Why it is not known whether the patient was alive and in hospital then, or which stay this is."""
    if stay.uncertain:
        return stay.uncertain
    death = _death(record, stay)
    if death is not None and death.first <= at:
        return "death may lie before or after the prediction time"
    if stay.ends is not None and stay.ends.first < at:
        return "stay may have ended before the prediction time"
    return ""


def _death(record: Record, stay: Stay) -> Interval | None:
    """When the patient died, as far as it matters here: one who leaves alive is alive until then."""
    if stay.died_in_hospital and stay.death is not None:
        return stay.death
    death = record.life.death
    survived = stay.died_in_hospital is False and death is not None and not death.surely_before(stay.begins)
    return None if survived else death


def _not_yet(record: Record, stay: Stay, at: datetime) -> bool:
    """Whether the record ends before the hours have passed, as of a patient who was admitted today."""
    if stay.outcome_without_end:
        return False
    if record.follow_up_end is not None and at > record.follow_up_end:
        return True
    return (
        stay.end is None
        and record.last_event is not None
        and at > (record.follow_up_end or record.last_event)
    )


def flags(stay: Stay, prediction_time: datetime) -> tuple[str, ...]:
    """Return what is counted beside the label."""
    return (ENDS_AT_PREDICTION,) if stay.end == prediction_time else ()


def not_asked_at_discharge(record: Record, stay: Stay) -> Outcome | None:
    """Why there is no prediction at discharge, or no known answer; None if there is."""
    reason = _exclusion_at_discharge(record, stay)
    if reason or stay.end is None:
        return excluded(stay.end, reason)
    if stay.uncertain:
        return absent(stay.end, stay.uncertain)
    # Where neither a disposition nor a death was recorded, the patient is taken to have left alive.
    if stay.died_in_hospital is None and stay.died_reason != NOTHING_SAID:
        return absent(stay.end, stay.died_reason)
    return None


def _exclusion_at_discharge(record: Record, stay: Stay) -> str:
    if record.death_doubtful:
        return "death doubtful: events long after it"
    if stay.end is None:
        return "stay has no end"
    if record.follow_up_end is not None and stay.ends is not None and stay.ends.first > record.follow_up_end:
        return "discharge after the end of follow-up"
    if stay.died_in_hospital:
        return "died in hospital"
    if record.life.death is not None and record.life.death.last <= stay.begins.first:
        return "not alive at the admission"
    return ""


def titled(text: str, config: msgspec.Struct, default: msgspec.Struct, told: tuple[str, ...] = ()) -> str:
    """Return `text` and each changed setting that is not already in `told`."""
    names = [name for name in config.__struct_fields__ if name not in told]
    changed = [(n, getattr(config, n)) for n in names if getattr(config, n) != getattr(default, n)]
    return text + "".join(f", {name}={_value(value)}" for name, value in changed)


def counted(number: float, unit: str) -> str:
    """`1 day`, `30 days`, `1.5 days`."""
    return f"{number:g} {unit}" if number == 1 else f"{number:g} {unit}s"


def prediction_hour(hours: float, default: float) -> str:
    """What a title says of a prediction at another hour than by default."""
    return "" if hours == default else f", predicted {counted(hours, 'hour')} after admission"


def _value(value: Any) -> str:
    if isinstance(value, msgspec.Struct):
        return str(getattr(value, "name", value))
    return "+".join(map(str, value)) if isinstance(value, tuple) else str(value)
