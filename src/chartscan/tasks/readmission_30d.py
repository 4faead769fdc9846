"""Another hospital stay within 30 days after discharge."""

from datetime import timedelta

import msgspec

from chartscan.cohort import HorizonDays, Interval, Outcome, Record, Stay, absent, excluded
from chartscan.tasks._shared import counted, not_asked_at_discharge, titled

TITLE = "Readmission within 30 days after discharge"
DESCRIPTION = (
    "Another hospital stay starts after the discharge and at most 30 days later. Predicted at discharge, "
    "for patients who leave alive. Transfers are part of the stay, not readmissions."
)
SETTLED_BY = ("admission", "death")  # the event types after which nothing changes an answer


DEPENDS_ON = ("class", "encounter_status", "disposition")


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which stays count, and what a death before any readmission means."""

    version: int = 2
    horizon_days: HorizonDays = 30
    planned_classes: tuple[str, ...] = ()  # admission classes in upper case that are no readmission: ELECTIVE
    exclude_deaths: bool = False  # leave out patients who die in the window without readmission


DEFAULT = Config()


def label(record: Record, config: Config = DEFAULT) -> list[Outcome]:
    """One outcome per stay, predicted at discharge.

    Positive: another stay starts in (discharge, discharge + horizon], and is not planned (by the stay
    settings, or by `planned_classes`). Negative: none, and followed up to discharge + horizon, or to a death
    before it (flagged, or excluded as `config` says). Otherwise absent, also where dates, or an encounter of
    unknown class, leave both possible.
    """
    return [_outcome(record, stay, config) for stay in record.stays]


def _outcome(record: Record, stay: Stay, config: Config) -> Outcome:
    not_answered = not_asked_at_discharge(record, stay)
    if not_answered is not None:
        return not_answered
    assert stay.ends is not None
    assert stay.end is not None
    end, until = stay.ends, stay.ends.later(timedelta(days=config.horizon_days))
    others = [s for s in record.stays if s is not stay and not _planned(s, config)]
    if any(end.surely_before(s.begins) and s.begins.surely_not_after(until) for s in others):
        return Outcome(stay.end, True)
    doubt = _doubt(record, end, until, [s.begins for s in others])
    if doubt:
        return absent(stay.end, doubt)
    death = record.life.death
    dies = death is not None and death.first <= until.last
    if dies and config.exclude_deaths:
        assert death is not None
        reason = f"dies within {config.horizon_days} d without readmission"
        surely = death.surely_not_after(until)
        return excluded(stay.end, reason) if surely else absent(stay.end, "death may lie within the window")
    if record.known_until is None or record.known_until < until.last:
        return absent(stay.end, f"follow-up ends within {config.horizon_days} d without readmission")
    flags = (f"dies within {config.horizon_days} d without readmission",) if dies else ()
    return Outcome(stay.end, False, flags=flags)


def _planned(stay: Stay, config: Config) -> bool:
    return stay.planned or stay.admission_class in config.planned_classes


def _doubt(record: Record, end: Interval, until: Interval, starts: list[Interval]) -> str:
    """Why there may have been a readmission although none is certain; empty where there was none."""
    if any(start.last > end.first and start.first <= until.last for start in starts):
        return "dates do not say whether the next stay starts within the window"
    strange = (e.begins for e in record.encounters if not e.hospital and not e.class_known)
    if any(start.last > end.first and start.first <= until.last for start in strange):
        return "an encounter of unknown class may be a readmission"
    return ""


def title(config: Config = DEFAULT) -> str:
    """The title of the task with these settings."""
    text = f"Readmission within {counted(config.horizon_days, 'day')} after discharge"
    return titled(text, config, DEFAULT, told=("horizon_days",))
