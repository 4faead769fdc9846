"""One rule of the FHIR source a test; names of cases (B..) are those of the catalogue of bad input."""

import re
from datetime import datetime

import pytest

from chartscan.errors import DataError
from chartscan.settings import with_settings
from chartscan.sources import fhir
from fhir_export import (
    LOINC,
    SNOMED,
    concept,
    encounter,
    ingest_lines,
    observation,
    resource,
    subject,
)

END_OF_STAY = datetime(2020, 1, 5, 12)
RATIO = {"numerator": {"value": 1}, "denominator": {"value": 80}}
RANGE = {"low": {"value": 3, "unit": "g"}, "high": {"value": 5}}
AT = {"encounter": {"reference": "Encounter/e1"}}


def quantity(value, **fields):
    return {"valueQuantity": {"value": value, "unit": "mg/dL"} | fields}


# Values


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (quantity(5.2), (5.2, None, "mg/dL", None)),
        (quantity(5, comparator=">="), (5.0, None, "mg/dL", ">=")),
        (quantity(5, unit=None, code="[degF]"), (5.0, None, "[degF]", None)),
        (quantity("5.5"), (5.5, None, "mg/dL", None)),
        (quantity(None), (None, None, "mg/dL", None)),
        ({"valueInteger": 3}, (3.0, None, None, None)),
        ({"valueBoolean": False}, (None, "false", None, None)),
        ({"valueString": ">100"}, (100.0, None, None, ">")),
        ({"valueString": "<0.01 "}, (0.01, None, None, "<")),
        ({"valueString": "≤ .5"}, (0.5, None, None, "<=")),
        ({"valueString": "7.4"}, (7.4, None, None, None)),
        ({"valueString": "NEG"}, (None, "NEG", None, None)),
        ({"valueString": "1:80"}, (None, "1:80", None, None)),
        ({"valueString": "3-5"}, (None, "3-5", None, None)),
        ({"valueString": "1_000"}, (None, "1_000", None, None)),
        ({"valueString": "nan"}, (None, "nan", None, None)),
        ({"valueCodeableConcept": concept("260385009", SNOMED)}, (None, "SNOMED//260385009", None, None)),
        ({"valueCodeableConcept": {"text": "Trace"}}, (None, "Trace", None, None)),
        ({"valueDateTime": "2020-01-01"}, (None, "2020-01-01", None, None)),
        (
            {"valueRatio": {"numerator": {"value": 1}, "denominator": {"value": 80}}},
            (None, "1:80", None, None),
        ),
        ({"valueRange": {"low": {"value": 3, "unit": "g"}, "high": {"value": 5}}}, (None, "3-5", "g", None)),
    ],
)
def test_every_kind_of_value_is_kept_b56_b59(tmp_path, fields, expected):
    event = ingest_lines(tmp_path, observation(**fields)).one("observation")
    found = event["numeric_value"], event["text_value"], event["unit"], event["comparator"]
    number = None if expected[0] is None else pytest.approx(expected[0], rel=1e-6)
    assert found == (number, *expected[1:])


@pytest.mark.parametrize("number", ["1e999", "-1e39", "1" * 5000])
def test_a_number_that_no_float_holds_is_null_and_flagged_b57(tmp_path, number):
    line = b'{"resourceType":"Observation","id":"o","subject":{"reference":"Patient/ana"},' + (
        b'"effectiveDateTime":"2020-01-01T10:00:00Z","valueQuantity":{"value":%b}}' % number.encode()
    )
    result = ingest_lines(tmp_path, line)
    assert result.one("observation")["numeric_value"] is None
    assert result.accounting["flagged"]["value_not_finite"] == 1


def test_an_observation_without_a_value_is_kept_and_flagged_b33(tmp_path):
    absent = {"dataAbsentReason": concept("unknown")}
    null = {"valueCodeableConcept": concept("NI", "http://terminology.hl7.org/CodeSystem/v3-NullFlavor")}
    result = ingest_lines(tmp_path, observation(**absent), observation(id="o2", **null))
    assert [(e["numeric_value"], e["text_value"]) for e in result.of("observation")] == [(None, None)] * 2
    assert result.accounting["flagged"]["no_value"] == 2


