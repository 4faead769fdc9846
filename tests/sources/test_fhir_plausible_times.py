"""Times that cannot be true become null with a flag, or their record goes to quarantine; nothing crashes."""

import json
from datetime import datetime, timedelta

import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chartscan.sources import fhir
from chartscan.store.dataset import Dataset
from chartscan.store.writer import DatasetWriter
from fhir_export import concept, encounter, ingest_lines, observation, resource, subject

AT = {"encounter": {"reference": "Encounter/e1"}}
END_OF_STAY = datetime(2020, 1, 5, 12)
BY_BO = {"subject": {"reference": "Patient/bo"}}
START = "2020-01-01T08:00:00Z"
NEVER = [
    "0001-01-01",
    "0001-01-01T00:00:00+14:00",
    "0001-01-01T00:00:00Z",
    "1753-01-01T00:00:00Z",
    "1899-12-30",
    "1900-01-01",
    "1900-01-01T00:00:00-05:00",
    "2099-01-01",
    "2999-12-31T00:00:00",
    "4712-12-31",
    "9000",
    "9999-12-31",
    "9999-12",
    "9999-12-31T23:59:59-08:00",
    "9999-12-31T24:00:00Z",
]
EXPORTED = "2021-06-30T00:00:00Z"


def export_of(tmp_path, *lines, exported=None):
    """An export, with its time where one is given."""
    folder = tmp_path / "export"
    folder.mkdir(exist_ok=True)
    if exported:
        (folder / "manifest.json").write_text(json.dumps({"transactionTime": exported, "output": []}))
    return ingest_lines(tmp_path, *lines)


def patient(**fields):
    return {"resourceType": "Patient", "id": "bo"} | fields


def of_bo(result, event_type):
    return [e for e in result.of(event_type) if e["subject_id"] == subject("bo")]


# Sentinels


@pytest.mark.parametrize("never", NEVER)
def test_an_event_whose_only_time_is_a_sentinel_is_quarantined_b44(tmp_path, never):
    lines = [
        observation(effectiveDateTime=never),
        resource("Condition", recordedDate=never),
        resource("Procedure", performedDateTime=never),
        resource("MedicationRequest", authoredOn=never),
        resource("Immunization", occurrenceDateTime=never),
        encounter(period={"start": never, "end": never}),
    ]
    result = ingest_lines(tmp_path, *lines, observation(id="good"))
    assert result.total("quarantined") == {"B44 implausible_time": 6}
    assert len(result.of("observation")) == 1


@pytest.mark.parametrize("never", NEVER)
def test_a_sentinel_beside_another_time_is_null_and_flagged_b44(tmp_path, never):
    lines = [
        encounter(),
        observation(issued=never),
        observation(id="o2", effectiveDateTime=never, issued="2020-01-02T10:00:00Z"),
        observation(id="o3", effectiveDateTime=None, effectivePeriod={"start": START, "end": never}),
        resource("Condition", onsetDateTime=never, recordedDate="2020-01-03T10:00:00Z"),
        resource("Procedure", **AT, performedDateTime=never),
    ]
    result = ingest_lines(tmp_path, *lines)
    assert not result.total("quarantined")
    assert [e["time"] for e in result.of("observation")] == [
        datetime(2020, 1, 1, 10),
        datetime(2020, 1, 2, 10),
        datetime(2020, 1, 1, 8),
    ]
    assert result.one("diagnosis")["time"] == datetime(2020, 1, 3, 10)
    assert result.one("procedure")["time"] == END_OF_STAY
    assert result.accounting["flagged"]["implausible_time"] == 5


@pytest.mark.parametrize("never", NEVER)
def test_an_end_that_stands_for_open_is_no_end_b44(tmp_path, never):
    lines = [encounter(period={"start": START, "end": never}), encounter(id="e2")]
    result = ingest_lines(tmp_path, *lines, observation(**AT, effectiveDateTime="2020-03-01T10:00:00Z"))
    assert [e["encounter_id"] for e in result.of("discharge")] == ["e2"]
    assert len(result.of("admission")) == 2
    assert result.accounting["flagged"]["encounter_end_implausible"] == 1
    started = ingest_lines(tmp_path, encounter(period={"start": never, "end": "2020-01-05T12:00:00Z"}))
    assert started.one("discharge")["time"] == END_OF_STAY
    assert started.accounting["flagged"]["encounter_start_implausible"] == 1


