"""When a record became known, and who is dead: the rules that keep the future out of the input."""

from datetime import datetime, timedelta

import pytest

from chartscan.cohort import record_from_events
from chartscan.find import find
from fhir_export import LOINC, SNOMED, concept, encounter, ingest_lines, observation, resource

AT = {"encounter": {"reference": "Encounter/e1"}}
END_OF_STAY = datetime(2020, 1, 5, 12)
DRAWN = datetime(2020, 1, 1, 10)
LABORATORY = [concept("laboratory", "http://terminology.hl7.org/CodeSystem/observation-category")]
MIMIC = "http://mimic.mit.edu/fhir/mimic/CodeSystem/"
PCS = concept("0W9G3ZZ", "http://www.cms.gov/Medicare/Coding/ICD10")
DAY_LONG = {"start": "2020-01-01T10:00:00Z", "end": "2020-01-02T10:00:00Z"}
BO = {"resourceType": "Patient", "id": "bo"}
EXPIRED = {
    "subject": {"reference": "Patient/bo"},
    "hospitalization": {"dischargeDisposition": concept("exp", "http://here.org/where")},
}


def hours_until_known(tmp_path, line, **settings):
    """Hours from the draw of the only observation until it was known, and how often that was assumed."""
    result = ingest_lines(tmp_path, encounter(), line, **settings)
    (event,) = [e for e in result.events if e["event_type"] in ("lab", "vital", "observation")]
    hours = (event["available_time"] - DRAWN) / timedelta(hours=1)
    return hours, result.accounting["flagged"].get("availability_assumed", 0)


@pytest.mark.parametrize(
    ("fields", "hours"),
    [
        ({"category": LABORATORY}, 24),
        ({"category": LABORATORY, "code": concept("1", MIMIC + "mimic-microbiology-test")}, 168),
        ({"code": concept("1", MIMIC + "mimic-microbiology-organism")}, 168),
        ({"code": concept("1", MIMIC + "mimic-microbiology-antibiotic")}, 168),
        ({"category": [concept("vital-signs", "x")]}, 0),
        ({"category": [concept("survey", "x")]}, 0),
        ({}, 0),
        ({"effectiveDateTime": None, "effectivePeriod": DAY_LONG}, 24),
        ({"effectiveDateTime": None, "effectivePeriod": DAY_LONG, "category": LABORATORY}, 48),
    ],
)
def test_a_result_that_was_never_issued_is_known_late_and_flagged(tmp_path, fields, hours):
    assert hours_until_known(tmp_path, observation(**fields)) == (hours, 1)
    assert hours_until_known(tmp_path, observation(**fields, issued="2020-01-01T11:00:00Z")) == (1, 0)


def test_the_delays_of_results_are_settings(tmp_path):
    line = observation(category=LABORATORY)
    assert hours_until_known(tmp_path, line, default_result_delay_hours=6.5) == (6.5, 1)
    assert hours_until_known(tmp_path, line, result_delay_hours={"LOINC": 3.0}) == (3, 1)


# Billed procedures and coding


@pytest.mark.parametrize(
    ("performed", "time"),
    [
        ("2020-01-02T00:00:00-05:00", datetime(2020, 1, 3, 4, 59, 59, 999999)),
        ("2020-01-02T00:00:00.000Z", datetime(2020, 1, 2, 23, 59, 59, 999999)),
        ("2020-01-05T00:00:00Z", END_OF_STAY),
        ("2020-01-02", datetime(2020, 1, 2, 23, 59, 59, 999999)),
        ("2020-01-02T09:30:00Z", datetime(2020, 1, 2, 9, 30)),
    ],
)
def test_a_billed_procedure_is_known_at_discharge_and_midnight_is_a_date(tmp_path, performed, time):
    line = resource("Procedure", **AT, code=PCS, performedDateTime=performed)
    event = ingest_lines(tmp_path, encounter(), line).one("procedure")
    assert (event["time"], event["available_time"]) == (time, END_OF_STAY)


def test_a_charted_procedure_is_known_when_done_and_midnight_is_midnight(tmp_path):
    charted = concept("80146002", SNOMED)
    line = resource("Procedure", **AT, code=charted, performedDateTime="2020-01-02T00:00:00Z")
    event = ingest_lines(tmp_path, encounter(), line).one("procedure")
    assert event["time"] == event["available_time"] == datetime(2020, 1, 2)
    billed = ingest_lines(tmp_path, encounter(), line, billing_systems=("SNOMED",)).one("procedure")
    assert billed["available_time"] == END_OF_STAY


