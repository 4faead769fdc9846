"""Catalogue B01-B12 and B17: lines that cannot be used, by `chartscan ingest`, with exit codes and counts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chartscan.sources.fhir.decode import has_doubled_key
from fhir_export import PATIENT, encounter, observation
from ingest_run import CONDITION, LENIENT, ndjson, observations

GOOD = json.dumps(observation(id="good")).encode()
UNREAD = GOOD[:-1] + b', "note": [{"text": "%b"}]}'  # text that becomes no event
FILE = "Observation.ndjson"

BAD = {
    "b01_truncated": (GOOD[:-20], "B01 truncated_line"),
    "b02_malformed": (GOOD[:1] + b"," + GOOD[1:], "B02 malformed_json"),
    "b03_doubled_escape": (GOOD[:-1] + b', "note": "5\\\\" tall"}', "B02 malformed_json"),
    "b04_trailing_junk": (GOOD + b"TRAILER", "B04 trailing_junk"),
    "b07_bad_utf8_read": (GOOD.replace(b"good", b"\xff"), "B07 bad_encoding"),
    "b07_bad_utf8_unread": (UNREAD % b"Gr\xf6\xdfe", "B07 bad_encoding"),
    "b07_bad_utf8_in_a_key": (GOOD[:-1] + b', "\xe4": 1}', "B07 bad_encoding"),
    "b08_lone_surrogate_read": (GOOD.replace(b"good", b"\\ud800x"), "B08 lone_surrogate"),
    "b08_lone_surrogate_unread": (UNREAD % b"a\\uDFFFb", "B08 lone_surrogate"),
    "b11_nested": (GOOD[:-1] + b', "x": ' + b"[" * 65 + b"]" * 65 + b"}", "B11 nested_too_deep"),
    "b12_doubled_id": (GOOD[:-1] + b', "id": "other"}', "B12 doubled_key"),
    "b12_doubled_subject": (GOOD[:-1] + b', "subject": {"reference": "Patient/bob"}}', "B12 doubled_key"),
    "b12_doubled_status": (b'{"status": "entered-in-error", ' + GOOD[1:], "B12 doubled_key"),
    "b12_doubled_unread_key": (GOOD[:-1] + b', "note": [], "note": []}', "B12 doubled_key"),
    "b12_doubled_type": (GOOD[:-1] + b', "resourceType": "Observation"}', "B12 doubled_key"),
    "b17_no_type": (b'{"id": "x"}', "B17 no_resource_type"),
    "b17_bare_text": (b'"text"', "B17 no_resource_type"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("at", [0, 1500])
def test_one_bad_line_in_3000_is_quarantined_and_the_run_ends_with_3(run, case, at):
    line, reason = BAD[case]
    if at and case in ("b12_doubled_status", "b12_doubled_unread_key", "b12_doubled_type"):
        pytest.skip("after 1,000 lines only a doubled id or subject is looked for")
    records = observations(3000)
    outcome = run({FILE: ndjson(*records[:at], line, *records[at:])})
    assert outcome.code == 3
    assert outcome.lines("quarantined") == {reason: 1}
    assert len(outcome.of("observation")) == 3000
    assert "1 lines are in quarantine" in outcome.out


@pytest.mark.parametrize("case", BAD)
def test_one_bad_line_in_10_exceeds_the_budget_and_nothing_is_published(run, case):
    line, reason = BAD[case]
    outcome = run({FILE: ndjson(*observations(9), line)})
    assert (outcome.code, outcome.manifest) == (4, {})
    assert f"1 of 10 ({reason})" in outcome.error
    assert "good" not in outcome.error
    assert "bob" not in outcome.error


@pytest.mark.parametrize("case", ["b07_bad_utf8_unread", "b12_doubled_status", "b08_lone_surrogate_unread"])
def test_an_encounter_in_quarantine_is_not_used_by_the_index(run, case):
    good = json.dumps(encounter(id="bad")).encode()
    line = {
        "b07_bad_utf8_unread": good[:-1] + b', "text": "\xff"}',
        "b12_doubled_status": good[:-1] + b', "status": "cancelled"}',
        "b08_lone_surrogate_unread": good[:-1] + b', "text": "a\\ud800b"}',
    }[case]
    linked = observation(id="o", encounter={"reference": "Encounter/bad"})
    outcome = run({"Encounter.ndjson": ndjson(encounter(), line), FILE: ndjson(linked)}, *LENIENT)
    assert outcome.code == 3
    assert sum(outcome.lines("quarantined").values()) == 1
    assert outcome.of("observation")[0]["encounter_id"] is None
    assert len(outcome.of("admission")) == 1


def test_b05_blank_lines_crlf_and_no_final_newline_do_no_harm(run):
    lines = [json.dumps(record).encode() for record in observations(3)]
    outcome = run({FILE: b"\r\n".join([lines[0], b"", b"   ", *lines[1:]])})
    assert (outcome.code, len(outcome.of("observation"))) == (0, 3)
    assert outcome.lines("filtered") == {"blank": 2}
    assert outcome.manifest["accounting"]["normalised"] == {"crlf_line_end": 4}


def test_b05_a_file_with_carriage_returns_only_is_refused_by_name(run):
    mac = b"\r".join(json.dumps(record).encode() for record in observations(3)) + b"\r"
    outcome = run({"Mac.ndjson": mac})
    assert outcome.code == 4
    assert "Mac.ndjson, unrouted: 1 of 1 (B05 lines_end_with_carriage_return)" in outcome.error


def test_b05_what_is_beside_a_refused_file_is_read_where_the_budget_allows_it(run):
    mac = b"\r".join(json.dumps(record).encode() for record in observations(3, "m"))
    outcome = run({"Mac.ndjson": mac}, *LENIENT)
    assert (outcome.code, len(outcome.of("observation"))) == (3, 2)
    assert outcome.files["Mac.ndjson"] == ("refused", "B05 lines_end_with_carriage_return")
    assert any("Mac.ndjson is refused" in text for text in outcome.warnings)


def test_b06_byte_order_marks_do_no_harm(run):
    bom = b"\xef\xbb\xbf"
    lines = [bom + json.dumps(record).encode() for record in observations(3)]
    outcome = run({FILE: ndjson(*lines), "Patient.ndjson": bom + ndjson(PATIENT)})
    assert (outcome.code, len(outcome.of("observation"))) == (0, 3)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_b07_a_file_in_utf16_is_refused_whole(run, encoding):
    wide = ndjson(*observations(3, "w")).decode().encode(encoding)
    outcome = run({"Wide.ndjson": wide})
    assert outcome.code == 4
    assert "Wide.ndjson, unrouted" in outcome.error
    assert "B07 bad_encoding" in outcome.error
    outcome = run({"Wide.ndjson": wide}, *LENIENT)
    assert outcome.files["Wide.ndjson"] == ("refused", "B07 bad_encoding")
    assert len(outcome.of("observation")) == 2


@pytest.mark.parametrize("nul", [b"\\u0000", b"\x00"])
def test_b08_nul_is_dropped_and_counted(run, nul):
    line = json.dumps(observation(id="n", valueString="aNULb")).encode().replace(b"NUL", nul)
    outcome = run({FILE: ndjson(line)})
    assert (outcome.code, outcome.of("observation")[0]["text_value"]) == (0, "ab")
    assert outcome.manifest["accounting"]["normalised"] == {"nul_stripped": 1}


def test_b08_an_escaped_backslash_before_u0000_is_no_nul_and_pairs_are_text(run):
    line = b'"valueString": "a\\\\u0000b \\ud83d\\ude00 \\\\ud800"'
    outcome = run({FILE: ndjson(GOOD[:-1] + b", " + line + b"}")})
    assert outcome.code == 0
    assert outcome.of("observation")[0]["text_value"] == "a\\u0000b \U0001f600 \\ud800"


def test_b08_line_separators_in_text_end_no_line(run):
    text = "one\r\ntwo\u2028three\u0085four"
    line = json.dumps(observation(id="s", valueString=text), ensure_ascii=False).encode()
    outcome = run({FILE: ndjson(line)})
    assert (outcome.code, outcome.of("observation")[0]["text_value"]) == (0, text)


def test_b10_a_line_over_the_limit_is_quarantined(run):
    huge = GOOD[:-1] + b', "x": "' + b"A" * 2_000_000 + b'"}'
    outcome = run({FILE: ndjson(*observations(2000), huge)}, "--set", "line_limit_mb=1")
    assert outcome.code == 3
    assert outcome.lines("quarantined") == {"B10 line_too_long": 1}


def test_b11_a_number_with_5000_digits_is_no_crash(run):
    line = GOOD[:-1] + b', "valueQuantity": {"value": ' + b"9" * 5000 + b"}}"
    outcome = run({FILE: ndjson(line)})
    assert (outcome.code, len(outcome.of("observation"))) == (0, 1)
    assert outcome.of("observation")[0]["numeric_value"] is None


def test_b11_a_file_that_is_all_garbage_is_not_hidden_by_a_large_one(run):
    many = ndjson(*observations(5000))
    outcome = run({FILE: many, "Condition.ndjson": b"<html>Bad gateway</html>\n"})
    assert outcome.code == 4
    assert "Condition.ndjson, unrouted: 1 of 1 (B02 malformed_json)" in outcome.error


def test_b11_unreadable_lines_of_a_small_file_count_against_that_file(run):
    conditions = [CONDITION | {"id": f"c{i}"} for i in range(10)]
    outcome = run({FILE: ndjson(*observations(20_000)), "Condition.ndjson": ndjson(*conditions, GOOD[:-20])})
    assert outcome.code == 4
    assert "Condition.ndjson, unrouted: 1 of 11 (B01 truncated_line)" in outcome.error


def test_b17_lines_go_where_their_type_says_and_error_reports_are_told(run):
    report = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]}
    outcome = run({"Condition.ndjson": ndjson(CONDITION, report, *observations(1, "mixed"))})
    assert (outcome.code, len(outcome.of("observation"))) == (0, 3)
    assert outcome.lines("filtered") == {"error report": 1}
    assert outcome.warnings == ["1 error reports (OperationOutcome): the server may have left something out."]
    assert outcome.warnings[0] in outcome.out


KEYS = st.sampled_from(['"a"', '"b"', '"id"', '"ä"', '"\\u0061"', '"x:{"'])
VALUES = st.sampled_from(["1", '"t"', '"}{:,"', '{"a":1,"a":2}', '[{"id":1}]', "null", '"\\""'])
SPACES = st.sampled_from([("", ""), (" ", ""), (" ", " "), ("", " ")])


@given(st.lists(st.tuples(KEYS, VALUES), max_size=7), SPACES)
def test_b12_a_doubled_key_is_found_however_it_is_written(pairs, spaces):
    after_colon, after_comma = spaces
    text = "{" + f",{after_comma}".join(f"{key}:{after_colon}{value}" for key, value in pairs) + "}"
    keys = [json.loads(key) for key, _ in pairs]
    assert has_doubled_key(text.encode()) == (len(set(keys)) < len(keys))