@pytest.mark.parametrize("never", [*NEVER, "soon", "1961-02-30", "0000-00-00", "19xx"])
def test_an_impossible_birth_or_death_never_costs_the_patient_b44(tmp_path, never):
    lines = [patient(birthDate=never), encounter(subject={"reference": "Patient/bo"})]
    result = ingest_lines(tmp_path, *lines)
    assert not result.total("quarantined")
    assert not of_bo(result, "birth")
    flagged = result.accounting["flagged"]
    assert flagged.get("birth_implausible", 0) + flagged.get("birth_invalid", 0) == 1
    dead = ingest_lines(tmp_path, patient(deceasedDateTime=never), lines[1])
    assert dead.one("death")["time"] is None


def test_a_stay_that_ended_nobody_knows_when_still_says_how(tmp_path):
    how = {"dischargeDisposition": concept("exp", "http://here.org/where")}
    for end in (None, "9999-12-31", "2019-01-01"):
        period = {"start": START} | ({"end": end} if end else {})
        result = ingest_lines(tmp_path, encounter(period=period, hospitalization=how))
        assert result.one("outcome")["code"] == "HOSPITAL_OUTCOME//EXPIRED"
        assert result.one("outcome")["encounter_id"] == "e1"
    assert not ingest_lines(tmp_path, encounter(period={"start": START})).of("outcome")


# The midnight at which computers begin to count


EPOCHS = ["1970-01-01", "1970-01-01T00:00:00Z", "1969-12-31T19:00:00-05:00", "1970-01-01T00:00:00.000"]


@pytest.mark.parametrize("zero", EPOCHS)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York"])
def test_the_beginning_of_1970_is_no_time_where_the_records_are_of_another(tmp_path, zero, zone):
    lines = [
        patient(birthDate="1970-01-01", deceasedDateTime=zero),
        encounter(id="begun", period={"start": zero, "end": "2020-01-05T12:00:00Z"}),
        encounter(id="open", period={"start": START, "end": zero}),
        encounter(id="lost", period={"start": zero}),
        observation(id="null", effectiveDateTime=zero, issued="2020-01-02T10:00:00Z"),
        observation(id="bad", effectiveDateTime=zero),
        resource("Condition", recordedDate=zero, onsetDateTime="2020-01-02T10:00:00Z"),
    ]
    result = ingest_lines(tmp_path, *lines, time_zone=zone)
    assert result.total("quarantined") == {"B44 implausible_time": 2}
    assert [e["encounter_id"] for e in result.of("discharge")] == ["begun"]
    assert [e["encounter_id"] for e in result.of("admission")] == ["open"]
    assert all(e["time"].year == 2020 for e in [*result.of("observation"), *result.of("diagnosis")])
    assert result.one("death")["time"] is None
    assert len(of_bo(result, "birth")) == 1
    assert [e["code"] for e in result.of("outcome")] == ["LOST_STAY"]
    flags = ("encounter_start_implausible", "encounter_end_implausible", "death_implausible")
    assert [result.accounting["flagged"][name] for name in flags] == [1, 1, 1]
    assert result.accounting["flagged"]["implausible_time"] == 3


def test_another_time_of_that_day_is_a_time(tmp_path):
    other = encounter(period={"start": "1970-01-01T00:00:01Z", "end": "1970-01-01T23:00:00Z"})
    later = [encounter(id=f"e{n}") for n in range(2, 5)]
    result = ingest_lines(tmp_path, *later, other, observation(effectiveDateTime="1970-01-01T09:00:00Z"))
    assert not result.total("quarantined")
    assert len(result.of("admission")) == 4


def test_records_of_1970_have_events_at_its_beginning(tmp_path):
    period = {"start": "1970-01-01", "end": "1970-01-09"}
    years = [encounter(id=f"e{year}", period={"start": f"{year}-05-06"}) for year in (1968, 1969, 1971, 2019)]
    result = ingest_lines(tmp_path, encounter(period=period), *years)
    assert not result.total("quarantined")
    assert len(result.of("admission")) == 5


# After the export


