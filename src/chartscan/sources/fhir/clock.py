"""FHIR date and dateTime -> microseconds since 1970 UTC, fast.

A full dateTime is one instant. A partial one (year, month or day) is an interval, and events are placed at
its END, so that nothing is seen before it can have happened. Offsets are resolved and forgotten.
"""

import re
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from chartscan.sources.fhir.outcomes import BAD_TIME, Quarantined
from chartscan.sources.fhir.remember import remember

SECOND = 1_000_000
HOUR = 3_600 * SECOND
DAY = 86_400 * SECOND
_EPOCH = date(1970, 1, 1).toordinal()
_PARTIAL = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?", re.ASCII)
_MINUTE = re.compile(r"[Tt]([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_MIDNIGHT = re.compile(r"[Tt]00:00:00(?:\.0*)?(?:Z|z|[+-]|$)", re.ASCII)
_TAIL = re.compile(r":([0-5]\d|60)(?:\.(\d+))?(Z|z|[+-]\d\d:\d\d)?", re.ASCII)


class Clock:
    """Reads times as a site writes them. `naive` counts times without an offset, taken as site time."""

    def __init__(self, time_zone: str = "UTC"):
        self.naive = 0
        self._zone = ZoneInfo(time_zone)
        self._days: dict[str, int] = {}  # "2180-05-06" -> midnight of that date, offset unknown
        self._minutes: dict[str, int] = {}  # "T22:23" -> since midnight
        self._tails: dict[str, int] = {}  # ":00.5-04:00" -> the seconds, and what brings the time to UTC

    def instant(self, text: str) -> int:
        """The instant of a dateTime, or the last microsecond of a partial one; Quarantined if it is none."""
        try:
            return self._days[text[:10]] + self._minutes[text[10:16]] + self._tails[text[16:]]
        except KeyError:
            return self._read(text)

    def interval(self, text: str) -> tuple[int, int]:
        """First and last microsecond that `text` may mean."""
        if len(text) > 10:
            moment = self.instant(text)
            return moment, moment
        first, beyond = _interval(text)
        return self._utc(first), self._utc(beyond) - 1

    def placed(self, text: str, *bounds: int | None) -> int:
        """Where an event of this time is placed: the end of its interval, or the earliest of `bounds`
        (moments by which it had happened) that lies inside."""
        if len(text) > 10:
            return self.instant(text)
        first, last = self.interval(text)
        return min((b for b in bounds if b is not None and first <= b <= last), default=last)

    def placed_date(self, text: str, *bounds: int | None) -> int:
        """`placed`, where a midnight (as written) is no time of day but stands for its date."""
        if _MIDNIGHT.match(text, 10) is None:
            return self.placed(text, *bounds)
        first = self.instant(text)
        last = first + DAY - 1
        return min((b for b in bounds if b is not None and first <= b <= last), default=last)

    def _read(self, text: str) -> int:
        """The slow way: checks everything, and remembers the parts that will come again."""
        if len(text) <= 10:
            return self.interval(text)[1]
        end_of_day = text[10:19].upper() == "T24:00:00"  # seldom, so not remembered
        local = self._midnight(text[:10]) + (DAY if end_of_day else self._minute(text[10:16]))
        tail = _TAIL.fullmatch(text, 16)
        if tail is None:
            raise Quarantined(BAD_TIME)
        seconds = int(tail[1]) * SECOND + int((tail[2] or "0")[:6].ljust(6, "0"))
        if tail[3] is None:
            self.naive += 1
            return self._utc(local + seconds)
        return local + remember(self._tails, text[16:], seconds - _offset(tail[3]))

    def _midnight(self, text: str) -> int:
        known = self._days.get(text)
        return remember(self._days, text, _interval(text)[0]) if known is None else known

    def _minute(self, text: str) -> int:
        match = _MINUTE.fullmatch(text)
        if match is None:
            raise Quarantined(BAD_TIME)
        return remember(self._minutes, text, (int(match[1]) * 60 + int(match[2])) * 60 * SECOND)

    def _utc(self, local: int) -> int:
        """A local time of the site as UTC. A time in the hour that comes twice is its first."""
        try:
            moment = datetime(1970, 1, 1, tzinfo=self._zone) + timedelta(microseconds=local)
        except OverflowError:
            return local
        return local - (moment.utcoffset() or timedelta()) // timedelta(microseconds=1)


def _interval(text: str) -> tuple[int, int]:
    """Local midnight at the start of a date, month or year, and the one at which it is over."""
    match = _PARTIAL.fullmatch(text)
    if match is None:
        raise Quarantined(BAD_TIME)
    year, month, day = (int(part) if part else None for part in match.groups())
    assert year is not None
    try:
        first = date(year, month or 1, day or 1).toordinal()
    except ValueError as err:
        raise Quarantined(BAD_TIME) from err
    if day:
        beyond = first + 1
    elif month and month < 12:
        beyond = date(year, month + 1, 1).toordinal()
    else:
        beyond = date(year, 12, 31).toordinal() + 1
    return (first - _EPOCH) * DAY, (beyond - _EPOCH) * DAY


def _offset(text: str) -> int:
    """Microseconds that a zone lies ahead of UTC."""
    if text in "Zz":
        return 0
    hours, minutes = int(text[1:3]), int(text[4:6])
    if hours > 14 or minutes > 59:
        raise Quarantined(BAD_TIME)
    ahead = (hours * 60 + minutes) * 60 * SECOND
    return -ahead if text[0] == "-" else ahead
