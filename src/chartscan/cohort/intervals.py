"""Times known less than exactly, and until when a subject was followed."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

import msgspec

from chartscan.errors import ConfigError

# Times that are known only in part: an interval, and what surely holds of it.
# A time known to a day, a month or a year may be any instant from `first` to `last`, both included. A
# comparison holds only where it holds for every instant of both; its opposite may then still be unproven.


class Interval(NamedTuple):
    """An instant that lies somewhere in [first, last]; exact where both are equal."""

    first: datetime
    last: datetime

    def surely_before(self, other: "Interval") -> bool:
        """Whether every instant of this comes before every instant of the other."""
        return self.last < other.first

    def surely_not_after(self, other: "Interval") -> bool:
        """Whether no instant of this comes after one of the other."""
        return self.last <= other.first

    def overlaps(self, other: "Interval") -> bool:
        """Whether both may be the same instant."""
        return self.first <= other.last and other.first <= self.last

    def covers(self, other: "Interval") -> bool:
        """Whether the other lies within this."""
        return self.first <= other.first and other.last <= self.last

    def within(self, other: "Interval") -> "Interval":
        """The part of this that lies within the other; the nearer end of the other where there is none."""
        first = min(max(self.first, other.first), other.last)
        return Interval(first, max(first, min(self.last, other.last)))

    def later(self, by: timedelta) -> "Interval":
        """The interval moved; at the end of the calendar it stays there."""
        return Interval(moved(self.first, by), moved(self.last, by))

    def united(self, other: "Interval") -> "Interval":
        """The smallest interval with both in it."""
        return Interval(min(self.first, other.first), max(self.last, other.last))


def interval(last: datetime, first: datetime | None = None) -> Interval:
    """The interval that ends at `last`; exact without `first`."""
    return Interval(last if first is None else min(first, last), last)


def moved(time: datetime, by: timedelta) -> datetime:
    """`time` moved; a result outside of the calendar is its first or last instant."""
    try:
        return time + by
    except OverflowError:
        return datetime.max if by > timedelta(0) else datetime.min


# Until when a subject was watched: the rule that tells "no event" from "not known".
# A dataset states one rule for all of its subjects. Without one nobody knows, and every outcome that was
# not seen is absent.


class FollowUp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When follow-up ends.

    `export_time`: for everyone at `time`, the export's own (ISO 8601; UTC unless it has an offset; a bare
    date is the start of that day).

    `days_after_last_event`: `days` after the subject's last event. With 0 days nothing is assumed,
    which keeps negatives only where a later event proves that the window was watched.
    """

    rule: Literal["export_time", "days_after_last_event", "unknown"] = "unknown"
    time: str | None = None
    days: float = 0

    def __post_init__(self) -> None:
        if self.rule == "export_time" and self.time is None:
            raise ValueError("the rule export_time needs a time")
        if self.time is not None:
            datetime.fromisoformat(self.time)  # ValueError if it is none
        if self.days < 0:
            raise ValueError("days must not be negative")

    def end(self, last_event: datetime | None) -> datetime | None:
        """The last instant of which "nothing happened" can be said; None where it is not known."""
        if self.rule == "export_time" and self.time is not None:
            return _utc(self.time)
        if self.rule == "days_after_last_event" and last_event is not None:
            return last_event + timedelta(days=self.days)
        return None


def follow_up_rule(settings: Mapping[str, Any] | FollowUp | None) -> FollowUp:
    """The rule of a manifest's `follow_up`; `None` is the unknown rule. ConfigError if it is no rule."""
    if isinstance(settings, FollowUp):
        return settings
    try:
        return msgspec.convert(dict(settings or {}), FollowUp)
    except msgspec.ValidationError as err:
        raise ConfigError(
            f"follow_up: {err}. Expected {{'rule': 'export_time', 'time': ISO 8601}} or "
            "{'rule': 'days_after_last_event', 'days': N}."
        ) from err


def _utc(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
