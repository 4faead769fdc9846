"""Plain Observations, read in one loop, beside the mapper that reads any."""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chartscan.sources.fhir import decode, reader
from chartscan.sources.fhir import observations as plain
from chartscan.sources.fhir.decode import LineDecoder
from fhir_export import PATIENT, Result, concept, encounter, ingest_lines, observation

VISIT = {"reference": "Encounter/e1"}
MMOL = {"unit": "mmol/L", "code": "mmol/L"}
# Of each field what makes an Observation plain, and what does not.
FIELDS: dict[str, list[Any]] = {
    "status": ["final", "amended", "cancelled", "entered-in-error", None],
    "effectiveDateTime": [
        "2020-01-01T10:00:00Z",
        "2020-01-02T10:00:00+01:00",
        "2020-01-02T10:00:00.250+01:00",
        "2020-01-02",
        "2020-01",
        "2020-01-02 10:00:00",
        "1900-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "1949-01-01T10:00:00Z",
        "tomorrow",
        None,
    ],
    "issued": ["2020-01-02T12:00:00Z", "2019-12-31T12:00:00Z", "2020-01-02T12:00:00", "soon", None],
    "subject": [
        {"reference": "Patient/ana"},
        {"reference": "Patient/ben"},
        {"reference": "Patient/no"},
        {},
        None,
    ],
    "encounter": [None, VISIT, {"reference": "Encounter/e2"}, {"reference": "Encounter/no"}, {}],
    "code": [concept(), concept("8867-4"), concept("x", None), {"text": "pulse"}, None],
    "category": [None, [concept("laboratory")], [concept("vital-signs")], []],
    "component": [None, [], [{"code": concept("c"), "valueQuantity": {"value": 3}}]],
    "valueQuantity": [
        {"value": 5.5} | MMOL,
        {"value": 7.25, "unit": "mmol/l"},
        {"value": 700, "unit": "/min"},
        {"value": 0} | MMOL,
        {"value": -1} | MMOL,
        {"value": 9999} | MMOL,
        {"value": 1.23456} | MMOL,
        {"value": 1e300} | MMOL,
        {"value": "12"} | MMOL,
        {"value": 5, "comparator": "<"} | MMOL,
        {"value": 5, "unit": "mg", "code": "kg"},
        {"unit": "mmol/L"},
        {"value": 5},
        None,
    ],
    "valueString": [None, "high"],
    "valueCodeableConcept": [None, concept("pos")],
    "modifierExtension": [None, [], [{"url": "urn:x"}]],
    "meta": [
        None,
        {"versionId": "2"},
        {"lastUpdated": "2020-02-02T00:00:00Z"},
        {"tag": [{"code": "SUBSETTED"}]},
        {"tag": [{"code": "DELETED"}]},
        {"security": [{"code": "HTEST"}]},
    ],
    "id": ["", None, "again"],
}
PLAIN = {name: values[0] for name, values in FIELDS.items() if name != "id"}
OTHERS = [
    PATIENT | {"id": "ben", "deceasedDateTime": "2020-01-02T11:00:00Z"},
    encounter(),
    encounter(id="e2", subject={"reference": "Patient/ben"}),
]


def line(number: int, odd: dict[str, Any], raw: str) -> bytes:
    """A plain Observation but for the fields in `odd`, or the line `raw`."""
    return raw.encode() or json.dumps(observation(**PLAIN | {"id": f"o{number}"} | odd)).encode()


odd_fields = st.dictionaries(st.sampled_from(list(FIELDS)), st.integers(0, 13), max_size=2).map(
    lambda drawn: {name: FIELDS[name][at % len(FIELDS[name])] for name, at in drawn.items()}
)
raws = st.sampled_from([""] * 20 + ["{", " ", "[]", "{}{}", '{"resourceType":"Observation"}', '{"a":1}'])
exports = st.lists(st.tuples(odd_fields, raws), max_size=60).map(
    lambda rows: [line(number, odd, raw) for number, (odd, raw) in enumerate([({}, "")] * 8 + rows)]
)


def both(folder, lines: list[bytes], expect_plain: int = 0) -> tuple[Result, Result]:
    """What becomes of the lines with plain Observations read in one loop, and with each mapped."""
    counted = Counter[str]()

    def counting(observations, *arguments):
        left = plain.read_plain(observations, *arguments)
        counted["plain"] += len(observations) - len(left)
        return left

    results = []
    for name, at_once in (("loop", True), ("mapped", False)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(decode, "CHECKED_LINES", 0)
            patch.setattr(reader, "_LINES_AT_ONCE", 4)
            patch.setattr(reader, "read_plain", counting)
            if not at_once:
                patch.setattr(LineDecoder, "observations", lambda self, lines, count: None)
            (folder / name).mkdir()
            results.append(ingest_lines(folder / name, *OTHERS, *lines, batch_rows=7))
    assert counted["plain"] >= expect_plain
    return results[0], results[1]


def said(result: Result) -> tuple[Any, ...]:
    """All that an ingest hands over, events in an order of their own."""
    events = sorted(json.dumps(event, default=str) for event in result.events)
    return events, result.accounting, result.writer.codes


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(exports)
def test_the_loop_gives_what_the_mapper_gives(tmp_path_factory, lines):
    loop, mapped = both(tmp_path_factory.mktemp("plain"), lines)
    assert said(loop) == said(mapped)


@pytest.mark.parametrize("name", FIELDS)
def test_every_odd_value_of_every_field_is_read_as_the_mapper_reads_it(tmp_path, name):
    values = FIELDS[name] * 3  # what was met before can be plain
    odd = [line(number, {name: value}, "") for number, value in enumerate(values)]
    before = [line(100 + number, {}, "") for number in range(20)]
    loop, mapped = both(tmp_path, before + odd, 10)
    assert said(loop) == said(mapped)


def test_two_values_on_one_line_beside_a_blank_one_are_not_taken_for_two_lines(tmp_path):
    lines = [line(number, {}, "") for number in range(4)]
    loop, mapped = both(tmp_path, [lines[0] + lines[1], b"", *lines[2:]])
    assert said(loop) == said(mapped)
    assert loop.total("quarantined") == {"B04 trailing_junk": 1}
