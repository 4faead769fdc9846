"""The population of tasks that predict some hours after admission: patients alive and still in hospital.

A stay that ends exactly at the prediction time is still eligible. Its discharge may then be seen, so it is
flagged; one that ends there in death is excluded. Nothing is asked before the hours have passed, nor after
the end of follow-up.
"""

from datetime import datetime, timedelta

from chartscan.cohort import Interval, Outcome, Record, Stay, absent, excluded

ENDS_AT_PREDICTION = "discharged at the prediction time"


def not_asked(record: Record, stay: Stay, hours: float) -> Outcome | None:
    """Why nothing is asked `hours` after admission, or why it cannot be answered; None if it can."""
    if not stay.start_known:
        return absent(None, "the stay began at an unknown time")
    at = stay.start + timedelta(hours=hours)
    reason = _exclusion(record, stay, at, hours)
    if reason:
        return excluded(at, reason)
    doubt = _doubt(record, stay, at)
    return absent(at, doubt) if doubt else None


def _exclusion(record: Record, stay: Stay, at: datetime, hours: float) -> str:
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
    """What to count beside the label."""
    return (ENDS_AT_PREDICTION,) if stay.end == prediction_time else ()
