"""FHIR date and dateTime -> microseconds since 1970 UTC, fast.

A full dateTime is one instant. A partial one (year, month or day) is an interval, and events are placed at
its END, so that nothing is seen before it can have happened. Offsets are resolved and forgotten.
"""

import functools
import itertools
import re
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from chartscan.sources.fhir.outcomes import BAD_TIME, Quarantined

SECOND = 1_000_000
DAY = 86_400 * SECOND
_EPOCH = date(1970, 1, 1).toordinal()
_CACHED = 100_000  # entries of a cache
_PARTIAL = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?", re.ASCII)
_TAIL = re.compile(r"(?:\.(\d+))?(Z|z|[+-]\d\d:\d\d)?", re.ASCII)


class Clock:
    """Reads times as a site writes them. `naive` counts times without an offset, taken as site time."""

    def __init__(self, time_zone: str = "UTC"):
        self.naive = 0
        self._zone = ZoneInfo(time_zone)
        self._days: dict[str, int] = {}  # "2180-05-06" -> midnight of that date, offset unknown
        self._clocks = _clock_table()  # "T22:23:00"
        self._tails: dict[str, int] = {}  # ".5-04:00" -> what brings the time to UTC

    def instant(self, text: str) -> int:
        """The instant of a dateTime, or the last microsecond of a partial one; Quarantined if it is none."""
        try:
            return self._days[text[:10]] + self._clocks[text[10:19]] + self._tails[text[19:]]
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

    def _read(self, text: str) -> int:
        """The slow way: checks everything, and remembers the parts that will come again."""
        if len(text) <= 10:
            return self.interval(text)[1]
        local = self._midnight(text[:10]) + self._clock(text[10:19])
        tail = _TAIL.fullmatch(text, 19)
        if tail is None:
            raise Quarantined(BAD_TIME)
        fraction = int((tail[1] or "0")[:6].ljust(6, "0"))
        if tail[2] is None:
            self.naive += 1
            return self._utc(local + fraction)
        return local + _remember(self._tails, text[19:], fraction - _offset(tail[2]))

    def _midnight(self, text: str) -> int:
        known = self._days.get(text)
        return _remember(self._days, text, _interval(text)[0]) if known is None else known

    def _clock(self, text: str) -> int:
        known = self._clocks.get(text.upper())
        if known is None:
            raise Quarantined(BAD_TIME)
        return known

    def _utc(self, local: int) -> int:
        """A local time of the site as UTC. A time in the hour that comes twice is its first."""
        try:
            moment = datetime(1970, 1, 1, tzinfo=self._zone) + timedelta(microseconds=local)
        except OverflowError:
            return local
        return local - (moment.utcoffset() or timedelta()) // timedelta(microseconds=1)


@functools.cache
def _clock_table() -> dict[str, int]:
    """Every time of day, leap seconds and the end of the day included: a look-up beats any parsing."""
    times = itertools.product(range(24), range(60), range(61))
    table = {f"T{h:02}:{m:02}:{s:02}": (h * 3600 + m * 60 + s) * SECOND for h, m, s in times}
    return table | {"T24:00:00": DAY}


def _remember(cache: dict[str, int], text: str, value: int) -> int:
    """`value`, kept in a cache that never grows beyond `_CACHED`."""
    if len(cache) >= _CACHED:
        cache.clear()
    cache[text] = value
    return value


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
