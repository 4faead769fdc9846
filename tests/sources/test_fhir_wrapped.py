"""Catalogue B09: resources inside Bundles, arrays, Binaries, Parameters and pretty-printed JSON are read."""

import base64
import gzip
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chartscan.sources.fhir.lines import InputFile, Limits, LineCount
from chartscan.sources.fhir.wrapped import Records, documents, is_document
from fhir_export import PATIENT, encounter, ingest, observation
from ingest_run import CONDITION, EXPORT, LENIENT, ndjson, observations

RECORDS = [PATIENT, encounter(), CONDITION, *observations(2)]
ALONE: dict[str, bytes | None] = dict.fromkeys(EXPORT)


def bundle(*records: Any, kind: str = "collection") -> dict[str, Any]:
    """A Bundle of records."""
    entries = [{"fullUrl": f"urn:uuid:{record.get('id')}", "resource": record} for record in records]
    return {"resourceType": "Bundle", "id": "b", "type": kind, "entry": entries}


def binary(content: bytes, content_type: str = "application/fhir+ndjson") -> dict[str, Any]:
    """A Binary that holds a file."""
    data = base64.b64encode(content).decode()
    return {"resourceType": "Binary", "id": "bin", "contentType": content_type, "data": data}


def parameters(*records: Any) -> dict[str, Any]:
    """Parameters with one resource each, the last in a part."""
    named = [{"name": "p", "resource": record} for record in records]
    return {"resourceType": "Parameters", "parameter": [*named[:-1], {"name": "q", "part": [named[-1]]}]}


WRAPPED = {
    "a Bundle on one line": ndjson(bundle(*RECORDS)),
    "a Bundle for each patient": ndjson(bundle(PATIENT), bundle(*RECORDS[1:])),
    "a transaction": ndjson(bundle(*RECORDS, kind="transaction")),
    "a searchset, pretty": json.dumps(bundle(*RECORDS, kind="searchset"), indent=2).encode(),
    "a Bundle in a Bundle": ndjson(bundle(bundle(*RECORDS[:2]), *RECORDS[2:])),
    "an array on one line": ndjson(json.dumps(RECORDS).encode()),
    "an array, one record a line": b"[\n" + ndjson(*RECORDS).strip().replace(b"\n", b",\n") + b"\n]\n",
    "a pretty array": json.dumps(RECORDS, indent=4).encode(),
    "pretty records": b"\n".join(json.dumps(r, indent=2).encode() for r in RECORDS),
    "pretty records with tabs and CRLF": b"\r\n".join(
        json.dumps(r, indent="\t").encode().replace(b"\n", b"\r\n") for r in RECORDS
    ),
    "a Bundle with one entry a line": b'{"resourceType": "Bundle", "entry": [\n'
    + ndjson(*[{"resource": r} for r in RECORDS]).strip().replace(b"\n", b",\n")
    + b"\n]}",
    "a Binary of NDJSON": ndjson(binary(ndjson(*RECORDS))),
    "a Binary of another media type": ndjson(binary(ndjson(*RECORDS), "text/plain; charset=utf-8")),
    "a Binary of a pretty Bundle": ndjson(binary(json.dumps(bundle(*RECORDS), indent=1).encode())),
    "a Binary of gzip": ndjson(binary(gzip.compress(ndjson(*RECORDS)))),
    "Parameters": ndjson(parameters(*RECORDS)),
    "wrapped and bare": ndjson(RECORDS[0], bundle(*RECORDS[1:3]), RECORDS[3], binary(ndjson(RECORDS[4]))),
    "a byte order mark before": b"\n\xef\xbb\xbf" + json.dumps(RECORDS, indent=1).encode(),
}


@pytest.mark.parametrize("how", WRAPPED)
def test_b09_what_wraps_records_changes_none_of_their_events(run, how):
    bare = run()
    outcome = run(ALONE | {"export.json": WRAPPED[how]}, "--overwrite")
    assert outcome.code == 0
    assert [e | {"available_time": None} for e in outcome.events] == [
        e | {"available_time": None} for e in bare.events
    ]
    by_type = {row["type"]: row["accepted"] for row in outcome.manifest["accounting"]["lines"]}
    assert {kind: n for kind, n in by_type.items() if n} == {
        "Patient": 1,
        "Encounter": 1,
        "Condition": 1,
        "Observation": 2,
    }
    wrappers = sum(n for kind, n in by_type.items() if kind in ("Bundle", "Binary", "Parameters"))
    assert wrappers == 0
    assert set(outcome.lines("filtered")) <= {"unwrapped"}


