"""Several lines with one id: which of them counts, for every type of resource."""

import gzip
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chartscan.errors import DataError
from chartscan.sources import fhir
from chartscan.sources.fhir import versions as repeats_module
from chartscan.store.config import StoreConfig
from chartscan.store.dataset import Dataset
from chartscan.store.writer import DatasetWriter
from fhir_export import (
    PATIENT,
    Result,
    concept,
    encounter,
    ingest,
    ingest_lines,
    observation,
    resource,
    subject,
)

DAY = "2020-01-0{}T00:00:00Z"
WHEN = {
    "Observation": {"code": concept(), "effectiveDateTime": DAY.format(1), "issued": DAY.format(1)},
    "Condition": {"code": concept("E119"), "recordedDate": DAY.format(1)},
    "Procedure": {"code": concept("p"), "status": "completed", "performedDateTime": DAY.format(1)},
    "MedicationRequest": {
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": concept("m"),
        "authoredOn": DAY.format(1),
    },
    "MedicationAdministration": {
        "status": "completed",
        "medicationCodeableConcept": concept("m"),
        "effectiveDateTime": DAY.format(1),
    },
    "MedicationDispense": {
        "status": "completed",
        "medicationCodeableConcept": concept("m"),
        "whenHandedOver": DAY.format(1),
    },
    "MedicationStatement": {
        "status": "active",
        "medicationCodeableConcept": concept("m"),
        "effectiveDateTime": DAY.format(1),
    },
    "Immunization": {
        "status": "completed",
        "vaccineCode": concept("v"),
        "occurrenceDateTime": DAY.format(1),
    },
    "AllergyIntolerance": {"code": concept("a"), "recordedDate": DAY.format(1)},
}
CODES = {"Condition": "code", "Procedure": "code", "AllergyIntolerance": "code", "Observation": "code"}
CODES |= {"Immunization": "vaccineCode"}
WRONG = {
    kind: {"verificationStatus": concept("entered-in-error")}
    if kind in ("Condition", "AllergyIntolerance")
    else {"status": "entered-in-error"}
    for kind in WHEN
}


def line(kind: str, code: str, **meta: str) -> dict[str, Any]:
    """A resource of ana with the id x1, this code, and this version."""
    name = CODES.get(kind, "medicationCodeableConcept")
    return resource(kind, **WHEN[kind] | {name: concept(code)}, meta=meta) | {"id": "x1"}


def codes(result: Result) -> list[str]:
    """What the events of ana say, birth and sex apart."""
    found = [event for event in result.events if event["event_type"] not in ("birth", "static")]
    return sorted(event["code"].rpartition("//")[2] for event in found)


def merged(result: Result) -> int:
    return sum(row["merged_duplicates"] for row in result.accounting["lines"])


@pytest.mark.parametrize("kind", list(WHEN))
@pytest.mark.parametrize("turned", [False, True])
def test_the_highest_version_of_every_type_counts_whatever_comes_last_b25(tmp_path, kind, turned):
    lines = [line(kind, "old", versionId="2"), line(kind, "new", versionId="10")]
    result = ingest_lines(tmp_path, *(lines[::-1] if turned else lines))
    assert codes(result) == ["new"]
    assert merged(result) == 1
    assert result.accounting["flagged"][f"{kind.lower()}_versions_differ"] == 1


@pytest.mark.parametrize("number", ["1", "W/x", None])
@pytest.mark.parametrize("turned", [False, True])
def test_where_versions_are_equal_or_no_numbers_the_latest_update_counts(tmp_path, number, turned):
    version = {"versionId": number} if number else {}
    lines = [
        line("Condition", "old", lastUpdated="2020-03-01T23:00:00-05:00", **version),
        line("Condition", "new", lastUpdated="2020-03-02T05:00:00Z", **version),
    ]
    assert codes(ingest_lines(tmp_path, *(lines[::-1] if turned else lines))) == ["new"]