def test_a_billed_procedure_without_an_encounter_is_flagged(tmp_path):
    line = resource("Procedure", code=PCS, performedDateTime="2020-01-02T09:30:00Z")
    result = ingest_lines(tmp_path, line)
    assert result.one("procedure")["available_time"] == datetime(2020, 1, 2, 9, 30)
    assert result.accounting["flagged"]["availability_assumed"] == 1


def test_the_coding_lag_delays_what_has_no_record_date(tmp_path):
    lines = [
        encounter(),
        resource("Condition", **AT),
        resource("Condition", **AT, recordedDate="2020-01-03T10:00:00Z") | {"id": "x2"},
        resource("Procedure", **AT, code=PCS, performedDateTime="2020-01-02T09:30:00Z"),
        resource("AllergyIntolerance", **AT),
    ]
    result = ingest_lines(tmp_path, *lines, coding_lag_hours=72)
    coded = END_OF_STAY + timedelta(hours=72)
    assert [e["available_time"] for e in result.of("diagnosis")] == [coded, datetime(2020, 1, 3, 10)]
    assert result.one("procedure")["available_time"] == coded
    assert result.one("allergy")["available_time"] == END_OF_STAY


# Death


def labels_of(result, task):
    """Values of a task for the stays of bo, under a follow-up that reaches far beyond them."""
    import pyarrow as pa

    table = pa.concat_tables(result.writer.tables)
    own = table.filter(pa.compute.not_equal(table["subject_id"], result.one("static")["subject_id"]))
    rule = {"rule": "export_time", "time": "2030-01-01"}
    return [(o.value, o.reason) for o in find("tasks", task).label(record_from_events(own, rule))]


def test_a_death_nobody_dated_is_an_event_without_a_time_and_no_survival(tmp_path):
    home = {"hospitalization": {"dischargeDisposition": concept("home", "http://here.org/where")}}
    stay = encounter(**home, subject={"reference": "Patient/bo"})
    result = ingest_lines(tmp_path, BO | {"deceasedBoolean": True}, stay)
    assert (result.one("death")["time"], result.one("death")["available_time"]) == (None, None)
    assert result.accounting["flagged"]["death_without_date"] == 1
    assert labels_of(result, "mortality_30d") == [(None, "death without a time")]
    assert labels_of(ingest_lines(tmp_path, BO, stay), "mortality_30d") == [(False, "")]


def test_a_patient_said_to_be_neither_dead_nor_alive_died_in_the_expired_stay(tmp_path):
    result = ingest_lines(tmp_path, BO, encounter(**EXPIRED))
    assert result.one("death")["time"] == END_OF_STAY
    assert result.accounting["flagged"]["death_from_disposition"] == 1
    alive = ingest_lines(tmp_path, BO | {"deceasedBoolean": False}, encounter(**EXPIRED))
    assert not alive.of("death")
    assert alive.accounting["flagged"]["deadly_stay_of_a_living_patient"] == 1


def test_an_expired_stay_without_an_end_leaves_the_death_undated(tmp_path):
    stay = encounter(**EXPIRED, period={"start": "2020-01-01T08:00:00Z"})
    for patient in (BO, BO | {"deceasedBoolean": True}):
        assert ingest_lines(tmp_path, patient, stay).one("death")["time"] is None


HOME = {
    "subject": {"reference": "Patient/bo"},
    "hospitalization": {"dischargeDisposition": {"coding": [{"code": "home"}]}},
}
START = "2020-01-01T08:00:00Z"


@pytest.mark.parametrize(
    ("status", "end", "value"),
    [
        ("finished", None, False),
        ("in-progress", None, None),
        ("onleave", None, None),
        ("in-progress", "2099-01-01", None),
        ("finished", "9999-12-31", None),
    ],
)
def test_where_a_patient_is_meant_to_go_is_no_outcome_of_a_stay_that_goes_on(tmp_path, status, end, value):
    period = {"start": START} | ({"end": end} if end else {})
    result = ingest_lines(tmp_path, BO, encounter(**HOME, status=status, period=period))
    assert labels_of(result, "in_hospital_mortality")[0][0] is value


def test_a_death_in_a_stay_that_is_said_to_go_on_is_believed(tmp_path):
    stay = encounter(**EXPIRED, status="in-progress", period={"start": START})
    assert labels_of(ingest_lines(tmp_path, BO, stay), "in_hospital_mortality") == [(True, "")]


# Dispenses


def test_a_dispense_without_a_time_is_left_out_unless_the_site_keeps_them(tmp_path):
    where = {"context": {"reference": "Encounter/e1"}}
    line = resource("MedicationDispense", **where, medicationCodeableConcept=concept("1", LOINC))
    result = ingest_lines(tmp_path, encounter(), line)
    assert result.total("filtered") == {"undated": 1}
    kept = ingest_lines(tmp_path, encounter(), line, keep_undated_dispenses=True)
    assert kept.one("medication_dispense")["time"] == END_OF_STAY
    cancelled = ingest_lines(tmp_path, encounter(), line | {"status": "cancelled"})
    assert cancelled.total("filtered") == {"status cancelled": 1}


