"""A stay longer than seven days, predicted 24 hours after admission."""

from datetime import datetime, timedelta

import msgspec

from chartscan.cohort import Hours, Outcome, Record, Stay, absent, excluded
from chartscan.tasks._shared import counted, flags, not_asked_after, prediction_hour, titled

TITLE = "Stay longer than 7 days"
DESCRIPTION = (
    "The stay lasts more than 7 days (168 hours) from admission to discharge. Predicted 24 hours after "
    "admission, for patients who are alive and in hospital then."
)


DEPENDS_ON = ("class", "encounter_status")


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The length, the prediction time, and whether stays ending in death count."""

    version: int = 2
    hours: Hours = 24  # after admission
    longer_than_hours: Hours = 168
    exclude_deaths: bool = False  # they are flagged in any case


DEFAULT = Config()


def label(record: Record, config: Config = DEFAULT) -> list[Outcome]:
    """One outcome per stay, predicted at admission + `hours`.

    Eligible: the stay lasts at least `hours`, patient alive then. Positive: end - start is greater than
    `longer_than_hours`. Negative: it is not. Absent: the stay has no end, or its dates allow both. A death
    ends the stay, whenever the bed was given back.
    """
    return [_outcome(record, stay, config) for stay in record.stays]


def _outcome(record: Record, stay: Stay, config: Config) -> Outcome:
    not_answered = not_asked_after(record, stay, config.hours)
    if not_answered is not None and not not_answered.eligible:
        return not_answered
    at = stay.start + timedelta(hours=config.hours)
    if stay.died_in_hospital and config.exclude_deaths:
        return excluded(at, "died in hospital")
    if not_answered is not None:
        return not_answered
    if stay.ends is None:
        return absent(at, "stay has no end")
    limit = timedelta(hours=config.longer_than_hours)
    shortest, longest = stay.ends.first - stay.begins.last, _latest_end(record, stay) - stay.begins.first
    if shortest <= limit < longest:
        return absent(at, "its dates do not say how long the stay was")
    if stay.died_in_hospital is None and config.exclude_deaths:
        return absent(at, stay.died_reason)
    died = ("stay ends in death",) if stay.died_in_hospital else ()
    return Outcome(at, shortest > limit, flags=flags(stay, at) + died)


def _latest_end(record: Record, stay: Stay) -> datetime:
    """The last instant at which the stay may have ended: a patient who left alive did so before the death."""
    assert stay.ends is not None
    death = record.life.death
    if stay.died_in_hospital is False and death is not None:
        return min(stay.ends.last, death.last)
    return stay.ends.last


def title(config: Config = DEFAULT) -> str:
    """The title of the task with these settings."""
    days, rest = divmod(config.longer_than_hours, 24)
    length = counted(config.longer_than_hours, "hour") if rest or not days else counted(days, "day")
    asked = prediction_hour(config.hours, DEFAULT.hours)
    return titled(f"Stay longer than {length}{asked}", config, DEFAULT, told=("hours", "longer_than_hours"))
