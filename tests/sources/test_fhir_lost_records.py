"""Stays and diagnoses that cannot be used, or half: labels know that something is missing."""

import json
from datetime import datetime

import pyarrow as pa
import pytest

from chartscan.cohort import record_from_events
from chartscan.find import find
from chartscan.site import Vocabulary
from fhir_export import PATIENT, concept, encounter, ingest_lines, observation, resource

START, END = "2020-01-01T08:00:00Z", "2020-01-05T12:00:00Z"
ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"
AMB = {"code": "AMB", "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode"}


def lost(result):
    return [event["code"] for event in result.of("outcome")]


@pytest.mark.parametrize("bad", ["soon", "2020-02-30", "2020-01-01T25:00:00Z", "01.02.03"])
def test_a_time_of_an_encounter_that_cannot_be_read_is_null_and_flagged_where_the_other_can(tmp_path, bad):
    start = ingest_lines(tmp_path, encounter(period={"start": bad, "end": END}))
    assert not start.total("quarantined")
    assert start.one("discharge")["time"] == datetime(2020, 1, 5, 12)
    assert not start.of("admission")
    assert start.accounting["flagged"]["encounter_start_unreadable"] == 1
    end = ingest_lines(tmp_path, encounter(period={"start": START, "end": bad}))
    assert not end.total("quarantined")
    assert end.one("admission")["time"] == datetime(2020, 1, 1, 8)
    assert not end.of("discharge")
    assert end.accounting["flagged"]["encounter_end_unreadable"] == 1
    assert lost(start) == []
    assert [(event["code"], event["encounter_id"]) for event in end.of("outcome")] == [("LOST_STAY", "e1")]


@pytest.mark.parametrize(
    ("fields", "left", "traces"),
    [
        ({"period": {"start": "soon"}}, {"quarantined": {"B43 invalid_time": 1}}, ["LOST_STAY"]),
        ({"period": {"start": "soon", "end": "x"}}, {"quarantined": {"B43 invalid_time": 1}}, ["LOST_STAY"]),
        (
            {"period": {"start": "soon", "end": "9999-12-31"}},
            {"quarantined": {"B44 implausible_time": 1}},
            ["LOST_STAY"],
        ),
        (
            {"period": {"start": "1920-01-01", "end": "1920-01-03"}},
            {"quarantined": {"B46 before_birth": 1}},
            ["LOST_STAY"],
        ),
        ({"period": None}, {"filtered": {"undated": 1}}, ["LOST_STAY"]),
        (
            {"modifierExtension": [{"url": "urn:x"}]},
            {"quarantined": {"B38 modifier_extension": 1}},
            ["LOST_STAY"],
        ),
        ({"id": None}, {"quarantined": {"B23 missing_id": 1}}, ["LOST_STAY"]),
        ({"period": None, "class": {"code": "Q7"}}, {"filtered": {"undated": 1}}, ["LOST_STAY"]),
        ({"period": None, "class": AMB}, {"filtered": {"undated": 1}}, []),
        ({"period": None, "status": "cancelled"}, {"filtered": {"status cancelled": 1}}, []),
        ({"period": None, "partOf": {"reference": "Encounter/whole"}}, {"filtered": {"undated": 1}}, []),
        (
            {"period": None, "subject": {"reference": "Patient/none"}},
            {"quarantined": {"B28 unknown_patient": 1}},
            [],
        ),
    ],
)
def test_a_stay_that_cannot_be_used_leaves_a_trace_for_labels(tmp_path, fields, left, traces):
    line = {key: value for key, value in (encounter() | fields).items() if value is not None}
    # most encounters are after birth, so that the birth date stands
    whole = [encounter(id=name) for name in ("whole", "a", "b")]
    result = ingest_lines(tmp_path, *whole, line)
    assert {name: result.total(name) for name in left} == left
    assert lost(result) == traces
    assert all(event["time"] is None for event in result.of("outcome"))


def test_a_version_that_cannot_be_used_beside_one_that_can_leaves_no_trace(tmp_path):
    bad = encounter(period={"start": "soon"}) | {"meta": {"versionId": "2"}}
    for lines in ([encounter(), bad], [bad, encounter()]):
        result = ingest_lines(tmp_path, *lines)
        assert result.total("quarantined") == {"B43 invalid_time": 1}
        assert lost(result) == []


