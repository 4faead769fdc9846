"""FHIR's times: the forms that systems write, plausibility, and instants in UTC."""

import calendar
import re
import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from chartscan.sources.fhir.outcomes import BAD_TIME, Quarantined
from chartscan.sources.fhir.remember import remember

# Plausible times. 9999-12-31 and the like mean "none" or "open". An implausible time becomes null with a flag
# where the record has another time; else the record goes to quarantine.

SECOND = 1_000_000
DAY = 86_400 * SECOND
YEAR = 365 * DAY + DAY // 4
MOST_AHEAD = 14 * DAY // 24  # no zone lies further from UTC; how far dates of two zones may reach apart
NO_TIME = -(2**63)
PRENATAL = 280 * DAY
LONG_AFTER_DEATH = 60 * DAY
OLDEST = 120 * YEAR
OUTSIDE = 7 * DAY  # of an encounter
IMPLAUSIBLE, BEFORE_BIRTH = "B44 implausible_time", "B46 before_birth"
_SHIFT_SPAN = 150 * YEAR  # how far a shifted export reaches beyond the middle of its encounters


def micros_of(moment: datetime | None) -> int | None:
    """Microseconds since 1970 UTC; a moment without a zone is UTC."""
    if moment is None:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _day(year: int, month: int, day: int) -> int:
    return round(datetime(year, month, day, tzinfo=UTC).timestamp()) * SECOND


FIRST = _day(1900, 1, 1)
LAST = _day(2262, 1, 1)  # nanoseconds in 64 bits, which other libraries count in, end in that year


class Implausible(Quarantined):
    """A time that can be read but cannot be true."""

    def __init__(self) -> None:
        super().__init__(IMPLAUSIBLE)


class Window(NamedTuple):
    """The plausible times of records, in microseconds; `sentinels` are dates that mean "none".

    `epoch`: whether midnight of 1970-01-01, where computers begin to count, also means "none".
    """

    first: int
    last: int
    sentinels: frozenset[str] = frozenset()
    epoch: bool = False

    def holds(self, moment: int) -> bool:
        return self.first <= moment <= self.last

    def holds_day(self, midnight: int) -> bool:
        """Whether every time of this date is plausible, in any zone."""
        return self.first + MOST_AHEAD <= midnight <= self.last - DAY - MOST_AHEAD


ANY_TIME = Window(NO_TIME, 2**63 - 1)
ALWAYS = Window(FIRST, LAST, frozenset({"1900-01-01"}))


def window_of(export: int | None, births: np.ndarray, starts: np.ndarray) -> tuple[Window, bool]:
    """The plausible times of an export, and whether its dates were shifted into the future.

    Nothing happens after the export (without its time: after now), give or take a day for clocks and zones.
    Where most births and `starts` of encounters (NO_TIME where unknown) do, dates were shifted on purpose, as
    MIMIC's are.
    """
    times = np.concatenate([births, starts])
    window = ALWAYS._replace(epoch=not _is_of_1970(starts[starts != NO_TIME]))
    latest = (round(time.time()) * SECOND if export is None else export) + DAY
    found = times[times != NO_TIME]
    if 2 * int((found > latest).sum()) > len(found):
        latest = int(np.median(found)) + _SHIFT_SPAN
        return window._replace(last=min(latest, LAST)), True
    return window._replace(last=min(latest, LAST)), False


def _is_of_1970(starts: np.ndarray) -> bool:
    """Whether encounters of an export really begin about 1970-01-01, so that one may at its midnight.

    Either most others do within ten years, or those of that day are no more than five times as many as of any
    other day within a year.
    """
    away = np.abs(starts)
    others = away[away > 2 * DAY]  # of any zone
    near, decades = int((others < YEAR).sum()), int((others < 10 * YEAR).sum())
    return 2 * decades > len(others) or 5 * near / 730 >= max(len(away) - len(others), 1)


class Life(NamedTuple):
    """Between which times a person's events are expected; None where it is not known."""

    first: int = NO_TIME
    last: int = 2**63 - 1
    birth: int | None = None
    death: int | None = None

    def doubt(self, moment: int, flags: Counter[str]) -> None:
        """Flag an event outside `first` .. `last`; Quarantined if long before birth."""
        if self.birth is not None and moment < self.birth:
            if moment < self.birth - PRENATAL:
                raise Quarantined(BEFORE_BIRTH)
            flags["prenatal"] += 1
        if self.death is not None and moment > self.death:
            flags["after_death" if moment <= self.death + LONG_AFTER_DEATH else "long_after_death"] += 1
        if self.birth is not None and moment > self.birth + OLDEST:
            flags["age_over_120"] += 1


def life_of(birth: int | None, death: int | None) -> Life:
    """The life between birth and death, as far as they are known."""
    ends = [death, None if birth is None else birth + OLDEST]
    last = min((end for end in ends if end is not None), default=2**63 - 1)
    return Life(NO_TIME if birth is None else birth, last, birth, death)


