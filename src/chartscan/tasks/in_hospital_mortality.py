"""Death before the end of the stay, predicted 24 hours after admission."""

from datetime import timedelta

import msgspec

from chartscan.cohort import Hours, Outcome, Record, Stay, absent
from chartscan.tasks._shared import flags, not_asked_after, prediction_hour, titled

TITLE = "Death in hospital"
DESCRIPTION = (
    "The patient dies before the end of the stay. Predicted 24 hours after admission, for patients who are "
    "alive and in hospital then."
)


DEPENDS_ON = ("class", "encounter_status", "disposition")


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When the prediction is made."""

    version: int = 2
    hours: Hours = 24  # after admission; 48 is a common variant


DEFAULT = Config()


def label(record: Record, config: Config = DEFAULT) -> list[Outcome]:
    """One outcome per stay, predicted at admission + `hours`.

    Eligible: the stay lasts at least `hours`, patient alive then. Positive and negative: whether the patient
    died in the stay, as `cohort.evidence` decides from all that the record says. Absent: the stay has no end,
    or it is not known. A stay whose outcome is recorded without its end counts as lasting `hours`, since
    nothing says otherwise.
    """
    return [_outcome(record, stay, config) for stay in record.stays]


def _outcome(record: Record, stay: Stay, config: Config) -> Outcome:
    not_answered = not_asked_after(record, stay, config.hours)
    if not_answered is not None:
        return not_answered
    at = stay.start + timedelta(hours=config.hours)
    if stay.end is None and not stay.outcome_without_end:
        return absent(at, "stay has neither an end nor an outcome")
    if stay.died_in_hospital is None:
        return absent(at, stay.died_reason)
    return Outcome(at, stay.died_in_hospital, flags=flags(stay, at))


def title(config: Config = DEFAULT) -> str:
    """The title of the task with these settings."""
    asked = prediction_hour(config.hours, DEFAULT.hours)
    return titled(TITLE + asked, config, DEFAULT, told=("hours",))
