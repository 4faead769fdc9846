"""Encounters as other releases of FHIR write them: R5, STU3 and DSTU2."""

import pytest

from chartscan.site import Vocabulary
from fhir_export import concept, encounter, ingest_lines, resource

ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
HERE = "http://here.example/class"
PERIOD = {"start": "2020-01-01T08:00:00Z", "end": "2020-01-05T12:00:00Z"}
HOW = {"dischargeDisposition": concept("exp", "http://terminology.hl7.org/CodeSystem/discharge-disposition")}


def r5(**fields):
    default = {"status": "completed", "period": None, "actualPeriod": PERIOD, "admission": HOW}
    return encounter(**default | {"class": [concept("IMP", ACT_CODE)]} | fields)


def class_words(result):
    return result.writer.accounting.recognition.as_dict()["class"]


def test_an_encounter_of_r5_is_read_as_one_of_r4(tmp_path):
    r4 = encounter(hospitalization=HOW, **{"class": {"code": "IMP", "system": ACT_CODE}})
    older = ingest_lines(tmp_path, r4)
    newer = ingest_lines(tmp_path, r5())
    assert newer.events == older.events
    assert newer.one("discharge")["code"] == "HOSPITAL_DISCHARGE//EXPIRED"
    assert class_words(newer) == class_words(older)


@pytest.mark.parametrize(
    ("written", "name", "how"),
    [
        ([concept("IMP", ACT_CODE)], "IMP", "recognised"),
        ([concept("3", HERE), concept("IMP", ACT_CODE)], "IMP", "recognised"),
        ([{"coding": [{"code": "3", "system": HERE}], "text": "Inpatient"}], "IMP", "recognised"),
        ([{"text": "Inpatient"}], "IMP", "recognised"),
        (concept("IMP", ACT_CODE), "IMP", "recognised"),
        ("inpatient", "IMP", "recognised"),
        ("daytime", "AMB", "recognised"),
        ([concept("3", HERE)], "3", "unknown"),
        ([concept("7", HERE), concept("AMB", ACT_CODE)], "IMP", "mapped"),
        ([concept("IMP", ACT_CODE), concept("AMB", ACT_CODE)], "UNRECOGNISED", "unknown"),
        ([concept("IMP", ACT_CODE), concept("ACUTE", ACT_CODE)], "IMP", "recognised"),
        ([], "UNKNOWN", "unknown"),
        ([{}], "UNKNOWN", "unknown"),
        ("", "UNKNOWN", "unknown"),
    ],
)
def test_a_class_is_read_in_every_form(tmp_path, written, name, how):
    site = Vocabulary(class_={"7": "stay"})
    result = ingest_lines(tmp_path, r5(**{"class": written}), vocabulary=site)
    (start,) = [e for e in result.events if e["event_type"] in ("admission", "visit_start")]
    assert start["code"].split("//")[1] == name
    assert start["event_type"] == ("admission" if name == "IMP" else "visit_start")
    assert class_words(result)[how] == 1


@pytest.mark.parametrize(
    ("status", "filtered"),
    [
        ("Cancelled", {"status cancelled": 1}),
        ("ENTERED_IN_ERROR", {"status entered-in-error": 1}),
        ("discharged", {}),
    ],
)
def test_a_status_is_read_however_it_is_spelled(tmp_path, status, filtered):
    assert ingest_lines(tmp_path, r5(status=status)).total("filtered") == filtered


def test_diagnoses_procedures_and_drugs_of_r5_are_read(tmp_path):
    link = [{"condition": [{"reference": {"reference": "Condition/c1"}}]}]
    lines = [
        r5(diagnosis=link),
        resource("Condition", code=concept("I10"), recordedDate="2020-01-02T10:00:00Z") | {"id": "c1"},
        resource("Procedure", code=concept("1"), occurrenceDateTime="2020-01-03T10:00:00Z"),
        resource(
            "MedicationRequest",
            medication={"concept": concept("2", "http://www.whocc.no/atc")},
            authoredOn="2020-01-03T10:00:00Z",
        ),
    ]
    result = ingest_lines(tmp_path, *lines)
    assert result.one("diagnosis")["encounter_id"] == "e1"
    assert result.one("procedure")["time"].day == 3
    assert result.one("medication_request")["code"] == "ATC//2"


