"""A stay longer than seven days, predicted 24 hours after admission."""

from datetime import timedelta

import msgspec

from chartscan.cohort import Outcome, Record, Stay, absent, excluded
from chartscan.tasks._after_24h import exclusion, flags

TITLE = "Stay longer than 7 days"
DESCRIPTION = (
    "The stay lasts more than 7 days (168 hours) from admission to discharge. Predicted 24 hours after "
    "admission, for patients who are alive and in hospital then."
)


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is long, when the prediction is made, and whether stays that end in death take part."""

    version: int = 1
    hours: float = 24  # after admission
    longer_than_hours: float = 168
    exclude_deaths: bool = False  # they are flagged in any case


DEFAULT = Config()


def label(record: Record, config: Config = DEFAULT) -> list[Outcome]:
    """One outcome per stay, predicted at admission + `hours`.

    Eligible: the stay lasts at least `hours`, patient alive then. Positive: end - start is greater than
    `longer_than_hours`. Negative: it is not. Absent: the stay has no end.
    """
    return [_outcome(record, stay, config) for stay in record.stays]


def _outcome(record: Record, stay: Stay, config: Config) -> Outcome:
    at = stay.start + timedelta(hours=config.hours)
    reason = exclusion(record, stay, at, config.hours)
    if not reason and stay.died_in_hospital and config.exclude_deaths:
        reason = "died in hospital"
    if reason:
        return excluded(at, reason)
    if stay.end is None:
        return absent(at, "stay has no end")
    died = ("stay ends in death",) if stay.died_in_hospital else ()
    return Outcome(
        at, stay.end - stay.start > timedelta(hours=config.longer_than_hours), flags=flags(stay, at) + died
    )
