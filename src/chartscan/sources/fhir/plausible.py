"""Which times can be true: of any record, of one person, and of an export whose dates were shifted.

A sentinel such as 9999-12-31 says "none" or "open", never a time. What is implausible becomes null with a
flag where the record has another time, else the record goes to quarantine.
"""

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np

from chartscan.sources.fhir.outcomes import Quarantined

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
    """The times that records may have, in microseconds; `sentinels` are dates that mean "none".

    `epoch`: whether the midnight at which computers begin to count, 1970-01-01, is one too.
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
        """Flag an event that does not lie between `first` and `last`; Quarantined if long before birth."""
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