def test_where_nothing_tells_versions_apart_the_later_line_counts_and_it_is_flagged(tmp_path):
    result = ingest_lines(tmp_path, line("Condition", "first"), line("Condition", "second"))
    (diagnosis,) = result.of("diagnosis")
    assert diagnosis["code"].endswith("//second")
    assert sorted(event["code"].split("//")[1] for event in result.of("outcome")) == ["UNVERIFIED"] * 2
    assert result.accounting["flagged"]["condition_versions_undecided"] == 1
    (warning,) = [w for w in result.accounting["warnings"] if "which is newer" in w]
    assert "1 of type condition" in warning


@pytest.mark.parametrize("kind", list(WHEN))
@pytest.mark.parametrize("turned", [False, True])
def test_what_was_entered_in_error_later_takes_the_older_versions_with_it_b34(tmp_path, kind, turned):
    lines = [line(kind, "old", versionId="1"), line(kind, "old", versionId="2") | WRONG[kind]]
    result = ingest_lines(tmp_path, *(lines[::-1] if turned else lines))
    assert codes(result) == []
    assert result.total("filtered")["retracted by a later version"] == 1


def test_a_version_that_was_entered_in_error_before_a_valid_one_takes_nothing(tmp_path):
    wrong = line("Condition", "old", versionId="1") | WRONG["Condition"]
    assert codes(ingest_lines(tmp_path, line("Condition", "new", versionId="2"), wrong)) == ["new"]


def test_a_later_version_that_cannot_be_used_leaves_the_older_one_valid(tmp_path):
    broken = line("Condition", "new", versionId="2") | {"recordedDate": "tomorrow"}
    result = ingest_lines(tmp_path, line("Condition", "old", versionId="1"), broken)
    assert [event["code"].rpartition("//")[2] for event in result.of("diagnosis")] == ["old"]
    assert result.total("quarantined") == {"B43 invalid_time": 1}


def test_the_same_file_twice_gives_each_event_once_b16_b24_b62(tmp_path):
    lines = [json.dumps(observation(id=f"o{i}")).encode() for i in range(5)]
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "Patient.ndjson").write_text(json.dumps(PATIENT))
    (folder / "Observation.ndjson").write_bytes(b"\n".join(lines))
    (folder / "Observation.ndjson.gz").write_bytes(gzip.compress(b"\n".join(lines)))
    result = ingest(folder, tmp_path)
    assert len(result.of("observation")) == 5
    assert merged(result) == 5
    assert result.accounting["flagged"].keys() == {"availability_assumed", "no_value"}


def test_equal_ids_of_different_types_are_different_resources_b26(tmp_path):
    lines = [line(kind, "c") for kind in WHEN]
    result = ingest_lines(tmp_path, *lines, encounter(id="x1"))
    assert codes(result).count("c") == len(WHEN)
    assert merged(result) == 0


# Corrected results


def result_of(value: float, status: str, issued: str | None, **meta: str) -> dict[str, Any]:
    return observation(
        status=status, valueQuantity={"value": value}, issued=issued and DAY.format(issued), meta=meta
    )


def known(result: Result) -> list[tuple[float, int]]:
    """Values and the day of January on which each became known."""
    found = result.of("observation")
    return sorted((event["numeric_value"], event["available_time"].day) for event in found)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("older", "newer", "expected"),
    [
        # the first result was seen until the correction was issued
        (("final", "2", {"versionId": "1"}), ("amended", "5", {"versionId": "2"}), [(1, 2), (2, 5)]),
        # issued at one time: only the correction
        (("final", "2", {"versionId": "1"}), ("corrected", "2", {"versionId": "2"}), [(2, 2)]),
        # a correction without a time of its own became known when it was written
        (
            ("final", None, {"lastUpdated": DAY.format(1)}),
            ("corrected", None, {"lastUpdated": DAY.format(7)}),
            [(1, 1), (2, 7)],
        ),
        # a preliminary result with no time of its own is not kept
        (
            ("preliminary", None, {"lastUpdated": DAY.format(1)}),
            ("final", None, {"lastUpdated": DAY.format(7)}),
            [(2, 1)],
        ),
        # versions without any time: only the later
        (("final", None, {"versionId": "1"}), ("corrected", None, {"versionId": "2"}), [(2, 1)]),
    ],
)
def test_a_corrected_result_is_seen_from_when_it_became_known_b36(tmp_path, older, newer, expected, turned):
    lines = [result_of(1, *older[:2], **older[2]), result_of(2, *newer[:2], **newer[2])]
    result = ingest_lines(tmp_path, *(lines[::-1] if turned else lines))
    assert known(result) == expected
    rows = result.accounting["lines"]
    assert sum(row["accepted"] for row in rows) == 1 + len(expected)


