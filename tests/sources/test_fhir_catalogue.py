"""All 66 cases of the catalogue of bad input, by number: one small export each, with exit code and counts.

Other tests take a kind apart; this table shows that each number has an outcome of its own.
"""

import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from fhir_export import LOINC, PATIENT, concept, encounter, observation, resource
from ingest_run import CONDITION, LENIENT, MANIFEST, ndjson, observations

FILE = "Observation.ndjson"
GOOD = json.dumps(observation(id="good")).encode()
STAY = {"encounter": {"reference": "Encounter/e1"}}
CAL = PATIENT | {"id": "cal"}
BUNDLE = {"resourceType": "Bundle", "type": "collection"}
NONE: Mapping[str, int] = MappingProxyType({})
WITH_ERRORS = MANIFEST | {"error": [{"type": "OperationOutcome", "url": "x"}]}
OUTCOME = {"resourceType": "OperationOutcome", "issue": [{"severity": "error"}]}
DELETED = {"entry": [{"request": {"method": "DELETE", "url": "Observation/o1"}}]}


class Case(NamedTuple):
    """An export (EXPORT with `files` in place of its own), and what comes of it."""

    files: dict[str, bytes | None]
    code: int = 0
    quarantined: Mapping[str, int] = NONE
    filtered: Mapping[str, int] = NONE
    flagged: Mapping[str, int] = NONE  # among others
    normalised: Mapping[str, int] = NONE  # among others
    events: Mapping[str, int] = NONE  # by type, among others
    merged: int = 0
    says: str = ""
    settings: tuple[str, ...] = LENIENT


def lines(*records: Any, **expected: Any) -> Case:
    """A case whose Observations are these records or raw lines."""
    return Case({FILE: ndjson(*records)}, **expected)


def bad_line(line: bytes, reason: str) -> Case:
    """A case with this line beside two good ones."""
    return lines(*observations(2), line, code=3, quarantined={reason: 1}, events={"observation": 2})


def quantity(value: Any, **fields: Any) -> dict[str, Any]:
    return observation(id=f"q{value}", valueQuantity={"value": value} | fields)


def stay(**fields: Any) -> bytes:
    return ndjson(encounter(**fields))