OF_BO = {"subject": {"reference": "Patient/bo"}}


@pytest.mark.parametrize(
    "times",
    [
        {"onsetDateTime": "2020"},
        {"onsetDateTime": "2020-01"},
        {"onsetDateTime": "2020-01-05"},
        {"onsetDateTime": "2020-01", "recordedDate": "soon"},
        {"onsetPeriod": {"end": "2020-03-01T10:00:00Z"}},
        {"onsetPeriod": {"start": "2020-01", "end": "2020-03-01T10:00:00Z"}},
        {"onsetPeriod": {"end": "2020-03-01T10:00:00Z"}, "recordedDate": "2020-01-02T10:00:00Z"},
        {"onsetDateTime": "2020-03-01T10:00:00Z", "recordedDate": "2020-01-02T10:00:00Z"},
    ],
)
def test_an_onset_that_may_precede_the_discharge_is_no_new_onset(tmp_path, times):
    code = concept("I10", "http://hl7.org/fhir/sid/icd-10-cm")
    finding = resource("Condition", code=code, **OF_BO, **times)
    stay = encounter(**OF_BO)
    result = ingest_lines(tmp_path, BO, stay, finding)
    assert [value for value, _ in labels_of(result, "hypertension_1y")] == [None]
    later = ingest_lines(tmp_path, BO, stay, finding | {"recordedDate": "2020-03-02T10:00:00Z"})
    assert labels_of(later, "hypertension_1y")[0][0] is True


def where(code):
    return {"hospitalization": {"dischargeDisposition": {"coding": [{"code": code}]}}}


@pytest.mark.parametrize("said", [{}, {"deceasedBoolean": True}])
def test_a_death_made_from_a_disposition_is_no_proof_of_it_where_the_patient_comes_back(tmp_path, said):
    earlier = encounter(
        id="e0",
        **OF_BO,
        **where("home"),
        period={"start": "2019-12-10T08:00:00Z", "end": "2019-12-20T08:00:00Z"},
    )
    back = encounter(
        id="e2",
        **OF_BO,
        **where("home"),
        period={"start": "2020-02-15T08:00:00Z", "end": "2020-02-20T08:00:00Z"},
    )
    result = ingest_lines(tmp_path, BO | said, earlier, encounter(**OF_BO, **where("exp")), back)
    reason = "disposition says dead, the patient is admitted again later"
    died = labels_of(result, "in_hospital_mortality")
    assert (died[0], died[1], died[2][0]) == ((False, ""), (None, reason), None)
    assert labels_of(result, "mortality_30d")[:2] == [(None, reason), (None, reason)]


@pytest.mark.parametrize("end", ["2020-01-05T12:00:00Z", "2020-01-06T12:00:00Z"])
def test_a_death_made_from_a_disposition_is_no_proof_of_it_where_another_says_home(tmp_path, end):
    dead = encounter(**OF_BO, **where("exp"))
    for name in ("e0", "e2"):  # ids decide nothing
        home = encounter(id=name, **OF_BO, **where("home"), period={"start": START, "end": end})
        result = ingest_lines(tmp_path, BO, dead, home)
        assert labels_of(result, "in_hospital_mortality") == [(None, "dispositions contradict each other")]
    assert labels_of(ingest_lines(tmp_path, BO, dead), "in_hospital_mortality") == [(True, "")]


@pytest.mark.parametrize("death", ["2020-01-04T10:00:00Z", "2020-01-20", "2025-01-01", "soon"])
def test_who_is_said_to_be_dead_and_to_live_has_no_labels_about_death(tmp_path, death):
    told = BO | {"deceasedBoolean": False, "deceasedDateTime": death}
    result = ingest_lines(tmp_path, told, encounter(**OF_BO, **where("home")))
    assert result.accounting["flagged"]["dead_and_alive"] == 1
    reason = "the patient is said to be dead and to live"
    assert labels_of(result, "mortality_30d") == [(None, reason)]
    assert labels_of(result, "hypertension_1y") == [(None, reason)]
    died = labels_of(result, "in_hospital_mortality")
    assert died == [(None, reason)] if death.startswith("2020-01-04") else [(False, "")]
    dead = ingest_lines(tmp_path, told, encounter(**OF_BO, **where("exp")))
    assert labels_of(dead, "in_hospital_mortality") == [(None, reason)]
