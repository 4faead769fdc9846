"""Times in forms that FHIR does not have, as real systems write them: read where they mean one thing only."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chartscan.sources.fhir.clock import Clock, mended
from chartscan.sources.fhir.outcomes import Quarantined
from fhir_export import concept, ingest_lines, observation, resource

NINE = datetime(2024, 3, 1, 9, 5, tzinfo=UTC)
MENDED = {
    "2024-03-01T09:05Z": NINE,
    "2024-03-01T09:05": NINE,
    "2024-03-01T10:05+01:00": NINE,
    "2024-03-01T10:05:00+0100": NINE,
    "2024-03-01T10:05:00+01": NINE,
    "2024-03-01 09:05:00": NINE,
    "2024-03-01 09:05:00Z": NINE,
    "2024-03-01 09:05:00 UTC": NINE,
    "2024-03-01T09:05:00 Z": NINE,
    "2024-03-01T09:05:00z": NINE,
    "2024-03-01t09:05:00Z": NINE,
    "2024-03-01T9:05:00Z": NINE,
    "2024-3-1T09:05:00Z": NINE,
    "2024/03/01 09:05:00": NINE,
    "2024-03-01T09:05:00Z[UTC]": NINE,
    "2024-03-01T10:05:00+01:00[Europe/Berlin]": NINE,
    "20240301T090500Z": NINE,
    "20240301090500": NINE,
    "20240301090500+0000": NINE,
    " 2024-03-01T09:05:00Z ": NINE,
    "2024-03-01 09:05 AM": NINE,
    "01-MAR-2024 09:05:00": NINE,
    "2024-03-01T09:05:00,250Z": NINE.replace(microsecond=250_000),
    "2024-03-01T24:00Z": datetime(2024, 3, 2, tzinfo=UTC),
    "2024-03-01T24:00:00Z": datetime(2024, 3, 2, tzinfo=UTC),
    "2024-03-01T23:59:60Z": datetime(2024, 3, 2, tzinfo=UTC),
}
AMBIGUOUS = [
    "03/04/2024",
    "03/04/2024 09:05",
    "01.03.2024",
    "24-03-01",
    "01-03-24",
    "1709283900",
    "1709283900000",
    "202403010905",
    "2024-03-01T09Z",
    "2024-03-01T9",
    "2024-W09-5",
    "2024-061",
    "2024-03-01T25:00Z",
    "2024-03-01T09:05 PMish",
    "2024-03-01T13:05 PM",
    "2024-03-01T09:05+15",
    "2024-03-01T09:05 EST",
    "2024-13-01 09:05",
    "yesterday",
    "2024-03-01/2024-03-02",
]


@pytest.mark.parametrize("text", MENDED)
def test_a_form_that_means_one_thing_is_read_and_counted(tmp_path, text):
    result = ingest_lines(
        tmp_path, observation(effectiveDateTime=text), observation(id="o2", effectiveDateTime=text)
    )
    found = [event["time"].replace(tzinfo=UTC) for event in result.of("observation")]
    assert found == [MENDED[text]] * 2
    assert result.accounting["normalised"]["time_form_mended"] == 2


@pytest.mark.parametrize("text", ["20240301", "2024-3-1", "2024-03-01T", "1 March 2024"])
def test_a_date_in_another_form_is_that_day(tmp_path, text):
    line = resource("Condition", recordedDate=text, code=concept())
    event = ingest_lines(tmp_path, line).one("diagnosis")
    assert event["earliest_time"] == datetime(2024, 3, 1)
    assert event["time"] == datetime(2024, 3, 1, 23, 59, 59, 999999)


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_a_form_that_may_mean_two_things_is_quarantined_alone(tmp_path, text):
    lines = observation(effectiveDateTime=text), observation(id="o2")
    result = ingest_lines(tmp_path, *lines)
    assert result.total("quarantined") == {"B43 invalid_time": 1}
    assert len(result.of("observation")) == 1
    assert not result.accounting["normalised"]


def test_a_time_as_fhir_writes_it_is_not_counted(tmp_path):
    for text in ("2024-03-01T09:05:00Z", "2024-03-01T09:05:00.123456789+01:00", "2024-03", "2024"):
        assert not ingest_lines(tmp_path, observation(effectiveDateTime=text)).accounting["normalised"]


@given(
    st.datetimes(datetime(1901, 1, 1), datetime(2200, 1, 1)), st.sampled_from(["", "Z", "+01:00", "-0530"])
)
def test_a_mended_time_is_the_instant_of_its_standard_form(moment, zone):
    moment = moment.replace(microsecond=0)
    standard = moment.isoformat() + (zone if zone in ("", "Z") or ":" in zone else zone[:3] + ":" + zone[3:])
    for text in (f"{moment:%Y/%m/%d %H:%M:%S}{zone}", f"{moment:%Y%m%d%H%M%S}{zone}", f"{moment}{zone}"):
        assert Clock().instant(text) == Clock().instant(standard)


@given(st.text("0123456789-:TZ+.,/ APMmar[]", max_size=30))
def test_whatever_is_mended_is_a_time_or_refused(text):
    form = mended(text)
    if form is not None:
        try:
            first, last = Clock().interval(form)
        except Quarantined:
            return
        assert first <= last