def tar_of(name: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return packed.getvalue()


NOT_FHIR = {
    20: "CSV: tables are read by the source for PhysioNet alone (physionet2012/test_physionet2012_lines.py)",
    21: "MEDS: datasets and labels are inputs of other commands (test_task_files.py, store)",
    22: "Parquet: no export holds it; what commands read is tested in test_parquet_files.py",
}

CASES = {
    1: bad_line(GOOD[:-20], "B01 truncated_line"),
    2: bad_line(GOOD.replace(b",", b",,", 1), "B02 malformed_json"),
    3: bad_line(GOOD[:-1] + b', "x": "5\\\\" tall"}', "B02 malformed_json"),
    4: bad_line(GOOD + b"TRAILER", "B04 trailing_junk"),
    5: Case(
        {FILE: b"\r\n" + GOOD + b"\r\n  \r\n" + GOOD.replace(b"good", b"two")},
        filtered={"blank": 2},
        normalised={"crlf_line_end": 3},
        events={"observation": 2},
    ),
    6: Case({FILE: b"\xef\xbb\xbf" + GOOD + b"\n\xef\xbb\xbf" + GOOD.replace(b"good", b"two")}),
    7: bad_line(GOOD.replace(b"final", b"f\xefnal"), "B07 bad_encoding"),
    8: lines(
        GOOD.replace(b"good", b"go\\u0000od"),
        GOOD.replace(b"good", b"a\\udfff"),
        GOOD.replace(b"good", "b\u2028".encode()),
        code=3,
        quarantined={"B08 lone_surrogate": 1},
        normalised={"nul_stripped": 1},
        events={"observation": 2},
    ),
    9: Case(
        {"all.json": json.dumps(BUNDLE | {"entry": [{"resource": observation(id="b")}]}, indent=1).encode()},
        filtered={"unwrapped": 1},
        events={"observation": 3},
    ),
    10: Case(
        {FILE: ndjson(observation(id="long", note=[{"text": "x" * 1_100_000}]), GOOD)},
        code=3,
        quarantined={"B10 line_too_long": 1},
        events={"observation": 1},
        settings=(*LENIENT, "--set", "line_limit_mb=1"),
    ),
    11: lines(
        GOOD[:-1] + b', "x": ' + b"[" * 65 + b"]" * 65 + b"}",
        GOOD[:-1] + b', "valueInteger": ' + b"9" * 5000 + b"}",
        code=3,
        quarantined={"B11 nested_too_deep": 1},
        flagged={"value_not_finite": 1},
    ),
    12: bad_line(GOOD[:-1] + b', "id": "other"}', "B12 doubled_key"),
    13: Case(
        {"cut.ndjson.gz": gzip.compress(GOOD)[:-9]},
        code=3,
        quarantined={"B13 broken_gzip": 1},
        says="cut.ndjson.gz is refused",
    ),
    14: Case({"more.tar.gz": tar_of("../evil.ndjson")}, says="more.tar.gz is set aside: archive"),
    15: Case({"Condition.ndjson": None, FILE: b""}, says="The export contains no Condition"),
    16: Case({"Condition.000.ndjson": ndjson(CONDITION)}, merged=1, events={"diagnosis": 1}),
    17: lines(GOOD, CONDITION | {"id": "c2"}, OUTCOME, filtered={"error report": 1}, events={"diagnosis": 2}),
    18: Case(
        {
            "manifest.json": json.dumps(
                MANIFEST | {"error": [{"type": "OperationOutcome", "url": "e"}]}
            ).encode()
        },
        says="names 1 files of errors",
    ),
    19: Case({"More.ndjson.part": GOOD}, code=5, says="still being written, as the name shows (B19)"),
    23: lines(
        observation(id=None),
        observation(id="a", subject=None),
        code=3,
        quarantined={"B23 missing_id": 1, "B23 missing_subject": 1},
    ),
    24: lines(GOOD, GOOD, merged=1, events={"observation": 1}),
    25: lines(
        quantity(2) | {"id": "o", "meta": {"versionId": "2"}},
        quantity(1) | {"id": "o", "meta": {"versionId": "1"}},
        merged=1,
        flagged={"observation_versions_differ": 1},
        events={"observation": 1},
    ),
    26: lines(
        observation(id="c1"), observation(id="e1"), events={"observation": 2, "diagnosis": 1, "admission": 1}
    ),
    27: lines(
        observation(id="a", subject={"reference": "https://fhir.example/Patient/ana/_history/2"}),
        observation(id="b", subject={"reference": "urn:uuid:ana"}),
        events={"observation": 2},
    ),
    28: lines(
        observation(id="a", encounter={"reference": "Encounter/gone"}),
        observation(id="b", subject={"reference": "Patient/gone"}),
        code=3,
        quarantined={"B28 unknown_patient": 1},
        flagged={"unknown_encounter": 1},
        events={"observation": 1},
    ),
    29: Case(
        {
            "Patient.ndjson": ndjson(
                PATIENT,
                *(
                    CAL | {"id": a, "link": [{"type": "replaced-by", "other": {"reference": f"Patient/{b}"}}]}
                    for a, b in (("x", "y"), ("y", "x"), ("old", "ana"))
                ),
            ),
            FILE: ndjson(observation(subject={"reference": "Patient/old"})),
        },
        code=3,
        quarantined={"B29 merge_cycle": 2},
        flagged={"merged_patient": 1},
        events={"observation": 1},
    ),
    30: lines(
        observation(id="a", subject={"reference": "Group/1"}),
        observation(id="b", subject={"reference": "Device/1"}),
        filtered={"subject is no patient": 2},
    ),
    31: Case(
        {"deleted/Bundle.ndjson": ndjson(BUNDLE | DELETED)},
        filtered={"deleted": 1, "deletion": 1, "unwrapped": 1},
        flagged={"deleted_and_exported": 1},
        events={"observation": 1},
    ),
    32: lines(
        observation(id="a", code=concept(" 2345-7 ", "HTTP://LOINC.ORG/")),
        observation(id="b", code=concept("2345-7", "urn:oid:2.16.840.1.113883.6.1")),
        observation(id="c", code=concept("2345-7", None)),
        flagged={"code_without_system": 1},
        events={"observation": 3},
    ),
    33: lines(
        observation(code=None),
        flagged={"no_code": 2},  # that of the Condition too, which has words alone
        events={"observation": 1},
    ),
    34: lines(
        observation(id="a", status="entered-in-error"),
        observation(id="b", status="cancelled"),
        filtered={"status entered-in-error": 1, "status cancelled": 1},
    ),
    35: Case(
        {"Condition.ndjson": ndjson(CONDITION | {"verificationStatus": concept("refuted")})},
        filtered={"verification refuted": 1},
    ),
    36: lines(
        quantity(1) | {"id": "o", "issued": "2020-01-01T11:00:00Z", "meta": {"versionId": "1"}},
        quantity(2)
        | {"id": "o", "issued": "2020-01-02T11:00:00Z", "status": "corrected", "meta": {"versionId": "2"}},
        flagged={"observation_earlier_result_kept": 1},
        events={"observation": 2},
    ),
    37: Case(
        {
            "MedicationRequest.ndjson": ndjson(
                *(
                    resource("MedicationRequest", authoredOn="2020-01-02", status="active") | fields
                    for fields in (
                        {"id": "a", "intent": "plan"},
                        {"id": "b", "intent": "order", "doNotPerform": True},
                    )
                )
            )
        },
        filtered={"intent plan": 1, "do not perform": 1},
    ),
    38: bad_line(
        GOOD[:-1] + b', "modifierExtension": [{"url": "http://x/not", "valueBoolean": true}]}',
        "B38 modifier_extension",
    ),
    39: Case({"Condition.ndjson": ndjson(CONDITION | {"recordedDate": "2020"})}, events={"diagnosis": 1}),
    40: lines(observation(effectiveDateTime="2020-01-01T10:00:00"), flagged={"time_without_offset": 1}),
    41: lines(
        observation(id="a", effectiveDateTime="2020-10-25T02:30:00+02:00"),
        observation(id="b", effectiveDateTime="2020-10-25T02:30:00+01:00"),
        flagged={"outside_encounter": 0, "time_without_offset": 0},
        events={"observation": 2},
    ),
    42: lines(
        observation(id="a", effectiveDateTime="2020-01-01T10:00:00Z"),
        observation(id="b", effectiveDateTime="2020-01-01T12:00:00+02:00"),
        flagged={"repeated_events": 1},
    ),
    43: lines(
        observation(id="a", effectiveDateTime="2020-01-01T24:00:00Z"),
        observation(id="b", effectiveDateTime="2020-01-01T23:59:60Z"),
        observation(id="c", effectiveDateTime="2020-01-01T10:00:00.123456789Z"),
        normalised={"time_form_mended": 2},
        events={"observation": 3},
    ),
    44: lines(
        observation(id="a", effectiveDateTime="9999-12-31T23:59:59-08:00"),
        observation(id="b", effectiveDateTime="0001-01-01"),
        observation(id="c", issued="9999-12-31"),
        code=3,
        quarantined={"B44 implausible_time": 2},
        flagged={"implausible_time": 3},  # of fields, of which two were the only time
        events={"observation": 1},
    ),
    45: Case(
        {"Encounter.ndjson": stay(period={"start": "2020-01-05T08:00:00Z", "end": "2020-01-01T08:00:00Z"})},
        flagged={"encounter_end_before_start": 1},
        events={"admission": 1, "discharge": 0},
    ),
    46: lines(
        observation(id="a", effectiveDateTime="1949-12-01"),
        observation(id="b", effectiveDateTime="1948-12-01"),
        code=3,
        quarantined={"B46 before_birth": 1},
        flagged={"prenatal": 1},
        events={"observation": 1},
    ),
    47: Case(
        {
            "Patient.ndjson": ndjson(PATIENT | {"deceasedDateTime": "2020-01-06T10:00:00Z"}),
            FILE: ndjson(
                observation(id="a", effectiveDateTime="2020-02-01"),
                observation(id="b", effectiveDateTime="2020-06-01"),
            ),
        },
        flagged={"after_death": 1, "long_after_death": 1},
        events={"observation": 2},
    ),
    48: Case(
        {
            "Patient.ndjson": ndjson(
                PATIENT | {"deceasedBoolean": True, "deceasedDateTime": "2020-01-06T00:00:00Z"},
                CAL | {"deceasedBoolean": True},
            )
        },
        flagged={"death_without_date": 1},
        events={"death": 2},
    ),
    49: Case(
        {
            "Patient.ndjson": ndjson(
                PATIENT | {"birthDate": "1900-02-01"}, {"resourceType": "Patient", "id": "cal"}
            ),
            FILE: ndjson(observation(effectiveDateTime="2020-06-01")),
        },
        flagged={"age_over_120": 1, "birth_unknown": 1},
    ),
    50: Case(
        {"Encounter.ndjson": ndjson(encounter(), encounter(id="e2"))},
        flagged={"stays_overlap": 1},
        events={"admission": 2},
    ),
    51: lines(observation(), events={"observation": 1, "admission": 1}),
    52: Case(
        {"Encounter.ndjson": stay(status="in-progress", period={"start": "2020-01-01T08:00:00Z"})},
        flagged={"encounter_without_end": 1},
        events={"admission": 1, "discharge": 0},
    ),
    53: lines(*observations(5)[::-1], events={"observation": 5}),
    54: lines(observation(issued="2020-01-03T10:00:00Z"), flagged={"availability_assumed": 0}),
    55: lines(
        observation(effectiveDateTime="2019-01-01T10:00:00Z", **STAY), flagged={"outside_encounter": 1}
    ),
    56: lines(
        *(
            observation(id=f"t{i}", valueString=text)
            for i, text in enumerate((">100", "<0.01", "1+", "NEG", "3-5", "1:80", "12 ,5"))
        ),
        flagged={"no_value": 0},
        events={"observation": 7},
    ),
    57: lines(
        quantity(9999999),
        GOOD[:-1] + b', "valueInteger": -0.0}',
        quantity("-"),
        flagged={"sentinel_value": 1},
    ),
    58: lines(
        quantity(1, unit="MG/DL"),
        quantity(2, unit="mg/dL", code="mmol/L"),
        flagged={"unit_conflict": 1},
        normalised={"unit_unified": 1},
    ),
    59: lines(
        observation(id="a", valueRange={"low": {"value": 3}, "high": {"value": 5}}),
        observation(id="b", valueRatio={"numerator": {"value": 1}, "denominator": {"value": 80}}),
        observation(id="c", valueSampledData={"origin": {"value": 0}, "period": 1, "dimensions": 1}),
        observation(id="d", valueInteger=3, component=[{"code": concept(), "valueBoolean": True}]),
        observation(id="e", dataAbsentReason={"coding": [{"code": "masked"}]}),
        flagged={"value_kind_not_read": 1, "data_absent_reason": 1},
        events={"observation": 6},
    ),
    60: lines(quantity(2**53 + 1), normalised={"decimal_beyond_float32": 1}),
    61: lines(
        observation(code=concept("8867-4"), valueQuantity={"value": 5000, "unit": "/min"}),
        flagged={"impossible_value": 1},
        events={"observation": 1},
    ),
    62: lines(
        observation(id="a"),
        observation(id="a"),
        observation(id="b"),
        merged=1,
        flagged={"repeated_events": 1},
    ),
    63: Case({"Patient.ndjson": ndjson(PATIENT, {"resourceType": "Patient", "id": "cal"})}),
    64: lines(*observations(20_000), events={"observation": 20_000}),
    65: lines(
        *(observation(id=f"s{i}", code=concept("99" if i else "1")) for i in range(100)),
        events={"observation": 100},
    ),
    66: lines(
        observation(code={"coding": [{"system": LOINC, "code": "=cmd|'/C calc'!A0", "display": "<b>"}]}),
        events={"observation": 1},
    ),
}


def test_every_number_of_the_catalogue_has_a_case_or_a_reason_why_not():
    assert sorted(CASES | NOT_FHIR) == list(range(1, 67))
    assert not CASES.keys() & NOT_FHIR.keys()


@pytest.mark.parametrize("number", CASES, ids=lambda number: f"b{number:02}")
def test_a_case_of_the_catalogue_has_its_exit_code_its_counts_and_its_message(run, number):
    case = CASES[number]
    outcome = run(case.files, *case.settings)
    assert outcome.code == case.code
    assert case.says in outcome.out + outcome.error
    assert "unexpected" not in outcome.error
    if case.code == 5:
        assert outcome.manifest == {}
        return
    account = outcome.manifest["accounting"]
    assert outcome.lines("quarantined") == dict(case.quarantined)
    assert outcome.lines("filtered") == dict(case.filtered)
    assert sum(row["merged_duplicates"] for row in account["lines"]) == case.merged
    for kind, expected in (("flagged", case.flagged), ("normalised", case.normalised)):
        assert {name: account[kind].get(name, 0) for name in expected} == expected
    assert {kind: len(outcome.of(kind)) for kind in case.events} == case.events
