"""The population of tasks that predict at discharge: index stays that a living patient leaves."""

from chartscan.cohort import Outcome, Record, Stay, absent, excluded
from chartscan.cohort.evidence import NOTHING_SAID


def not_asked(record: Record, stay: Stay) -> Outcome | None:
    """Why `stay` has no prediction at discharge, or none that can be answered; None if it has one."""
    reason = _exclusion(record, stay)
    if reason or stay.end is None:
        return excluded(stay.end, reason)
    if stay.uncertain:
        return absent(stay.end, stay.uncertain)
    # Where neither a disposition nor a death was recorded, the patient is taken to have left alive.
    if stay.died_in_hospital is None and stay.died_reason != NOTHING_SAID:
        return absent(stay.end, stay.died_reason)
    return None


def _exclusion(record: Record, stay: Stay) -> str:
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