def test_nothing_happens_after_the_export_b44(tmp_path):
    late = observation(id="late", effectiveDateTime="2021-08-01T10:00:00Z")
    open_stay = encounter(period={"start": START, "end": "2022-01-01"})
    result = export_of(tmp_path, late, observation(), open_stay, exported=EXPORTED)
    assert result.total("quarantined") == {"B44 implausible_time": 1}
    assert not result.of("discharge")
    without = ingest_lines(tmp_path / "export", late, open_stay)
    assert len(without.of("observation")) == len(without.of("discharge")) == 1


def test_an_encounter_after_the_export_is_quarantined_and_nobodys(tmp_path):
    late = encounter(period={"start": "2022-01-01T08:00:00Z"})
    result = export_of(tmp_path, late, encounter(id="e0"), observation(**AT), exported=EXPORTED)
    assert result.total("quarantined") == {"B44 implausible_time": 1}
    assert result.one("observation")["encounter_id"] is None


@pytest.mark.parametrize("exported", [None, EXPORTED])
def test_an_export_with_shifted_dates_keeps_them_b44(tmp_path, exported):
    people = [patient(id=f"p{i}", birthDate=f"21{10 + i}-03-04") for i in range(3)]
    visits = [
        encounter(
            id=f"v{i}",
            subject={"reference": f"Patient/p{i}"},
            period={"start": f"218{i}-01-01T08:00:00-05:00", "end": f"218{i}-01-04T08:00:00-05:00"},
        )
        for i in range(3)
    ]
    far = encounter(
        id="far", subject=visits[0]["subject"], period={"start": "2180-02-01", "end": "9999-12-31"}
    )
    result = export_of(tmp_path, *people, *visits, far, exported=exported)
    assert not result.total("quarantined")
    assert len(result.of("birth")) == 4
    assert sorted(e["time"].year for e in result.of("discharge")) == [2180, 2181, 2182]
    assert result.writer.follow_up is None


# Within a life


def test_events_before_birth_are_prenatal_or_quarantined_b46(tmp_path):
    born = patient(birthDate="2020-01-10")
    lines = [
        observation(
            id=str(days), subject={"reference": "Patient/bo"}, effectiveDateTime=when.isoformat() + "Z"
        )
        for days in (1, 279, 281, 4000)
        for when in [datetime(2020, 1, 10, 10) - timedelta(days=days)]
    ]
    result = ingest_lines(tmp_path, born, *lines)
    assert result.total("quarantined") == {"B46 before_birth": 2}
    assert result.accounting["flagged"]["prenatal"] == 2


def test_a_birth_after_most_encounters_is_what_is_wrong_b46(tmp_path):
    born = patient(birthDate="2024-01-10")
    stays = [
        encounter(
            id=f"e{i}", subject={"reference": "Patient/bo"}, period={"start": f"2019-0{i}-01", "end": None}
        )
        for i in (1, 2, 3)
    ]
    result = ingest_lines(tmp_path, born, *stays)
    assert not of_bo(result, "birth")
    assert len(of_bo(result, "admission")) == 3
    assert result.accounting["flagged"]["birth_implausible"] == 1


def test_a_newborn_of_another_zone_is_not_born_after_its_stay(tmp_path):
    born = patient(birthDate="2020-02-02")
    stay = encounter(
        subject={"reference": "Patient/bo"},
        period={"start": "2020-02-02T01:00:00+11:00", "end": "2020-02-04T01:00:00+11:00"},
    )
    result = ingest_lines(tmp_path, born, stay)
    assert of_bo(result, "birth")[0]["time"] == of_bo(result, "admission")[0]["time"]
    assert "prenatal" not in result.accounting["flagged"]


def test_events_after_death_are_flagged_by_how_long_b47(tmp_path):
    dead = patient(birthDate="1950-01-10", deceasedDateTime="2020-01-10T10:00:00Z")
    lines = [
        observation(
            id=str(days), subject={"reference": "Patient/bo"}, effectiveDateTime=when.isoformat() + "Z"
        )
        for days in (-1, 1, 59, 61)
        for when in [datetime(2020, 1, 10, 10) + timedelta(days=days)]
    ]
    flagged = ingest_lines(tmp_path, dead, *lines).accounting["flagged"]
    assert (flagged["after_death"], flagged["long_after_death"]) == (2, 1)


def test_an_age_over_120_is_flagged_b49(tmp_path):
    old = observation(subject={"reference": "Patient/bo"})
    result = ingest_lines(
        tmp_path, patient(birthDate="1900-01-02"), old | {"effectiveDateTime": "2020-01-05"}
    )
    assert result.accounting["flagged"]["age_over_120"] == 1
    young = ingest_lines(tmp_path, patient(birthDate="1901-01-02"), old)
    assert "age_over_120" not in young.accounting["flagged"]