def test_b09_each_wrapped_record_is_a_line_beside_that_of_its_wrapper(run):
    outcome = run(ALONE | {"a.ndjson": ndjson(bundle(*RECORDS[:2]), binary(ndjson(*RECORDS[2:])))})
    rows = {row["type"]: row for row in outcome.manifest["accounting"]["lines"]}
    assert {kind: row["lines_in"] for kind, row in rows.items()} == {
        "Bundle": 1,
        "Binary": 1,
        "Patient": 1,
        "Encounter": 1,
        "Condition": 1,
        "Observation": 2,
    }
    assert rows["Bundle"]["filtered"] == rows["Binary"]["filtered"] == {"unwrapped": 1}


def test_b09_a_bad_record_in_a_bundle_is_quarantined_at_the_line_of_the_bundle(tmp_path):
    bad = bundle(observation(id=""), *observations(2))
    (tmp_path / "a.ndjson").write_bytes(ndjson(PATIENT, bad, observation(id="z")))
    result = ingest(tmp_path, tmp_path / "scratch")
    assert result.total("quarantined") == {"B23 missing_id": 1}
    (record,) = result.quarantine()
    assert (record["line"], record["byte_offset"]) == (2, len(ndjson(PATIENT)))
    assert len(result.of("observation")) == 3


def test_b09_references_by_full_url_reach_a_resource_without_an_id(tmp_path):
    patient = {key: value for key, value in PATIENT.items() if key != "id"}
    entries = [
        {"fullUrl": "urn:uuid:ana", "resource": patient},
        {"resource": observation(subject={"reference": "urn:uuid:ana"})},
    ]
    (tmp_path / "a.json").write_text(json.dumps({"resourceType": "Bundle", "entry": entries}))
    result = ingest(tmp_path, tmp_path / "scratch")
    assert result.one("observation")["subject_id"] == result.one("birth")["subject_id"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"resourceType": "Bundle", "entry": [], "entry": []}', "B12 doubled_key"),
        (b'{"resourceType": "Bundle", "entry": {}}', "B17 field_of_wrong_type"),
        (b'{"resourceType": "Bundle", "entry": [{"resource": 1, "resource": 2}]}', "B12 doubled_key"),
        (ndjson(binary(b"no json")).strip(), "B09 wrapped_data_unreadable"),
        (ndjson(binary(b"x") | {"data": "%%%"}).strip(), "B09 wrapped_data_unreadable"),
        (ndjson(binary(gzip.compress(b"x" * 999)[:-9])).strip(), "B09 wrapped_data_unreadable"),
        (
            b'{"resourceType": "List", "contained": [{"resourceType": "Patient"}]}',
            "B09 resources_inside_list",
        ),
        (b'{"resourceType": "Bundle", "entry": [', "B01 truncated_line"),
    ],
)
def test_b09_a_wrapper_that_cannot_be_opened_is_quarantined(run, line, reason):
    outcome = run({"odd.ndjson": line + b"\n"}, *LENIENT)
    assert outcome.code == 3
    assert outcome.lines("quarantined") == {reason: 1}


def test_b09_wrappers_in_wrappers_have_a_limit(run):
    line = ndjson(PATIENT)
    for _ in range(10):
        line = ndjson(binary(line))
    outcome = run({"deep.ndjson": line}, *LENIENT)
    assert outcome.lines("quarantined") == {"B09 wrapped_too_deep": 1}


def test_b09_a_binary_that_is_no_fhir_is_left_out_and_counted(run):
    outcome = run({"Binary.ndjson": ndjson(binary(b"%PDF-1.4", "application/pdf"))})
    assert outcome.code == 0
    assert outcome.lines("filtered") == {"unsupported type": 1}