def test_components_stand_for_themselves_and_the_whole_only_with_a_value(tmp_path):
    parts = [{"code": concept("8480-6"), **quantity(120)}, {"code": concept("8462-4"), **quantity(80)}]
    alone = ingest_lines(tmp_path, observation(component=parts))
    assert [e["code"] for e in alone.of("observation")] == ["LOINC//8480-6", "LOINC//8462-4"]
    both = ingest_lines(tmp_path, observation(component=parts, valueString="raised"))
    assert [e["code"] for e in both.of("observation")] == ["LOINC//2345-7", "LOINC//8480-6", "LOINC//8462-4"]


def test_a_narrative_is_dropped_and_flagged(tmp_path):
    result = ingest_lines(tmp_path, observation(valueString="word " * 60))
    assert result.one("observation")["text_value"] is None
    assert result.accounting["flagged"]["text_too_long"] == 1


# Codes


@pytest.mark.parametrize(
    ("system", "code", "expected"),
    [
        (LOINC, " 2345-7 ", "LOINC//2345-7"),
        ("http://LOINC.org/", "2345-7", "LOINC//2345-7"),
        ("http://snomed.info/sct|http://snomed.info/sct/731000124108", "1", "SNOMED//1"),
        ("urn:oid:2.16.840.1.113883.6.1", "2345-7", "LOINC//2345-7"),
        ("urn:oid:1.2.3", "x", "1.2.3//x"),
        ("http://hl7.org/fhir/sid/icd-10-cm", "e11.9", "ICD10CM//E119"),
        ("http://mimic.mit.edu/fhir/mimic/CodeSystem/mimic-diagnosis-icd9", "4019", "ICD9CM//4019"),
        ("http://mimic.mit.edu/fhir/mimic/CodeSystem/mimic-procedure-icd10", "0W9G3ZZ", "ICD10PCS//0W9G3ZZ"),
        ("http://mimic.mit.edu/fhir/mimic/CodeSystem/mimic-d-labitems", "51277", "mimic-d-labitems//51277"),
        (None, "51277", "UNKNOWN-SYSTEM//51277"),
        (LOINC, "  ", "NO-CODE//Observation"),
    ],
)
def test_a_code_carries_its_system_b32(tmp_path, system, code, expected):
    assert (
        ingest_lines(tmp_path, observation(code=concept(code, system))).one("observation")["code"] == expected
    )


@pytest.mark.parametrize("system", [None, "http://terminology.hl7.org/CodeSystem/v3-NullFlavor"])
def test_what_is_odd_about_a_code_is_counted_every_time(tmp_path, system):
    lines = [observation(id=str(i), code=concept("UNK", system)) for i in range(3)]
    flag = "no_code" if system else "code_without_system"
    assert ingest_lines(tmp_path, *lines).accounting["flagged"][flag] == 3


def test_of_several_displays_of_a_code_the_first_in_the_order_of_text_is_kept(tmp_path):
    displays = ["Glucose, blood", "Blood sugar", "Glucose"]
    codings = [{"system": LOINC, "code": "2345-7", "display": text} for text in displays]
    lines = [observation(id=str(i), code={"coding": [c]}) for i, c in enumerate(codings)]
    for order in (lines, lines[::-1]):
        assert ingest_lines(tmp_path, *order).writer.codes == {"LOINC//2345-7": "Blood sugar"}


def test_of_several_codings_the_first_by_priority_is_taken_b32(tmp_path):
    codings = [
        {"system": "http://here.org/local", "code": "1"},
        {"system": SNOMED, "code": "2"},
        {"code": "3"},
        {"system": LOINC, "code": "4"},
    ]
    for order in (codings, codings[::-1]):
        event = ingest_lines(tmp_path, observation(code={"coding": order})).one("observation")
        assert event["code"] == "LOINC//4"
    chosen = ingest_lines(tmp_path, observation(code={"coding": codings}), coding_priority=("local",))
    assert chosen.one("observation")["code"] == "local//1"