DISPOSITIONS = "http://terminology.hl7.org/CodeSystem/discharge-disposition"
HOME = {"dischargeDisposition": concept("home", DISPOSITIONS)}


@pytest.mark.parametrize(
    ("r4_part", "r5_part", "name"),
    [
        ({}, HOW, "EXPIRED"),
        ({"dischargeDisposition": {}}, HOW, "EXPIRED"),
        ({"dischargeDisposition": {"text": ""}}, HOW, "EXPIRED"),
        ({"admitSource": concept("gp")}, HOW, "EXPIRED"),
        (HOW, {}, "EXPIRED"),
        (HOW, HOW, "EXPIRED"),
        (HOME, HOW, "CONFLICTING"),
        (HOW, HOME, "CONFLICTING"),
        ({"dischargeDisposition": {"text": "died"}}, HOME, "CONFLICTING"),
        (HOME, {"dischargeDisposition": {"text": "died"}}, "CONFLICTING"),
        ({"dischargeDisposition": {"text": "died"}}, {}, "EXPIRED"),
        (HOME, {}, "HOME"),
    ],
)
def test_what_r4_and_r5_say_of_the_end_of_a_stay_is_evidence_together(tmp_path, r4_part, r5_part, name):
    line = r5(hospitalization=r4_part, admission=r5_part, period={})
    result = ingest_lines(tmp_path, line)
    assert result.one("discharge")["code"] == f"HOSPITAL_DISCHARGE//{name}"
    assert result.one("admission")["code"].endswith("//GP") == ("admitSource" in r4_part)


def test_a_disposition_that_is_a_coding_is_read(tmp_path):
    how = {"dischargeDisposition": {"code": "exp", "system": DISPOSITIONS}}
    for line in (r5(admission=how), r5(hospitalization=how, admission={"dischargeDisposition": {}})):
        assert ingest_lines(tmp_path, line).one("discharge")["code"] == "HOSPITAL_DISCHARGE//EXPIRED"


PATIENT, VISIT = {"reference": "Patient/ana"}, {"reference": "Encounter/e1"}


@pytest.mark.parametrize(
    "older",
    [
        {"patient": PATIENT, "encounter": VISIT, "dateRecorded": "2020-01-02T10:00:00Z"},  # DSTU2
        {"subject": PATIENT, "context": VISIT, "assertedDate": "2020-01-02T10:00:00Z"},  # STU3
    ],
)
def test_encounters_and_diagnoses_of_older_releases_are_read_as_those_of_r4(tmp_path, older):
    diagnosis = {"resourceType": "Condition", "id": "c1", "code": concept("I10")}
    r4 = {"subject": PATIENT, "encounter": VISIT, "recordedDate": "2020-01-02T10:00:00Z"}
    stay = encounter(hospitalization=HOW)
    same = {key: value for key, value in stay.items() if key != "subject"} | {"class": "inpatient"}
    whose = {key: older[key] for key in ("patient", "subject") if key in older}
    expected = ingest_lines(tmp_path, stay, diagnosis | r4)
    result = ingest_lines(tmp_path, same | whose, diagnosis | older)
    assert result.events == expected.events
    assert not result.total("quarantined")
    assert result.one("diagnosis")["encounter_id"] == "e1"


def test_a_diagnosis_that_r5_names_in_the_encounter_alone_is_evidence_for_labels(tmp_path):
    named = [{"condition": [{"concept": concept("I10", "http://hl7.org/fhir/sid/icd-10")}]}]
    for line in (r5(diagnosis=named, admission={}), r5(diagnosis=named[0], admission={}), r5(admission={})):
        result = ingest_lines(tmp_path, line)
        found = [(e["code"], e["time"], e["encounter_id"]) for e in result.of("outcome")]
        assert found == [("UNDATED_DIAGNOSIS//ICD10//I10", None, "e1")] * (line.get("diagnosis") == named)
        assert not result.of("diagnosis")
