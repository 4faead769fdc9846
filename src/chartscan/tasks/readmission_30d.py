"""Another hospital stay within 30 days after discharge."""

from datetime import datetime, timedelta

import msgspec

from chartscan.cohort import Outcome, Record, Stay, absent, excluded
from chartscan.tasks._at_discharge import exclusion

TITLE = "Readmission within 30 days after discharge"
DESCRIPTION = (
    "Another hospital stay starts after the discharge and at most 30 days later. Predicted at discharge, "
    "for patients who leave alive. Transfers are part of the stay, not readmissions."
)
SETTLED_BY = ("admission", "death")  # the event types after which nothing changes an answer


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which stays count, and what a death before any readmission means."""

    version: int = 1
    horizon_days: int = 30
    planned_classes: tuple[str, ...] = ()  # admission classes in upper case that are no readmission: ELECTIVE
    exclude_deaths: bool = False  # leave out patients who die in the window without readmission


DEFAULT = Config()


def label(record: Record, config: Config = DEFAULT) -> list[Outcome]:
    """One outcome per stay, predicted at discharge.

    Positive: another stay starts in (discharge, discharge + horizon]. Negative: none, and followed up to
    discharge + horizon, or to a death before it (flagged, or excluded as `config` says). Otherwise absent.
    """
    starts = [s.start for s in record.stays if s.admission_class not in config.planned_classes]
    return [_outcome(record, stay, starts, config) for stay in record.stays]


def _outcome(record: Record, stay: Stay, starts: list[datetime], config: Config) -> Outcome:
    reason = exclusion(record, stay)
    if reason or stay.end is None:
        return excluded(stay.end, reason)
    until = stay.end + timedelta(days=config.horizon_days)
    if any(stay.end < start <= until for start in starts):
        return Outcome(stay.end, True)
    dies = record.death is not None and record.death <= until
    if dies and config.exclude_deaths:
        return excluded(stay.end, f"dies within {config.horizon_days} d without readmission")
    if record.known_until is None or record.known_until < until:
        return absent(stay.end, f"follow-up ends within {config.horizon_days} d without readmission")
    flags = (f"dies within {config.horizon_days} d without readmission",) if dies else ()
    return Outcome(stay.end, False, flags=flags)