def test_all_systems_that_would_share_a_name_are_told_at_once_with_the_setting_that_mends_it(tmp_path):
    urls = ["http://b.org/codes", "http://a.org/codes", "http://c.org/x/codes"]
    urls += ["http://a.org/MEDS_DEATH", "http://a.org/tests", "http://b.org/tests", "http://a.org/alone"]
    lines = [observation(id=str(i), code=concept("1", url)) for i, url in enumerate(urls)]
    with pytest.raises(DataError, match=r"3 names would each mean several code systems") as told:
        ingest_lines(tmp_path, *lines, systems={"http://d.org/y": "y"})
    for url in urls[:-1]:
        assert url.lower() in str(told.value)
    assert "alone" not in str(told.value)
    (setting,) = re.findall(r"--set '(systems=.*)'", str(told.value))
    config = with_settings(fhir.Config(), [setting])
    assert config.systems["http://d.org/y"] == "y"
    named = ingest_lines(tmp_path, *lines, systems=config.systems)
    systems = [e["code"].removesuffix("//1") for e in named.of("observation")]
    assert systems[:3] == ["b.org-codes", "codes", "c.org-codes"]
    assert systems[3:] == ["a.org-MEDS_DEATH", "tests", "b.org-tests", "alone"]


def test_text_becomes_a_code_only_where_the_site_asks_for_it_b33(tmp_path):
    line = observation(code={"text": "Blood  Sugar"})
    result = ingest_lines(tmp_path, line)
    assert result.one("observation")["code"] == "NO-CODE//Observation"
    assert result.accounting["flagged"]["no_code"] == 1
    asked = ingest_lines(tmp_path, line, keep_text_codes=True)
    assert asked.one("observation")["code"] == "TEXT//blood sugar"


# References


@pytest.mark.parametrize(
    "reference",
    [
        "Patient/ana",
        "https://server/fhir/Patient/ana",
        "Patient/ana/_history/2",
        "urn:uuid:ana",
        " Patient/ana ",
    ],
)
def test_every_way_of_referring_to_a_patient_is_one_subject_b27(tmp_path, reference):
    event = ingest_lines(tmp_path, observation(subject={"reference": reference})).one("observation")
    assert event["subject_id"] == subject("ana")


@pytest.mark.parametrize(
    ("reference", "outcome", "reason"),
    [
        (None, "quarantined", "B23 missing_subject"),
        ("#ana", "quarantined", "B23 missing_subject"),
        ("Patient?identifier=1", "quarantined", "B23 missing_subject"),
        ("Patient/nobody", "quarantined", "B28 unknown_patient"),
        ("Group/ana", "filtered", "subject is no patient"),
        ("Device/ana", "filtered", "subject is no patient"),
    ],
)
def test_an_event_of_nobody_is_not_used_b23_b28_b30(tmp_path, reference, outcome, reason):
    result = ingest_lines(tmp_path, observation(subject={"reference": reference}))
    assert result.total(outcome) == {reason: 1}
    assert not result.of("observation")


def test_missing_patients_can_be_allowed_b28(tmp_path):
    line = observation(subject={"reference": "Patient/nobody"})
    result = ingest_lines(tmp_path, line, observation(id="o2"), patient=False, allow_missing=True)
    assert {e["subject_id"] for e in result.of("observation")} == {subject("nobody"), subject("ana")}
    told = [row["patient_id"] for table in result.writer.subject_tables for row in table.to_pylist()]
    assert sorted(told) == ["ana", "nobody"]


def test_an_unknown_encounter_is_null_and_flagged_b28(tmp_path):
    result = ingest_lines(tmp_path, observation(encounter={"reference": "Encounter/none"}))
    assert result.one("observation")["encounter_id"] is None
    assert result.accounting["flagged"]["unknown_encounter"] == 1


def test_patient_and_encounter_of_one_id_stay_apart_b26(tmp_path):
    result = ingest_lines(
        tmp_path, encounter(id="ana"), observation(encounter={"reference": "Encounter/ana"})
    )
    assert result.one("observation")["encounter_id"] == "ana"
    assert result.one("birth")["subject_id"] == result.one("admission")["subject_id"]


# Times


def test_a_result_is_known_when_issued_and_never_before_it_happened_b54(tmp_path):
    late = observation(issued="2020-01-01T12:00:00Z")
    early = observation(id="o2", issued="2019-12-31T12:00:00Z")
    alone = observation(id="o3", effectiveDateTime=None, issued="2020-01-01T13:00:00Z")
    events = ingest_lines(tmp_path, late, early, alone).of("observation")
    assert [e["available_time"].hour for e in events] == [12, 10, 13]
    assert [e["time"].hour for e in events] == [10, 10, 13]


def test_a_diagnosis_without_a_record_date_is_known_at_discharge(tmp_path):
    for fields in ({}, {"onsetDateTime": "2019-12-31T10:00:00Z"}):
        event = ingest_lines(tmp_path, encounter(), resource("Condition", **AT, **fields)).one("diagnosis")
        assert event["available_time"] == END_OF_STAY
    assert event["time"] == datetime(2019, 12, 31, 10)


