"""FHIR date and dateTime -> microseconds since 1970 UTC, fast.

A full dateTime is one instant. A partial one (year, month or day) is an interval, and events are placed at
its END, so that nothing is seen before it can have happened. Offsets are resolved and forgotten. Here alone
it is decided whether a time is plausible at all (`plausible.Window`).
"""

import re
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from chartscan.sources.fhir.outcomes import BAD_TIME, Quarantined
from chartscan.sources.fhir.plausible import ANY_TIME, DAY, MOST_AHEAD, SECOND, Implausible, Window
from chartscan.sources.fhir.remember import remember
from chartscan.sources.fhir.time_forms import mended

HOUR = 3_600 * SECOND
Zones = tuple[int, int] | None  # least and most microseconds that the zones a date may be of lie ahead of UTC
_EPOCH = date(1970, 1, 1).toordinal()
_PARTIAL = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?", re.ASCII)
_MINUTE = re.compile(r"T([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_MIDNIGHT = re.compile(r"T00:00:00(?:\.0*)?(?:Z|[+-]|$)", re.ASCII)
_TAIL = re.compile(r":([0-5]\d|60)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_OFFSET = re.compile(r"[+-]\d\d:\d\d$", re.ASCII)


class Clock:
    """Reads times as a site writes them.

    `naive` counts times without an offset, taken as site time; `mended` those in a form that is not FHIR's.
    A time outside `window` is Implausible.
    """

    def __init__(self, time_zone: str = "UTC", window: Window = ANY_TIME):
        self.naive = 0
        self.mended = 0
        self._zone = ZoneInfo(time_zone)
        self._window = window
        self._days: dict[str, int] = {}  # "2180-05-06" -> midnight of that date, if plausible
        self._minutes: dict[str, int] = {}  # "T22:23" -> since midnight
        self._tails: dict[str, int] = {}  # ":00.5-04:00" -> the seconds, and what brings the time to UTC

    @property
    def met(self) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
        """Dates, minutes of the day, and seconds with their zone, as met before -> microseconds.

        The instant of a dateTime that consists of such parts is their sum; the dicts are never replaced.
        """
        return self._days, self._minutes, self._tails

    def instant(self, text: str) -> int:
        """The instant of a dateTime, or the last microsecond of a partial one.

        Quarantined if it is none; Implausible, which is a kind of it, if it cannot be true.
        """
        try:
            return self._days[text[:10]] + self._minutes[text[10:16]] + self._tails[text[16:]]
        except KeyError:
            return self.interval(text)[1]

    def known(self, text: str | None) -> int:
        """The instant of a dateTime all parts of which were met before; KeyError for any other text."""
        if text is None:
            raise KeyError
        return self._days[text[:10]] + self._minutes[text[10:16]] + self._tails[text[16:]]

    def interval(self, text: str, zones: Zones = None, of_birth: bool = False) -> tuple[int, int]:
        """First and last microsecond that `text` may mean. A date may be of the site's zone or of `zones`.

        People are born at the beginning of 1970, too; other times then are Implausible where the window says.
        """
        form = self._form(text)
        found = (self._moment(form),) * 2 if len(form) > 10 else self._days_of(form)
        if not self._window.holds(found[0]) or form[:10] in self._window.sentinels:
            raise Implausible
        if self._window.epoch and abs(found[0]) <= DAY and not of_birth and found in self.epochs():
            raise Implausible
        self.mended += form != text or form[11:13] == "24" or form[17:19] == "60"
        return found if len(form) > 10 else self.widened(*found, zones)

    def day_interval(self, text: str, zones: Zones = None, of_birth: bool = False) -> tuple[int, int]:
        """`interval`, where a midnight (as written) is no time of day but stands for its date."""
        if _MIDNIGHT.match(self._form(text), 10) is None:
            return self.interval(text, zones, of_birth)
        first = self.interval(text, None, of_birth)[1]
        return first, first + DAY - 1

    def epochs(self) -> set[tuple[int, int]]:
        """The intervals that mean "zero": the midnight of 1970-01-01 in UTC or at the site, or its date."""
        starts = 0, self._utc(0)
        return {(start, end) for start in starts for end in (start, start + DAY - 1)}

    def placed(self, text: str, *bounds: int | None, zones: Zones = None) -> int:
        """Where an event of this time is placed: the end of its interval, or the earliest of `bounds`
        (moments by which it had happened) that lies inside."""
        return inside(self.interval(text, zones), *bounds)

    def ahead_at(self, text: str) -> int | None:
        """Microseconds that the site lies ahead of UTC at the time of a dateTime; None where it is none."""
        try:
            return self._ahead(self.instant(text))
        except Quarantined:
            return None

    def widened(self, first: int, last: int, zones: Zones) -> tuple[int, int]:
        """The interval of a date of the site's zone, as one of `zones` too."""
        if zones is None:
            return first, last
        ahead = self._ahead(first), self._ahead(last)
        return min(first, first + ahead[0] - zones[1]), max(last, last + ahead[1] - zones[0])

    @staticmethod
    def _form(text: str) -> str:
        """`text` in a form that FHIR allows."""
        if len(text) <= 10 and _PARTIAL.fullmatch(text):
            return text
        if _TAIL.fullmatch(text, 16) and (_MINUTE.fullmatch(text, 10, 16) or text[10:19] == "T24:00:00"):
            return text
        form = mended(text)
        if form is None:
            raise Quarantined(BAD_TIME)
        return form

    def _moment(self, text: str) -> int:
        """The instant of a dateTime in FHIR's form; the parts that will come again are remembered."""
        end_of_day = text[10:19] == "T24:00:00"  # seldom, so not remembered
        local = self._midnight(text[:10]) + (DAY if end_of_day else self._minute(text[10:16]))
        tail = _TAIL.fullmatch(text, 16)
        if tail is None:
            raise Quarantined(BAD_TIME)
        seconds = int(tail[1]) * SECOND + int((tail[2] or "0")[:6].ljust(6, "0"))
        if tail[3] is None:
            self.naive += 1
            return self._utc(local + seconds)
        ahead = _offset(tail[3])
        if tail[1] == "60":  # counted every time
            return local + seconds - ahead
        return local + remember(self._tails, text[16:], seconds - ahead)

    def _midnight(self, text: str) -> int:
        known = self._days.get(text)
        if known is not None:
            return known
        midnight = _interval(text)[0]
        at_epoch = self._window.epoch and abs(midnight) <= DAY  # of any zone
        if at_epoch or text in self._window.sentinels or not self._window.holds_day(midnight):
            return midnight  # not remembered, so that it is judged every time
        return remember(self._days, text, midnight)

    def _minute(self, text: str) -> int:
        match = _MINUTE.fullmatch(text)
        if match is None:
            raise Quarantined(BAD_TIME)
        return remember(self._minutes, text, (int(match[1]) * 60 + int(match[2])) * 60 * SECOND)

    def _days_of(self, text: str) -> tuple[int, int]:
        """First and last microsecond of a partial date in the zone of the site."""
        first, beyond = _interval(text)
        return self._utc(first), self._utc(beyond) - 1

    def _utc(self, local: int) -> int:
        """A local time of the site as UTC. A time in the hour that comes twice is its first."""
        try:
            moment = datetime(1970, 1, 1, tzinfo=self._zone) + timedelta(microseconds=local)
            return local - _micros(moment.utcoffset())
        except OverflowError:
            return local

    def _ahead(self, instant: int) -> int:
        """Microseconds that the site lies ahead of UTC at an instant."""
        try:
            moment = datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC")) + timedelta(microseconds=instant)
            return _micros(moment.astimezone(self._zone).utcoffset())
        except OverflowError:
            return 0


def inside(interval: tuple[int, int], *bounds: int | None) -> int:
    """The earliest of `bounds` that lies in the interval, else its end."""
    first, last = interval
    return min((b for b in bounds if b is not None and first <= b <= last), default=last)


def offset_written(text: str | None) -> int | None:
    """Microseconds that the zone written in a dateTime lies ahead of UTC.

    None where there is none: a `Z` is how a server stores, and says nothing of where it happened.
    """
    found = _OFFSET.search(text, 10) if text and len(text) > 16 else None
    if found is None or found[0] == "-00:00":
        return None
    try:
        return _offset(found[0])
    except Quarantined:
        return None


def _micros(span: timedelta | None) -> int:
    return (span or timedelta()) // timedelta(microseconds=1)


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
    if text == "Z":
        return 0
    hours, minutes = int(text[1:3]), int(text[4:6])
    ahead = (hours * 60 + minutes) * 60 * SECOND
    if ahead > MOST_AHEAD or minutes > 59:
        raise Quarantined(BAD_TIME)
    return -ahead if text[0] == "-" else ahead
