"""Death within 30 days after discharge, for patients who leave the hospital alive."""

from datetime import datetime, time, timedelta
from typing import Literal

import msgspec

from chartscan.cohort import Outcome, Record, Stay, absent, excluded
from chartscan.tasks._at_discharge import exclusion

TITLE = "Death within 30 days after discharge"
DESCRIPTION = (
    "The patient dies 0 to 30 days after the date of discharge. Predicted at discharge, for patients who "
    "leave alive: deaths in hospital are no outcome of this task."
)
SETTLED_BY = ("death",)  # the event types after which nothing changes an answer


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`resolution` "day" counts calendar days, since many deaths carry a date only; "instant" counts time."""

    version: int = 1
    horizon_days: int = 30  # 32 in the published variant
    resolution: Literal["day", "instant"] = "day"


DEFAULT = Config()


def label(record: Record, config: Config = DEFAULT) -> list[Outcome]:
    """One outcome per stay, predicted at discharge.

    Positive: death after the discharge and up to the end of the window. By day, the window ends with the
    last microsecond of the calendar day (UTC) `horizon_days` after the discharge date, which is inside; by
    instant, at discharge + `horizon_days`, inside too. Negative: alive at the end of the window and
    followed up to it. Otherwise absent.
    """
    return [_outcome(record, stay, config) for stay in record.stays]


def _outcome(record: Record, stay: Stay, config: Config) -> Outcome:
    reason = exclusion(record, stay)
    if reason or stay.end is None:
        return excluded(stay.end, reason)
    until = window_end(stay.end, config)
    if record.death is not None:
        # alive at the end of the window, since known to die only after it
        return Outcome(stay.end, record.death <= until)
    if record.death_without_time:
        return absent(stay.end, "death without a time")
    if record.follow_up_end is None or record.follow_up_end < until:
        return absent(stay.end, f"follow-up ends within {config.horizon_days} d")
    return Outcome(stay.end, False)


def window_end(discharge: datetime, config: Config) -> datetime:
    """The last instant at which a death still counts."""
    last = discharge + timedelta(days=config.horizon_days)
    return datetime.combine(last.date(), time.max) if config.resolution == "day" else last