def test_a_recorded_diagnosis_is_known_when_recorded(tmp_path):
    line = resource("Condition", **AT, onsetDateTime="2020-01-02", recordedDate="2020-01-02T09:00:00Z")
    event = ingest_lines(tmp_path, encounter(), line).one("diagnosis")
    assert event["time"] == event["available_time"] == datetime(2020, 1, 2, 9)


def test_what_has_no_time_at_all_is_filtered(tmp_path):
    line = resource("Procedure", code=concept("1", SNOMED))
    result = ingest_lines(
        tmp_path, line, encounter(period={"start": "2020-01-01T08:00:00Z"}), line | AT | {"id": "2"}
    )
    assert result.total("filtered") == {"undated": 2}


@pytest.mark.parametrize(
    "fields", [{}, {"onsetAge": {"value": 50, "unit": "a"}}, {"onsetString": "as a child"}, AT]
)
def test_a_diagnosis_without_a_time_is_evidence_for_labels_alone(tmp_path, fields):
    still_open = encounter(period={"start": "2020-01-01T08:00:00Z"})
    line = resource("Condition", code=concept("I10", "ICD-10-CM"), **fields)
    result = ingest_lines(tmp_path, line, still_open)
    event = result.one("outcome")
    assert (event["code"], event["time"]) == ("UNDATED_DIAGNOSIS//ICD10CM//I10", None)
    assert event["encounter_id"] == ("e1" if fields is AT else None)
    assert result.accounting["flagged"]["diagnosis_without_time"] == 1


def test_a_procedure_dated_on_the_day_of_discharge_lies_within_the_stay(tmp_path):
    line = resource("Procedure", **AT, performedDateTime="2020-01-05")
    assert ingest_lines(tmp_path, encounter(), line).one("procedure")["time"] == END_OF_STAY
    line["performedDateTime"] = "2020-01-04"
    event = ingest_lines(tmp_path, encounter(), line).one("procedure")
    assert event["time"] == event["available_time"] == datetime(2020, 1, 4, 23, 59, 59, 999999)


def test_an_invalid_time_is_quarantined(tmp_path):
    result = ingest_lines(
        tmp_path, observation(effectiveDateTime="2020-02-30"), encounter(period={"start": "soon"})
    )
    assert result.total("quarantined") == {"B43 invalid_time": 2}


def test_a_time_without_offset_is_flagged_b40(tmp_path):
    result = ingest_lines(
        tmp_path, observation(effectiveDateTime="2020-01-01T10:00:00"), time_zone="Asia/Tokyo"
    )
    assert result.one("observation")["time"] == datetime(2020, 1, 1, 1)
    assert result.accounting["flagged"]["time_without_offset"] == 1


# Encounters


@pytest.mark.parametrize(
    ("fields", "codes"),
    [
        ({}, ["HOSPITAL_ADMISSION//IMP//UNKNOWN", "HOSPITAL_DISCHARGE//UNKNOWN"]),
        ({"class": {"code": "EMER"}}, ["ED_REGISTRATION", "ED_OUT"]),
        ({"class": {"code": "AMB"}}, ["ENCOUNTER_START//AMB", "ENCOUNTER_END//AMB"]),
        ({"class": None}, ["ENCOUNTER_START//UNKNOWN", "ENCOUNTER_END//UNKNOWN"]),
        (
            {"class": {"code": "OBSENC"}, "identifier": [{"system": "http://m/identifier/encounter-hosp"}]},
            ["HOSPITAL_ADMISSION//OBSENC//UNKNOWN", "HOSPITAL_DISCHARGE//UNKNOWN"],
        ),
        (
            {"class": {"code": "ACUTE"}, "identifier": [{"system": "http://m/identifier/encounter-icu"}]},
            ["ICU_ADMISSION//ACUTE", "ICU_DISCHARGE//UNKNOWN"],
        ),
        (
            {"hospitalization": {"admitSource": concept("emd"), "dischargeDisposition": concept("home")}},
            ["HOSPITAL_ADMISSION//IMP//EMD", "HOSPITAL_DISCHARGE//HOME"],
        ),
    ],
)
def test_an_encounter_opens_and_closes_by_its_kind(tmp_path, fields, codes):
    found = [e for e in ingest_lines(tmp_path, encounter(**fields)).events if e["encounter_id"]]
    assert [e["code"] for e in found] == codes
    assert [e["time"] for e in found] == [datetime(2020, 1, 1, 8), END_OF_STAY]
    types = ["admission", "discharge"] if codes[0].startswith("HOSPITAL") else ["visit_start", "visit_end"]
    assert [e["event_type"] for e in found] == types


