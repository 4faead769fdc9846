"""Death within 30 days after discharge, for patients who leave the hospital alive."""

from datetime import UTC, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from chartscan.cohort import HorizonDays, Outcome, Record, Stay, absent
from chartscan.tasks._shared import counted, not_asked_at_discharge, titled

TITLE = "Death within 30 days after discharge"
DESCRIPTION = (
    "The patient dies 0 to 30 days after the date of discharge. Predicted at discharge, for patients who "
    "leave alive: deaths in hospital are no outcome of this task."
)
SETTLED_BY = ("death",)  # the event types after which nothing changes an answer


DEPENDS_ON = ("class", "encounter_status", "disposition")


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`resolution` "day" counts calendar days, since many deaths carry a date only; "instant" counts time."""

    version: int = 2
    horizon_days: HorizonDays = 30  # 32 in the published variant
    resolution: Literal["day", "instant"] = "day"


DEFAULT = Config()


def label(record: Record, config: Config = DEFAULT) -> list[Outcome]:
    """One outcome per stay, predicted at discharge.

    Positive: death after the discharge and up to the end of the window. By day, the window ends with the
    last microsecond of the calendar day at the site `horizon_days` after the discharge date, which is inside;
    by instant, at discharge + `horizon_days`, inside too. Negative: alive at the end of the window and
    followed up to it. Otherwise absent, also where a date of death or of discharge allows both.
    """
    return [_outcome(record, stay, config) for stay in record.stays]


def _outcome(record: Record, stay: Stay, config: Config) -> Outcome:
    not_answered = not_asked_at_discharge(record, stay)
    if not_answered is not None:
        return not_answered
    assert stay.ends is not None
    assert stay.end is not None
    first, last = (window_end(end, config, record.zone) for end in stay.ends)
    death = record.life.death
    if death is not None:
        if first < death.last and death.first <= last:
            return absent(stay.end, "death may lie within the window or after it")
        # alive at the end of the window, since known to die only after it
        return Outcome(stay.end, death.last <= first)
    if record.death_without_time:
        return absent(stay.end, record.life.doubt or "death without a time")
    if record.follow_up_end is None or record.follow_up_end < last:
        return absent(stay.end, f"follow-up ends within {config.horizon_days} d")
    return Outcome(stay.end, False)


def window_end(discharge: datetime, config: Config, zone: ZoneInfo) -> datetime:
    """Return the last instant (UTC) of deaths counted; days are those of `zone`."""
    if config.resolution == "instant":
        return discharge + timedelta(days=config.horizon_days)
    local = discharge.replace(tzinfo=UTC).astimezone(zone)
    day = local.date() + timedelta(days=config.horizon_days)
    return datetime.combine(day, time.max, zone).astimezone(UTC).replace(tzinfo=None)


def title(config: Config = DEFAULT) -> str:
    """The title of the task with these settings."""
    text = f"Death within {counted(config.horizon_days, 'day')} after discharge"
    return titled(text, config, DEFAULT, told=("horizon_days",))