def test_a_result_that_was_entered_in_error_is_gone_with_its_history(tmp_path):
    lines = [result_of(i, "final", str(i), versionId=str(i)) for i in (1, 2)]
    wrong = result_of(2, "entered-in-error", "3", versionId="3")
    again = result_of(4, "final", "4", versionId="4")
    assert known(ingest_lines(tmp_path, *lines)) == [(1, 1), (2, 2)]
    assert known(ingest_lines(tmp_path, *lines, wrong)) == []
    assert known(ingest_lines(tmp_path, again, *lines, wrong)) == [(4, 4)]


# Deletions and marks


def deletion(*urls: str, **fields: Any) -> dict[str, Any]:
    entries = [{"request": {"method": "DELETE", "url": url}} for url in urls]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries} | fields


def with_deletions(scratch, *lines: dict[str, Any], deleted: dict[str, Any], **settings: Any) -> Result:
    folder = scratch / "export"
    (folder / "deleted").mkdir(parents=True)
    (folder / "deleted" / "Bundle.ndjson").write_text(json.dumps(deleted))
    return ingest_lines(scratch, *lines, **settings)


def test_the_deleted_folder_of_an_export_is_applied(tmp_path):
    lines = [line("Condition", "c"), observation(id="o1"), observation(id="o2", code=concept("stays"))]
    result = with_deletions(tmp_path, *lines, deleted=deletion("Condition/x1", "Observation/o1"))
    assert codes(result) == ["stays"]
    assert result.total("filtered") == {"deleted": 2, "deletion": 2, "unwrapped": 1}
    assert result.accounting["flagged"]["deleted_and_exported"] == 2


@pytest.mark.parametrize(("time", "expected"), [(DAY.format(1), ["c"]), (DAY.format(3), []), (None, [])])
def test_a_deletion_counts_unless_the_resource_was_written_after_it_b31(tmp_path, time, expected):
    fields = {"meta": {"lastUpdated": time}} if time else {}
    result = with_deletions(
        tmp_path,
        line("Condition", "c", lastUpdated=DAY.format(2)),
        deleted=deletion("Condition/x1", **fields),
    )
    assert codes(result) == expected
    assert result.accounting["flagged"]["deleted_and_exported"] == 1


def test_a_strict_run_refuses_what_is_deleted_and_exported_b31(tmp_path):
    (tmp_path / "Patient.ndjson").write_text(json.dumps(PATIENT))
    (tmp_path / "deleted.ndjson").write_text(json.dumps(deletion("Patient/ana")))
    writer = DatasetWriter(tmp_path / "out", source="fhir", config=StoreConfig(strict=True))
    with pytest.raises(DataError, match="1 resources are in the export and in its list"):  # noqa: SIM117
        with writer:
            fhir.read(tmp_path, writer)
    assert not (tmp_path / "out").exists()


def test_with_a_deleted_patient_goes_everything_of_theirs(tmp_path):
    other = {"subject": {"reference": "Patient/ben"}}
    result = with_deletions(
        tmp_path,
        PATIENT | {"id": "ben"},
        encounter(),
        observation(),
        observation(id="o2", **other),
        deleted=deletion("Patient/ana"),
    )
    assert {event["event_type"] for event in result.events} == {"birth", "static", "observation"}
    assert len(result.of("birth")) == 1
    assert result.total("filtered") == {"deleted patient": 3, "deletion": 1, "unwrapped": 1}