@pytest.mark.parametrize(
    ("code", "system"), [("exp", LOINC), ("DIED", LOINC), ("20", "http://www.nubc.org/patient-discharge")]
)
def test_every_way_of_dying_in_hospital_is_expired(tmp_path, code, system):
    line = encounter(hospitalization={"dischargeDisposition": concept(code, system)})
    assert ingest_lines(tmp_path, line).one("discharge")["code"] == "HOSPITAL_DISCHARGE//EXPIRED"


def test_code_20_of_another_system_is_no_death(tmp_path):
    line = encounter(hospitalization={"dischargeDisposition": concept("20", "http://here.org/where")})
    assert ingest_lines(tmp_path, line).one("discharge")["code"] == "HOSPITAL_DISCHARGE//20"


def test_an_open_encounter_has_no_end_b52(tmp_path):
    result = ingest_lines(tmp_path, encounter(period={"start": "2020-01-01T08:00:00Z"}))
    assert not result.of("discharge")
    assert result.accounting["flagged"]["encounter_without_end"] == 1


def test_an_end_before_the_start_is_dropped_and_flagged_b45(tmp_path):
    result = ingest_lines(tmp_path, encounter(period={"start": "2020-01-02", "end": "2020-01-01"}))
    assert len(result.of("admission")) == 1
    assert not result.of("discharge")
    assert result.accounting["flagged"]["encounter_end_before_start"] == 1


def test_a_stay_within_a_stay_is_no_admission(tmp_path):
    ward = encounter(id="e2", partOf={"reference": "Encounter/e1"})
    result = ingest_lines(tmp_path, ward, encounter())
    assert result.one("admission")["encounter_id"] == "e1"
    assert result.one("visit_start")["encounter_id"] == "e2"


# Patients


def test_a_date_of_death_is_its_day_in_every_zone_that_the_patient_was_seen_in_b48(tmp_path):
    line = resource("Patient", id="bo", deceasedDateTime="2020-01-05")
    del line["subject"]
    assert ingest_lines(tmp_path, line).one("death")["time"] == datetime(2020, 1, 5, 23, 59, 59, 999999)
    night = encounter(
        subject={"reference": "Patient/bo"},
        period={"start": "2020-01-01T08:00:00-05:00", "end": "2020-01-05T22:00:00-05:00"},
        hospitalization={"dischargeDisposition": concept("exp")},
    )
    death = ingest_lines(tmp_path, line, night).one("death")
    assert death["time"] == datetime(2020, 1, 6, 4, 59, 59, 999999)
    assert death["earliest_time"] == datetime(2020, 1, 5)


def test_death_without_a_date_is_the_end_of_the_deadly_stay_b48(tmp_path):
    line = {"resourceType": "Patient", "id": "bo", "deceasedBoolean": True}
    stay = encounter(
        subject={"reference": "Patient/bo"}, hospitalization={"dischargeDisposition": concept("exp")}
    )
    result = ingest_lines(tmp_path, line, stay)
    assert result.one("death")["time"] == END_OF_STAY
    assert result.accounting["flagged"]["death_without_date"] == 1


def test_a_patient_without_birth_date_is_kept_and_flagged_b49(tmp_path):
    result = ingest_lines(tmp_path, {"resourceType": "Patient", "id": "bo", "gender": "male"})
    assert len(result.of("birth")) == 1  # ana's
    assert result.accounting["flagged"]["birth_unknown"] == 1


# Status