# Times as systems write them -> FHIR's form, only where the meaning is certain. `03/04/2024`, years of two
# digits and plain seconds mean different things at different sites, so they are not read.

_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
_DATES = (
    re.compile(r"(?P<y>\d{4})(?P<sep>[-/.])(?P<m>\d{1,2})(?P=sep)(?P<d>\d{1,2})", re.ASCII),
    re.compile(r"(?P<y>\d{4})(?P<m>\d\d)(?P<d>\d\d)(?=\d{6}(?!\d)|\D|$)", re.ASCII),
    re.compile(r"(?P<d>\d{1,2})[- ](?P<m>[A-Za-z]{3})[A-Za-z]*[- ](?P<y>\d{4})(?=\D|$)", re.ASCII),
)
_CLOCK = re.compile(
    r"[Tt ]? *(?P<h>\d{1,2}):(?P<min>\d\d)(?::(?P<s>\d\d)(?:[.,](?P<f>\d+))?)? *(?P<half>[AaPp][Mm])?"
    r"|[Tt ]?(?P<h2>\d\d)(?P<min2>\d\d)(?P<s2>\d\d)?(?:[.,](?P<f2>\d+))?",
    re.ASCII,
)
_ZONE = re.compile(
    r"(?:(?P<utc>Z|UTC|GMT)|(?P<sign>[+-])(?P<h>\d\d)(?::?(?P<min>\d\d))?)(?:\[[A-Za-z_/+-]+\])?",
    re.ASCII | re.IGNORECASE,
)


def mended(text: str) -> str | None:
    """Return `text` as a FHIR date or dateTime; None where ambiguous."""
    text = text.strip()
    found = next(filter(None, (form.match(text) for form in _DATES)), None)
    if found is None:
        return None
    month = _MONTHS.get(found["m"].lower()) if found["m"].isalpha() else int(found["m"])
    if month is None:
        return None
    date = f"{found['y']}-{month:02d}-{int(found['d']):02d}"
    rest = text[found.end() :]
    if rest in ("", "T", "t"):
        return date
    clock = _CLOCK.match(rest)
    if clock is None:
        return None
    time, zone = _time(clock), _zone(rest[clock.end() :].strip())
    return None if time is None or zone is None else f"{date}T{time}{zone}"


def _time(clock: re.Match[str]) -> str | None:
    hour, minute, second, fraction = (clock[name] or clock[f"{name}2"] for name in ("h", "min", "s", "f"))
    if clock["half"]:
        if not 1 <= int(hour) <= 12:
            return None
        hour = str(int(hour) % 12 + 12 * (clock["half"].lower() == "pm"))
    return f"{int(hour):02d}:{minute}:{second or '00'}" + (f".{fraction}" if fraction else "")


def _zone(text: str) -> str | None:
    """The offset in the one form that FHIR knows, "" for none, None for what is no offset."""
    if not text:
        return ""
    found = _ZONE.fullmatch(text)
    if found is None:
        return None
    return "Z" if found["utc"] else f"{found['sign']}{found['h']}:{found['min'] or '00'}"


# FHIR date and dateTime -> microseconds since 1970 UTC. A partial time (year, month or day) is an interval,
# and events are placed at its END, so that nothing is seen before it can have happened.

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
        """Return the instant of a dateTime whose parts were met before; else KeyError."""
        if text is None:
            raise KeyError
        return self._days[text[:10]] + self._minutes[text[10:16]] + self._tails[text[16:]]

    def interval(self, text: str, zones: Zones = None, of_birth: bool = False) -> tuple[int, int]:
        """Return first and last microsecond of `text`; dates may use any of `zones`.

        The site's own zone is always among them. People are born at the beginning of 1970, too; other times
        then are Implausible where the window says.
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
        """As `interval`, but a midnight (as written) stands for its date."""
        if _MIDNIGHT.match(self._form(text), 10) is None:
            return self.interval(text, zones, of_birth)
        first = self.interval(text, None, of_birth)[1]
        return first, first + DAY - 1

    def epochs(self) -> set[tuple[int, int]]:
        """Return the intervals meaning "zero": midnight of 1970-01-01 (UTC, site), or its date."""
        starts = 0, self._utc(0)
        return {(start, end) for start in starts for end in (start, start + DAY - 1)}

    def placed(self, text: str, *bounds: int | None, zones: Zones = None) -> int:
        """Return where to place an event: the interval's end, or its earliest bound.

        `bounds` are moments by which it had happened; only those inside the interval count.
        """
        return inside(self.interval(text, zones), *bounds)

    def ahead_at(self, text: str) -> int | None:
        """Return the site's UTC offset at a dateTime, in microseconds; else None."""
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