def test_b09_pretty_json_over_the_limit_is_refused_with_the_remedy(run):
    large = json.dumps(bundle(*observations(4000)), indent=2).encode()
    outcome = run({"large.json": large}, "--set", "line_limit_mb=1")
    assert (outcome.code, outcome.manifest) == (5, {})
    assert "large.json holds JSON over many lines" in outcome.error
    assert "line_limit_mb" in outcome.error
    assert "jq -c" in outcome.error


def deletion(*urls: str) -> dict[str, Any]:
    """A Bundle of DELETE requests."""
    entries = [{"request": {"method": "DELETE", "url": url}} for url in urls]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def read_all(folder, name: str, content: bytes, deleted: bool = False) -> tuple[Records, int, int]:
    """Records of one file, read twice; how many lines they have, and how many were expected."""
    (folder / name).write_bytes(content)
    form = "document" if is_document(content) else "lines"
    file = InputFile(folder / name, name, len(content), 3, 0, form, deleted)
    records, count = Records(Limits()), LineCount()
    first = [(b.line, b.ends, b.data) for b in records.blocks(file)]
    second = [(b.line, b.ends, b.data) for b in records.blocks(file, count)]
    assert first == second
    numbers = [line + i for line, ends, _ in first for i in range(len(ends))]
    assert numbers == list(range(1, len(numbers) + 1))
    return records, len(numbers), count.lines + count.more


def test_b31_deletions_are_handed_out_with_type_id_time_and_place(tmp_path):
    dated = deletion("Encounter/e9") | {"meta": {"lastUpdated": "1970-01-01T00:00:01Z"}}
    content = ndjson(PATIENT, deletion("Condition/c2", "https://x/fhir/Observation/o2"), dated)
    records, lines, expected = read_all(tmp_path, "a.ndjson", content)
    assert lines == expected == 6
    assert records.deletions[3] == [
        ("Condition", "c2", 2**63 - 1, 3 << 40 | 3),
        ("Observation", "o2", 2**63 - 1, 3 << 40 | 4),
        ("Encounter", "e9", 1_000_000, 3 << 40 | 6),
    ]


def test_b31_whole_resources_in_the_folder_of_deleted_ones_are_gone(tmp_path):
    records, lines, expected = read_all(tmp_path, "a.ndjson", ndjson(PATIENT, encounter()), deleted=True)
    assert lines == expected == 2
    assert [(d.kind, d.id) for d in records.deletions[3]] == [("Patient", "ana"), ("Encounter", "e1")]


def test_b31_a_conditional_deletion_is_quarantined(run):
    outcome = run({"deleted/Bundle.ndjson": ndjson(deletion("Condition?code=1"))}, *LENIENT)
    assert outcome.lines("quarantined") == {"B31 unclear_deletion": 1}


BARE = st.builds(lambda n: ndjson(observation(id=f"x{n}")).strip(), st.integers(0, 99))
ANY = st.recursive(
    BARE | st.sampled_from([b"", b"  ", b"broken{", b"[]", b'{"resourceType": "Bundle"}', b"null"]),
    lambda inner: st.builds(
        lambda lines, how: how([json.loads(x) for x in lines if x.startswith((b"{", b"[", b"null"))]),
        st.lists(inner, max_size=3),
        st.sampled_from(
            [
                lambda values: json.dumps(values).encode(),
                lambda values: json.dumps(
                    {"resourceType": "Bundle", "entry": [{"resource": v} for v in values]}
                ).encode(),
                lambda values: json.dumps(binary(ndjson(*values))).encode(),
            ]
        ),
    ),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(ANY, max_size=6), st.booleans())
def test_both_passes_number_the_same_records_and_none_is_lost(tmp_path, lines, deleted):
    _, found, expected = read_all(tmp_path, "any.ndjson", b"".join(x + b"\n" for x in lines), deleted)
    assert found == expected


@given(st.lists(st.sampled_from([{}, {"a": "x\ny"}, [1, {"b": []}], {"c": {"d": "}{"}}]), max_size=4))
def test_documents_are_the_values_that_were_written(values):
    pretty = "\n".join(json.dumps(value, indent=2) for value in values).encode()
    assert [json.loads(document) for document in documents(pretty)] == values