def test_events_of_a_deleted_encounter_stay_without_it(tmp_path):
    event = observation(encounter={"reference": "Encounter/e1"})
    result = with_deletions(tmp_path, encounter(), event, deleted=deletion("Encounter/e1"))
    assert result.of("admission") == []
    assert result.one("observation")["encounter_id"] is None


def test_what_a_server_tagged_as_deleted_is_left_out(tmp_path):
    tag = {"meta": {"tag": [{"code": "DELETED"}]}}
    result = ingest_lines(tmp_path, line("Condition", "c") | tag, encounter(**tag), observation())
    assert codes(result) == ["2345-7"]
    assert result.total("filtered") == {"tagged deleted": 2}


def test_with_a_test_patient_goes_everything_of_theirs(tmp_path):
    mark = {"meta": {"security": [{"code": "HTEST"}]}}
    test = {"subject": {"reference": "Patient/tst"}}
    lines = [PATIENT | {"id": "tst"} | mark, observation(**test), encounter(**test), observation(id="o2")]
    result = ingest_lines(tmp_path, *lines)
    assert codes(result) == ["2345-7"]
    assert result.total("filtered") == {"test patient": 3}


# One judgement per line


def test_one_unusable_patient_refuses_nothing_but_itself(tmp_path):
    bad = PATIENT | {"id": "bad", "modifierExtension": [{"url": "urn:unknown"}]}
    result = ingest_lines(tmp_path, bad, observation())
    assert len(result.of("observation")) == 1
    assert result.total("quarantined") == {"B38 modifier_extension": 1}


def test_what_refers_to_an_unusable_patient_or_encounter_refers_to_nothing(tmp_path):
    bad = PATIENT | {"id": "bad", "modifierExtension": [{"url": "urn:unknown"}]}
    lost = encounter(period={"start": "tomorrow", "end": "soon"})
    deep = json.dumps(encounter(id="deep")).encode()[:-1] + b',"x":' + b"[" * 70 + b"]" * 70 + b"}"
    events = [
        observation(id="o1", subject={"reference": "Patient/bad"}),
        observation(id="o2", encounter={"reference": "Encounter/e1"}),
        observation(id="o3", encounter={"reference": "Encounter/deep"}),
    ]
    result = ingest_lines(tmp_path, bad, lost, deep, *events)
    assert [event["encounter_id"] for event in result.of("observation")] == [None, None]
    found = {
        "B38 modifier_extension": 1,
        "B43 invalid_time": 1,
        "B11 nested_too_deep": 1,
        "B28 unknown_patient": 1,
    }
    assert result.total("quarantined") == found
    assert result.accounting["flagged"]["unknown_encounter"] == 2


def test_an_unusable_version_of_a_patient_leaves_the_usable_one_valid(tmp_path):
    bad = PATIENT | {"modifierExtension": [{"url": "urn:unknown"}], "meta": {"versionId": "9"}}
    result = ingest_lines(tmp_path, bad)
    assert result.one("birth")["time"].year == 1950
    assert result.total("quarantined") == {"B38 modifier_extension": 1}


# Where links and versions meet


def test_what_is_of_a_replaced_record_stays_when_that_record_is_deleted(tmp_path):
    new = PATIENT | {"id": "new", "link": [{"type": "replaces", "other": {"reference": "Patient/old"}}]}
    event = observation(subject={"reference": "Patient/old"})
    result = with_deletions(tmp_path, new, event, deleted=deletion("Patient/old"))
    assert result.one("observation")["subject_id"] == subject("new")
    (tmp_path / "again").mkdir()
    result = with_deletions(tmp_path / "again", new, event, deleted=deletion("Patient/new"))
    assert result.of("observation") == []
    assert result.total("filtered")["deleted patient"] == 2


