"""Death before the end of the stay, predicted 24 hours after admission."""

from datetime import timedelta

import msgspec

from chartscan.cohort import Outcome, Record, Stay, absent, excluded
from chartscan.tasks._after_24h import exclusion, flags

TITLE = "Death in hospital"
DESCRIPTION = (
    "The patient dies before the end of the stay. Predicted 24 hours after admission, for patients who are "
    "alive and in hospital then."
)


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When the prediction is made."""

    version: int = 1
    hours: float = 24  # after admission; 48 is a common variant


DEFAULT = Config()


def label(record: Record, config: Config = DEFAULT) -> list[Outcome]:
    """One outcome per stay, predicted at admission + `hours`.

    Eligible: the stay lasts at least `hours`, patient alive then. Positive: died in hospital (by
    disposition; where it is missing, by a death date not after the discharge date). Negative: discharged
    alive. Absent: the stay has no end, or neither its disposition nor a time of death is known. A stay whose
    outcome is told without its end counts as lasting `hours`, since nothing says otherwise.
    """
    return [_outcome(record, stay, config) for stay in record.stays]


def _outcome(record: Record, stay: Stay, config: Config) -> Outcome:
    at = stay.start + timedelta(hours=config.hours)
    reason = exclusion(record, stay, at, config.hours)
    if reason:
        return excluded(at, reason)
    if stay.end is None and not stay.outcome_without_end:
        return absent(at, "stay has neither an end nor an outcome")
    if not (stay.died_in_hospital or stay.has_disposition or record.death):
        dead = "death without a time, stay without a disposition"
        return absent(at, dead if record.death_without_time else "no disposition and no death")
    return Outcome(at, stay.died_in_hospital, flags=flags(stay, at))
