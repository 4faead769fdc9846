"""Until when a subject was watched: the rule that tells "no event" from "not known".

A dataset states one rule for all of its subjects. Without one nobody knows, and every outcome that was
not seen is absent.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec

from chartscan.errors import ConfigError


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