@pytest.mark.parametrize("before", [{"status": "cancelled"}, {"class": AMB}, {"class": {"code": "Q7"}}])
@pytest.mark.parametrize("stamps", [("1", "2"), (None, None)])
def test_a_stay_of_which_an_older_version_alone_can_be_used_leaves_a_trace(tmp_path, before, stamps):
    lines = [encounter(**before), encounter(period={"start": "soon", "end": "later"})]
    for line, stamp in zip(lines, stamps, strict=True):
        line["meta"] = {"versionId": stamp}
    assert lost(ingest_lines(tmp_path, *lines)) == ["LOST_STAY"]
    assert lost(ingest_lines(tmp_path, *reversed(lines))) == ["LOST_STAY"] * (stamps[0] is not None)
    lines[0]["meta"] = {"versionId": "3"}  # the other way round, what can be used is valid
    if stamps[1]:
        assert lost(ingest_lines(tmp_path, *lines)) == []


def condition(**fields):
    return resource("Condition", code=concept("I10", ICD10), **fields)


def test_a_time_of_a_diagnosis_that_cannot_be_read_is_null_and_flagged_where_the_other_can(tmp_path):
    for times in (
        {"recordedDate": "soon", "onsetDateTime": "2020-01-02T10:00:00Z"},
        {"recordedDate": "2020-01-02T10:00:00Z", "onsetDateTime": "soon"},
    ):
        result = ingest_lines(tmp_path, condition(**times))
        assert not result.total("quarantined")
        assert result.one("diagnosis")["time"] == datetime(2020, 1, 2, 10)
        assert result.accounting["flagged"]["unreadable_time"] == 1
        assert lost(result) == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"recordedDate": "soon"}, "B43 invalid_time"),
        ({"recordedDate": "9999-12-31"}, "B44 implausible_time"),
        ({"recordedDate": "2150-01-01"}, "B44 implausible_time"),
        ({"onsetDateTime": "1920-01-01"}, "B46 before_birth"),
        ({"recordedDate": "2020-01-01", "modifierExtension": [{"url": "urn:x"}]}, "B38 modifier_extension"),
    ],
)
def test_a_diagnosis_that_cannot_be_used_leaves_a_trace_for_labels(tmp_path, fields, reason):
    result = ingest_lines(tmp_path, *(encounter(id=name) for name in "ab"), condition(**fields))
    assert result.total("quarantined") == {reason: 1}
    assert not result.of("diagnosis")
    event = result.one("outcome")
    assert (event["code"], event["time"]) == ("UNDATED_DIAGNOSIS//UNVERIFIED//ICD10CM//I10", None)


def test_a_lost_diagnosis_of_a_known_encounter_names_it(tmp_path):
    line = condition(recordedDate="soon", encounter={"reference": "Encounter/e1"})
    result = ingest_lines(tmp_path, encounter(), line)
    assert result.one("outcome")["encounter_id"] == "e1"
    line["subject"] = {"reference": "Patient/bo"}
    other = ingest_lines(tmp_path, PATIENT | {"id": "bo"}, encounter(), line)
    assert other.one("outcome")["encounter_id"] is None


def doubled(line, key, value):
    return json.dumps(line).encode()[:-1] + f', "{key}": {json.dumps(value)}}}'.encode()


WHOLE = json.dumps(encounter()).encode()
BO = {"reference": "Patient/bo"}