def test_a_death_before_birth_is_a_death_at_an_unknown_time(tmp_path):
    result = ingest_lines(tmp_path, patient(birthDate="1990-01-10", deceasedDateTime="1980"))
    assert result.one("death")["time"] is None
    assert result.accounting["flagged"]["death_before_birth"] == 1


def test_stays_that_overlap_are_counted_b50(tmp_path):
    second = encounter(id="e2", period={"start": "2020-01-04T08:00:00Z", "end": "2020-01-09T08:00:00Z"})
    third = encounter(id="e3", period={"start": "2020-01-09T08:00:00Z", "end": "2020-01-10T08:00:00Z"})
    assert ingest_lines(tmp_path, encounter(), second, third).accounting["flagged"]["stays_overlap"] == 1


@pytest.mark.parametrize(("day", "flagged"), [("2019-12-26", 0), ("2019-12-20", 1), ("2021-01-02", 1)])
def test_an_event_over_a_week_outside_its_encounter_is_flagged_b55(tmp_path, day, flagged):
    at = f"{day}T10:00:00Z"
    lines = [
        observation(**AT, effectiveDateTime=at),
        resource("Procedure", **AT, performedDateTime=at),
        resource("MedicationRequest", **AT, authoredOn=at),
    ]
    result = ingest_lines(tmp_path, encounter(), *lines)
    assert result.accounting["flagged"].get("outside_encounter", 0) == 3 * flagged
    assert result.one("observation")["encounter_id"] == "e1"


# Deaths


@pytest.mark.parametrize(
    ("written", "first", "last"),
    [
        ("2020-03-04", datetime(2020, 3, 4), datetime(2020, 3, 5)),
        ("2020-03", datetime(2020, 3, 1), datetime(2020, 4, 1)),
        ("2020", datetime(2020, 1, 1), datetime(2021, 1, 1)),
        ("2020-03-04T00:00:00Z", datetime(2020, 3, 4), datetime(2020, 3, 5)),
        ("2020-03-04T00:00:00.000-05:00", datetime(2020, 3, 4, 5), datetime(2020, 3, 5, 5)),
        ("2020-03-04 00:00", datetime(2020, 3, 4), datetime(2020, 3, 5)),
    ],
)
def test_an_inexact_death_is_an_interval_b39_b48(tmp_path, written, first, last):
    event = ingest_lines(tmp_path, patient(deceasedDateTime=written)).one("death")
    assert (event["earliest_time"], event["time"]) == (first, last - timedelta(microseconds=1))
    assert event["earliest_available_time"] == event["earliest_time"]


def test_an_exact_death_is_no_interval(tmp_path):
    event = ingest_lines(tmp_path, patient(deceasedDateTime="2020-03-04T00:00:01Z")).one("death")
    assert (event["earliest_time"], event["time"]) == (None, datetime(2020, 3, 4, 0, 0, 1))


def test_a_date_of_death_covers_the_day_in_the_zones_of_the_encounters(tmp_path):
    stay = encounter(
        subject={"reference": "Patient/bo"},
        period={"start": "2020-03-01T09:00:00+11:00", "end": "2020-03-05T08:00:00+11:00"},
    )
    for zone in ("UTC", "America/New_York", "Australia/Sydney"):
        result = ingest_lines(tmp_path, patient(deceasedDateTime="2020-03-05"), stay, time_zone=zone)
        death, discharge = result.one("death"), of_bo(result, "discharge")[0]
        assert death["earliest_time"] < discharge["time"] < death["time"]


def test_the_winter_time_of_the_site_is_no_zone_of_its_own_in_summer(tmp_path):
    stay = encounter(
        subject={"reference": "Patient/bo"},
        period={"start": "2020-03-01T09:00:00+01:00", "end": "2020-03-05T08:00:00+01:00"},
    )
    death = ingest_lines(tmp_path, patient(deceasedDateTime="2020-04-04"), stay, time_zone="Europe/Berlin")
    assert death.one("death")["earliest_time"] == datetime(2020, 4, 3, 22)
    assert death.one("death")["time"] == datetime(2020, 4, 4, 21, 59, 59, 999999)