def test_an_encounter_tagged_as_deleted_without_its_patient_is_of_no_other_server(tmp_path):
    gone = {"resourceType": "Encounter", "id": "e1", "meta": {"tag": [{"code": "DELETED"}]}}
    result = ingest_lines(tmp_path, encounter(), gone)
    assert result.of("admission") == []
    assert result.total("filtered") == {"tagged deleted": 1}


def test_an_encounter_in_error_takes_the_older_version_with_it_even_without_times(tmp_path):
    wrong = encounter(status="entered-in-error", period={"start": "never"}, meta={"versionId": "2"})
    result = ingest_lines(tmp_path, encounter(meta={"versionId": "1"}), wrong)
    assert result.of("admission") == []
    assert result.total("quarantined") == {}


def test_a_deleted_encounter_is_no_death_no_ward_and_names_no_diagnosis(tmp_path):
    died = {"dischargeDisposition": concept("exp", None)}
    link = [{"condition": {"reference": "Condition/c1"}}]
    case = encounter(hospitalization=died, diagnosis=link)
    ward = encounter(id="ward", partOf={"reference": "Encounter/e1"}, hospitalization=died)
    lines = resource("Condition", id="c1", code=concept("E119"), recordedDate="2020-01-02"), case
    result = with_deletions(tmp_path, *lines, deleted=deletion("Encounter/e1"))
    assert (result.of("death"), result.one("diagnosis")["encounter_id"]) == ([], None)
    (tmp_path / "again").mkdir()
    result = with_deletions(tmp_path / "again", encounter(), ward, deleted=deletion("Encounter/ward"))
    assert result.one("discharge")["code"] == "HOSPITAL_DISCHARGE//UNKNOWN"


# Against something slower


def valid(lines: list[dict[str, Any]]) -> dict[str, str]:
    """The code of each id that counts, by the written rule."""
    newest: dict[str, dict[str, Any]] = {}
    for one in sorted(lines, key=lambda one: int(one["meta"]["versionId"])):
        newest[one["id"]] = one
    return {key: one["code"]["coding"][0]["code"] for key, one in newest.items() if "status" not in one}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(1, 4), st.sampled_from("abc"), st.booleans()), max_size=30
    ),
    st.integers(1, 20),
    st.sampled_from([4, 10**6]),
)
def test_versions_in_any_order_and_batches_give_what_sorting_them_gives(
    tmp_path_factory, rows, batch, in_memory
):
    drawn = {(number, version): (code, wrong) for number, version, code, wrong in rows}
    lines = [
        resource("Condition", **WHEN["Condition"] | {"code": concept(code)}, meta={"versionId": str(version)})
        | {"id": f"é{number}"}
        | (WRONG["Condition"] | {"status": "wrong"} if wrong else {})
        for (number, version), (code, wrong) in drawn.items()
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeats_module, "IN_MEMORY", in_memory)
        result = ingest_lines(tmp_path_factory.mktemp("x"), *lines, batch_rows=batch)
    assert codes(result) == sorted(valid(lines).values())


def test_a_published_dataset_holds_no_event_of_a_line_that_does_not_count(tmp_path):
    lines = [PATIENT, result_of(1, "final", "2", versionId="1"), result_of(2, "amended", "5", versionId="2")]
    lines += [line("Condition", "old", versionId="1"), line("Condition", "new", versionId="2")]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "all.ndjson").write_text("\n".join(map(json.dumps, lines)))
    with DatasetWriter(tmp_path / "out", source="fhir") as writer:
        fhir.read(tmp_path / "in", writer)
    dataset = Dataset.open(tmp_path / "out")
    dataset.validate()
    rows = dataset.read_shard(dataset.shards()[0]).to_pylist()
    found = [(row["code"], row["numeric_value"]) for row in rows if row["event_type"] != "static"]
    assert found == [
        ("MEDS_BIRTH", None),
        ("LOINC//new", None),
        ("LOINC//2345-7", 1.0),
        ("LOINC//2345-7", 2.0),
    ]
    assert dataset.manifest["counts"]["events"] == len(rows)