@pytest.mark.parametrize(
    ("line", "stays"),
    [
        (encounter(**{"class": {"code": 4}}), 1),
        (encounter(**{"class": 4}), 1),
        (encounter(**{"class": [[]]}), 1),
        (encounter(period={"start": 2020}), 1),
        (encounter(period="2020"), 1),
        (encounter(period={"start": 2020}, **{"class": AMB}), 0),
        (encounter(period={"start": 2020}, status="cancelled"), 0),
        (encounter(period={"start": 2020}, status=7), 1),
        (encounter(identifier={}), 1),
        (encounter(id=4), 1),
        (encounter(subject="Patient/ana"), 1),
        (encounter(subject=[{"reference": "http://here.example/Patient/ana"}]), 1),
        (encounter(subject=7), 0),
        (encounter(period=4, subject={"reference": "Patient/nobody"}), 0),
        (doubled(encounter(), "status", "cancelled"), 1),
        (doubled(encounter(**{"class": {"code": "IMP"}}), "class", AMB), 1),
        (doubled(encounter(), "subject", BO), 2),
        (WHOLE[:-1], 1),
        (WHOLE[: WHOLE.index(b'"period"') + 20], 1),
        (WHOLE[: WHOLE.index(b"Patient/ana") + 9], 0),
        (WHOLE + b"x", 1),
        (WHOLE.replace(b'"finished"', b"finished"), 1),
        (WHOLE.replace(b"finished", b"\xfffinished"), 1),
        (WHOLE.replace(b'"reference"', b'"identifier": {"value": "7"}, "reference"')[:-1], 1),
        (json.dumps(observation(contained=[encounter()])).encode()[:-1], 0),
        (json.dumps(dict(reversed(encounter().items()))).encode() + b"}", 1),
        (json.dumps(encounter(language="\ud800")).encode(), 1),
        (json.dumps(dict(reversed(encounter(language="\ud800").items()))).encode(), 1),
        (b'{"resourceType": "Encounter"', 0),
        (WHOLE.replace(b"Patient/", b"Patient\\/")[:-1], 1),
        (WHOLE.replace(b'"resourceType": "Encounter", ', b"")[:-1], 1),  # the type stood at the end
        (json.dumps({"entry": [{"resource": encounter()}], "resourceType": "Bundle"}).encode()[:-1], 1),
        (json.dumps(observation(dataAbsentReason={"text": "x"})).encode()[31:], 0),
        (b"null", 0),
    ],
)
def test_a_line_of_a_stay_that_is_not_decoded_leaves_a_trace_for_labels(tmp_path, line, stays):
    for around in ([], [observation()]):  # what the decoder guesses
        result = ingest_lines(tmp_path, PATIENT | {"id": "bo"}, *around, line, *around)
        assert lost(result) == ["LOST_STAY"] * stays
        assert all(event["time"] is None for event in result.of("outcome"))
        assert result.total("quarantined").total() >= 1 - (line == b"null")


@pytest.mark.parametrize("line", [encounter(**{"class": {"code": 4}}), WHOLE[:-1]])
def test_a_line_that_is_not_decoded_beside_one_of_the_same_stay_leaves_no_trace(tmp_path, line):
    for lines in ([encounter(), line], [line, encounter()]):
        assert lost(ingest_lines(tmp_path, *lines)) == []


DIAGNOSIS = json.dumps(condition(recordedDate="2020-01-02")).encode()


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (condition(recordedDate=2020), "ICD10CM//I10"),
        (condition() | {"code": "I10"}, "NO-CODE//Condition"),
        (condition() | {"code": {"coding": [{"code": 10}]}}, "NO-CODE//Condition"),
        (doubled(condition(), "code", concept("J06", ICD10)), "NO-CODE//Condition"),
        (DIAGNOSIS[:-1], "NO-CODE//Condition"),
        (DIAGNOSIS.replace(b'"resourceType": "Condition", ', b"")[:-1], "NO-CODE//Condition"),
        (DIAGNOSIS.replace(b'"ana"', b"ana").replace(b'"I10"', b"I10"), "NO-CODE//Condition"),
    ],
)
def test_a_line_of_a_diagnosis_that_is_not_decoded_leaves_a_trace_for_labels(tmp_path, line, code):
    result = ingest_lines(tmp_path, line)
    assert lost(result) == [f"UNDATED_DIAGNOSIS//UNVERIFIED//{code}"]
    assert result.total("quarantined").total() == 1


def test_lost_results_leave_no_trace(tmp_path):
    assert not lost(ingest_lines(tmp_path, observation(effectiveDateTime="soon")))


@pytest.mark.parametrize(
    "period", [{"end": "soon"}, {}, {"end": "9999-12-31"}, {"end": "2020-01-02T08:00:00Z"}]
)
def test_an_encounter_of_unknown_class_without_an_end_leaves_labels_open_that_it_may_touch(tmp_path, period):
    stranger = encounter(id="x", period={"start": "2020-01-03T08:00:00Z"} | period) | {
        "class": {"code": "Q7"}
    }
    result = ingest_lines(tmp_path, encounter(), stranger)
    record = record_from_events(
        pa.concat_tables(result.writer.tables), {"rule": "export_time", "time": "2030-01-01"}
    )
    for task in ("long_stay_7d", "readmission_30d"):
        (outcome,) = find("tasks", task).label(record)
        assert (outcome.value, outcome.reason) == (
            None,
            "an encounter of unknown class may be part of the stay",
        )