@pytest.mark.parametrize(
    "fields",
    [
        {"_deceasedDateTime": {"extension": [{"url": "absent", "valueCode": "masked"}]}},
        {"deceasedBoolean": True},
        {"deceasedDateTime": "", "deceasedBoolean": True},
        {"deceasedDateTime": "unknown"},
    ],
)
def test_dead_without_a_date_is_a_death_without_a_time(tmp_path, fields):
    assert ingest_lines(tmp_path, patient(**fields)).one("death")["time"] is None


def test_a_patient_said_to_live_is_evidence_for_labels_only(tmp_path):
    result = ingest_lines(tmp_path, patient(deceasedBoolean=False))
    assert not result.of("death")
    event = result.one("outcome")
    assert (event["code"], event["time"]) == ("VITAL_STATUS//ALIVE", None)
    assert not ingest_lines(tmp_path, patient()).of("outcome")


# Intervals of encounters and findings


def test_partial_ends_of_an_encounter_are_intervals(tmp_path):
    result = ingest_lines(tmp_path, encounter(period={"start": "2020-01-01", "end": "2020-02"}))
    admission, discharge = result.one("admission"), result.one("discharge")
    assert (admission["earliest_time"], admission["time"].day) == (datetime(2020, 1, 1), 1)
    assert (discharge["earliest_time"], discharge["time"].day) == (datetime(2020, 2, 1), 29)


@pytest.mark.parametrize(
    ("onset", "recorded", "earliest"),
    [
        ("2019", "2020", (datetime(2019, 1, 1), datetime(2020, 1, 1))),
        ("2019", "2020-06-05T10:00:00Z", (datetime(2019, 1, 1), None)),
        ("2019-01-01T10:00:00Z", "2020-06", (None, datetime(2020, 6, 1))),
        (None, "2020-06", (datetime(2020, 6, 1), datetime(2020, 6, 1))),
        ("2019-01-01T10:00:00Z", "2020-06-05T10:00:00Z", (None, None)),
    ],
)
def test_an_inexact_finding_keeps_its_first_instants(tmp_path, onset, recorded, earliest):
    fields = {"onsetDateTime": onset} if onset else {}
    event = ingest_lines(tmp_path, resource("Condition", **fields, recordedDate=recorded)).one("diagnosis")
    assert (event["earliest_time"], event["earliest_available_time"]) == earliest


# Anything

texts = st.one_of(
    st.sampled_from([*NEVER, "2020", "2020-01", "2020-01-02", START, "soon", "", "03/04/2024", "1704103200"]),
    st.datetimes().map(datetime.isoformat),
    st.dates().map(lambda day: day.isoformat()),
    st.text("0123456789-:TZ+. /", max_size=25),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(texts, min_size=9, max_size=9))
def test_no_times_in_any_form_crash_the_reading(tmp_path, times):
    lines = [
        patient(birthDate=times[0], deceasedDateTime=times[1]),
        encounter(subject={"reference": "Patient/bo"}, period={"start": times[2], "end": times[3]}),
        observation(**AT, subject={"reference": "Patient/bo"}, effectiveDateTime=times[4], issued=times[5]),
        resource("Condition", **AT, onsetDateTime=times[6], recordedDate=times[7]),
        resource("Procedure", performedDateTime=times[8]),
    ]
    result = ingest_lines(tmp_path, *lines)
    for event in result.events:
        for name in ("time", "available_time", "earliest_time", "earliest_available_time"):
            assert event[name] is None or 1899 < event[name].year < 2263
        if event["earliest_time"] and event["event_type"] != "birth":
            assert event["earliest_time"] <= event["time"]


def test_one_far_future_event_does_not_move_the_end_of_follow_up(tmp_path):
    far = observation(effectiveDateTime="9999-12-31T23:59:59-08:00")
    ingest_lines(tmp_path, *(observation(id=str(i)) for i in range(2000)), far)
    with DatasetWriter(tmp_path / "out", source="fhir") as writer:
        fhir.read(tmp_path / "export", writer)
    dataset = Dataset.open(tmp_path / "out")
    (events,) = (dataset.read_shard(shard) for shard in dataset.shards())
    assert pc.max(events["time"]).as_py().year == 2020


def test_the_time_of_the_export_ends_the_follow_up(tmp_path):
    assert export_of(tmp_path, observation(), exported=EXPORTED).writer.follow_up.time.year == 2021
