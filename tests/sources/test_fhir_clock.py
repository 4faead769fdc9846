"""FHIR times against the standard library."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chartscan.sources.fhir.clock import Clock
from chartscan.sources.fhir.outcomes import Quarantined

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
offsets = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
moments = st.datetimes(datetime(1800, 1, 2), datetime(2300, 12, 30), timezones=offsets)


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def day_end(*date: int) -> int:
    return micros(datetime(*date, tzinfo=UTC) + timedelta(days=1)) - 1


@given(moments, st.sampled_from(["seconds", "milliseconds", "microseconds"]))
def test_a_date_time_is_the_instant_the_standard_library_reads(moment, precision):
    text = moment.isoformat(timespec=precision)
    clock = Clock()
    expected = micros(datetime.fromisoformat(text))
    assert clock.instant(text) == expected
    assert clock.instant(text) == expected  # from the caches
    assert clock.interval(text) == (expected, expected)


@given(st.dates(datetime(1800, 1, 2).date(), datetime(2300, 12, 30).date()), st.sampled_from([4, 7, 10]))
def test_a_partial_date_ends_where_the_next_begins(date, length):
    clock = Clock()
    text = date.isoformat()[:length]
    first, last = clock.interval(text)
    inside = micros(datetime(date.year, date.month, date.day, 12, tzinfo=UTC))
    assert first <= inside <= last
    assert clock.instant(text) == last
    start, beyond = (EPOCH + timedelta(microseconds=m) for m in (first, last + 1))
    assert start.isoformat()[:length] == text
    assert beyond.isoformat()[:length] > text
    assert beyond.isoformat()[10:] == "T00:00:00+00:00"


def test_dates_and_times_without_an_offset_are_of_the_site():
    clock = Clock("America/New_York")
    summer = datetime(2180, 5, 6, 22, 23, tzinfo=ZoneInfo("America/New_York"))
    assert clock.instant("2180-05-06T22:23:00") == micros(summer)
    assert clock.naive == 1
    assert clock.instant("2180-01-06") == micros(datetime(2180, 1, 7, 5, tzinfo=UTC)) - 1


def test_the_wall_clock_of_mimic_becomes_utc():
    assert Clock().instant("2180-05-06T22:23:00-04:00") == micros(datetime(2180, 5, 7, 2, 23, tzinfo=UTC))


def test_leap_seconds_the_24th_hour_and_nanoseconds_are_read():
    clock = Clock()
    next_day = micros(datetime(2017, 1, 1, tzinfo=UTC))
    assert clock.instant("2016-12-31T23:59:60Z") == next_day
    assert clock.instant("2016-12-31T24:00:00Z") == next_day
    assert clock.instant("2017-01-01T00:00:00.123456789Z") == next_day + 123_456


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2015-W06",
        "2015-13",
        "2015-02-30",
        "0000",
        "2015-02-07T25:00:00Z",
        "2015-02-07T24:00:01Z",
        "2015-02-07T10:61:00Z",
        "2015-02-07T10:00:61Z",
        "2015-02-07T10:00:00+15:00",
        "2015-02-07T10:00:00+01:60",
        "2015-02-07X10:00:00Z",
        "٢٠١٥-02-07T10:00:00Z",
    ],
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(Quarantined, match="B43"):
        Clock().instant(text)


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_refused(text):
    with suppress(Quarantined):
        assert isinstance(Clock().instant(text), int)


def test_a_partial_date_is_placed_where_it_is_known_to_have_happened():
    clock = Clock()
    discharge = micros(datetime(2020, 1, 5, 12, tzinfo=UTC))
    assert clock.placed("2020-01-05", discharge) == discharge
    assert clock.placed("2020-01-04", discharge) == day_end(2020, 1, 4)
    assert clock.placed("2020-01-06", discharge) == day_end(2020, 1, 6)
    assert clock.placed("2020-01-05", None) == day_end(2020, 1, 5)


def test_caches_stay_bounded(monkeypatch):
    monkeypatch.setattr("chartscan.sources.fhir.remember.LIMIT", 10)
    clock = Clock()
    for millisecond in range(100):
        clock.instant(f"2020-01-01T00:00:00.{millisecond:03d}Z")
    assert len(clock._tails) <= 10