@pytest.mark.parametrize(
    ("status", "value"), [("storniert", None), ("x y", None), ("finished", True), ("unknown", True)]
)
def test_an_encounter_with_a_status_that_is_not_understood_may_be_no_stay(tmp_path, status, value):
    back = encounter(
        id="x", status=status, period={"start": "2020-01-20T08:00:00Z", "end": "2020-01-22T08:00:00Z"}
    )
    result = ingest_lines(tmp_path, encounter(), back)
    record = record_from_events(
        pa.concat_tables(result.writer.tables), {"rule": "export_time", "time": "2030-01-01"}
    )
    outcomes = find("tasks", "readmission_30d").label(record)
    assert outcomes[0].value is value
    assert len(outcomes) == (1 if value is None else 2)
    assert result.accounting["flagged"].get("unknown_encounter_status", 0) == (value is None)
    counted = result.writer.accounting.recognition.as_dict()["encounter_status"]
    assert (counted["recognised"], counted["unknown"]) == ((1, 1) if value is None else (2, 0))
    visit = encounter(id="x", status=status) | {"class": AMB}
    assert not ingest_lines(tmp_path, visit).accounting["flagged"].get("unknown_encounter_status")


@pytest.mark.parametrize(
    ("meaning", "value", "asked"), [("finished", True, 2), ("cancelled", False, 1), ("in-progress", True, 2)]
)
def test_a_site_may_declare_what_a_status_of_an_encounter_means(tmp_path, meaning, value, asked):
    back = encounter(
        id="x", status="Storniert", period={"start": "2020-01-20T08:00:00Z", "end": "2020-01-22T08:00:00Z"}
    )
    site = Vocabulary(encounter_status={"storniert": meaning})
    result = ingest_lines(tmp_path, encounter(), back, vocabulary=site)
    record = record_from_events(
        pa.concat_tables(result.writer.tables), {"rule": "export_time", "time": "2030-01-01"}
    )
    outcomes = find("tasks", "readmission_30d").label(record)
    assert (len(outcomes), outcomes[0].value) == (asked, value)
    assert not result.accounting["flagged"].get("unknown_encounter_status")
    counted = result.writer.accounting.recognition.as_dict()["encounter_status"]
    assert counted["unknown"] == 0


def labels_of(result, task, follow_up="2030-01-01"):
    events = pa.concat_tables(result.writer.tables)
    record = record_from_events(events, {"rule": "export_time", "time": follow_up})
    return [outcome.value for outcome in find("tasks", task).label(record)]


HOME, DEAD = (
    {"dischargeDisposition": concept(how, "http://terminology.hl7.org/CodeSystem/discharge-disposition")}
    for how in ("home", "exp")
)
LATER = {"start": "2020-01-20T08:00:00Z", "end": "2020-01-20T12:00:00Z"}
EMER = {"class": {"code": "EMER"}}


@pytest.mark.parametrize(
    ("fields", "deaths", "value"),
    [
        (EMER, 1, True),
        (EMER | {"period": {"start": "soon"}}, 1, None),
        (EMER | {"period": {"start": "soon"}, "hospitalization": HOME}, 0, False),
        (EMER | {"period": {"start": "soon"}, "status": "cancelled"}, 0, False),
        (EMER | {"period": "soon"}, 1, None),
        (EMER | {"modifierExtension": [{"url": "urn:x"}]}, 1, None),
        (EMER | {"status": "storniert"}, 1, None),
        ({"status": "storniert"}, 1, None),
        ({"status": "storniert", "hospitalization": HOME}, 0, False),
    ],
)
def test_a_death_in_an_encounter_that_may_be_none_is_known_without_its_time(tmp_path, fields, deaths, value):
    stay = encounter(hospitalization=HOME)
    deadly = encounter(**{"id": "x", "period": LATER, "hospitalization": DEAD} | fields)
    for lines in ([stay, deadly], [deadly, stay]):
        result = ingest_lines(tmp_path, *lines)
        assert len(result.of("death")) == deaths
        assert labels_of(result, "mortality_30d")[0] is value


def test_a_death_that_is_told_elsewhere_is_not_told_again_by_a_line_that_cannot_be_used(tmp_path):
    bad = encounter(id="x", period={"start": "soon"}, hospitalization=DEAD) | EMER
    result = ingest_lines(tmp_path, encounter(hospitalization=DEAD), bad)
    assert result.one("death")["time"] == datetime(2020, 1, 5, 12)


def test_a_lost_stay_whose_status_is_not_understood_leaves_a_trace(tmp_path):
    result = ingest_lines(tmp_path, encounter(status="storniert", period={"start": "soon"}))
    assert lost(result) == ["LOST_STAY"]