FILTERED = [
    ("Observation", {"status": "cancelled"}),
    ("Observation", {"status": "entered-in-error"}),
    ("Encounter", {"status": "planned"}),
    ("Encounter", {"status": "cancelled"}),
    ("Encounter", {"status": "entered-in-error"}),
    ("Condition", {"verificationStatus": concept("entered-in-error", "v")}),
    ("Condition", {"verificationStatus": concept("refuted", "v")}),
    ("AllergyIntolerance", {"verificationStatus": concept("refuted", "v")}),
    ("AllergyIntolerance", {"verificationStatus": concept("entered-in-error", "v")}),
    ("Procedure", {"status": "not-done"}),
    ("Procedure", {"status": "entered-in-error"}),
    ("Immunization", {"status": "not-done"}),
    ("Immunization", {"status": "entered-in-error"}),
    ("MedicationRequest", {"status": "cancelled"}),
    ("MedicationRequest", {"status": "entered-in-error"}),
    ("MedicationRequest", {"intent": "plan"}),
    ("MedicationRequest", {"intent": "proposal"}),
    ("MedicationRequest", {"doNotPerform": True}),
    ("MedicationAdministration", {"status": "not-done"}),
    ("MedicationAdministration", {"status": "entered-in-error"}),
    ("MedicationDispense", {"status": "cancelled"}),
    ("MedicationDispense", {"status": "declined"}),
    ("MedicationStatement", {"status": "not-taken"}),
    ("MedicationStatement", {"status": "intended"}),
]
TIMES = {
    "Observation": "effectiveDateTime",
    "Procedure": "performedDateTime",
    "Immunization": "occurrenceDateTime",
    "Condition": "recordedDate",
    "AllergyIntolerance": "recordedDate",
    "MedicationRequest": "authoredOn",
    "MedicationAdministration": "effectiveDateTime",
    "MedicationDispense": "whenHandedOver",
    "MedicationStatement": "dateAsserted",
}


@pytest.mark.parametrize(("kind", "fields"), FILTERED)
def test_what_did_not_happen_gives_no_event_b34_b35_b37(tmp_path, kind, fields):
    period = {"period": {"start": "2020-01-01T08:00:00Z"}} if kind == "Encounter" else {}
    time = {TIMES[kind]: "2020-01-01T10:00:00Z"} if kind in TIMES else {}
    happened = resource(kind, **period, **time)
    assert len(ingest_lines(tmp_path, happened).events) == 3  # beside ana's sex and birth
    result = ingest_lines(tmp_path, happened | fields)
    assert len(result.events) == 2
    assert sum(result.total("filtered").values()) == 1


def test_events_of_a_cancelled_encounter_lose_it(tmp_path):
    result = ingest_lines(tmp_path, encounter(status="cancelled"), observation(**AT))
    assert result.one("observation")["encounter_id"] is None


# Medications


def drug(drug_id, code=None, **fields):
    return {"resourceType": "Medication", "id": drug_id} | ({"code": concept(code)} if code else {}) | fields


def order(**fields):
    return resource("MedicationRequest", authoredOn="2020-01-01T10:00:00Z", **fields)


def test_a_drug_is_followed_by_reference_and_within_the_record(tmp_path):
    referred = order(medicationReference={"reference": "https://server/Medication/m1"})
    assert ingest_lines(tmp_path, referred, drug("m1", "1")).one("medication_request")["code"] == "LOINC//1"
    inside = order(medicationReference={"reference": "#m"}, contained=[drug("m", "2")])
    assert ingest_lines(tmp_path, inside).one("medication_request")["code"] == "LOINC//2"


def test_a_mixture_gives_one_event_for_each_ingredient(tmp_path):
    mixture = drug(
        "mix",
        ingredient=[
            {"itemReference": {"reference": "Medication/m1"}},
            {"itemCodeableConcept": concept("2")},
        ],
    )
    line = order(medicationReference={"reference": "Medication/mix"})
    events = ingest_lines(tmp_path, line, mixture, drug("m1", "1")).of("medication_request")
    assert sorted(e["code"] for e in events) == ["LOINC//1", "LOINC//2"]


def test_an_unknown_drug_is_kept_without_code_and_flagged(tmp_path):
    result = ingest_lines(tmp_path, order(medicationReference={"reference": "Medication/none"}))
    assert result.one("medication_request")["code"] == "NO-CODE//MedicationRequest"
    assert result.accounting["flagged"]["unknown_medication"] == 1


def test_a_statement_is_known_when_it_was_made(tmp_path):
    line = resource("MedicationStatement", effectiveDateTime="2019", dateAsserted="2020-01-01T10:00:00Z")
    event = ingest_lines(tmp_path, line).one("medication_statement")
    assert event["time"] == datetime(2019, 12, 31, 23, 59, 59, 999999)
    assert event["available_time"] == datetime(2020, 1, 1, 10)
