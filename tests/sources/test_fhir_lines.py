"""Broken files and lines: each is counted with its reason, the rest is read, and nothing is lost."""

import gzip
import json

import numpy as np
import pytest

from chartscan.errors import DataError
from chartscan.sources import fhir
from chartscan.sources.fhir import lines as lines_module
from chartscan.sources.fhir.decode import _depth, _most_brackets
from chartscan.sources.fhir.lines import line_ends
from chartscan.store.dataset import Dataset
from chartscan.store.writer import DatasetWriter
from fhir_export import PATIENT, encounter, ingest, ingest_lines, observation, resource

GOOD = json.dumps(observation()).encode()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (GOOD[:-20], "B01 truncated_line"),
        (GOOD[:1] + b"," + GOOD[1:], "B02 malformed_json"),
        (b"not json", "B02 malformed_json"),
        (b'{"resourceType":"Observation","value":NaN}', "B02 malformed_json"),
        (GOOD + b"TRAILER", "B04 trailing_junk"),
        (GOOD + GOOD, "B04 trailing_junk"),
        (GOOD.replace(b"o1", b"\xff"), "B07 bad_encoding"),
        (GOOD.replace(b"o1", b"\\ud800"), "B08 lone_surrogate"),
        (GOOD[:-1] + b',"x":' + b"[" * 65 + b"]" * 65 + b"}", "B11 nested_too_deep"),
        (GOOD[:-1] + b',"x":' + b'{"x":' * 70 + b"1" + b"}" * 71, "B11 nested_too_deep"),
        (GOOD[:-1] + b',"x":' + b"[" * 99_999 + b"]" * 99_999 + b"}", "B11 nested_too_deep"),
        (b"{}", "B17 no_resource_type"),
        (b'{"resourceType":"Mrs Ana Smith"}', "B17 no_resource_type"),
        (b"[1]", "B17 no_resource_type"),
        (b'"text"', "B17 no_resource_type"),
        (GOOD.replace(b'"o1"', b"1"), "B17 field_of_wrong_type"),
        (GOOD.replace(b'{"coding"', b'{"coding": 1, "x"'), "B17 field_of_wrong_type"),
        (GOOD[:-1] + b',"category":1}', "B17 field_of_wrong_type"),
        (GOOD[:-1] + b',"category":[{"text":"\\ud800"}]}', "B08 lone_surrogate"),
        (GOOD[:-1] + b',"valueRange":{"low":"x"}}', "B17 field_of_wrong_type"),
        (GOOD.replace(b'"o1"', b'""'), "B23 missing_id"),
    ],
)
def test_a_bad_line_is_quarantined_and_the_rest_is_read(tmp_path, line, reason):
    result = ingest_lines(tmp_path, observation(id="a"), line, observation(id="b"))
    assert len(result.of("observation")) == 2
    assert result.total("quarantined") == {reason: 1}
    (record,) = result.quarantine()
    assert (record["reason"], record["file"], record["line"]) == (reason, "data.ndjson", 2)
    assert record["byte_offset"] == len(json.dumps(observation(id="a"))) + 1


def test_64_levels_are_not_too_deep(tmp_path):
    line = GOOD[:-1] + b',"x":' + b"[" * 63 + b"]" * 63 + b',"y":"' + b"{[" * 99 + b'"}'
    assert len(ingest_lines(tmp_path, line).of("observation")) == 1
    assert _depth(line) == 64
    data = b"\n" + line + b"\n{}"
    space = np.empty(len(data) + 1, np.uint8)
    assert _most_brackets(data, line_ends(data), space) == line.count(b"{") + line.count(b"[")


def test_blank_lines_crlf_and_byte_order_marks_are_no_harm_b05_b06(tmp_path):
    bom = b"\xef\xbb\xbf"
    lines = [bom + GOOD + b"\r", b"", b"  \r", bom + GOOD.replace(b"o1", b"o2")]
    result = ingest_lines(tmp_path, *lines)
    assert len(result.of("observation")) == 2
    assert result.total("filtered") == {"blank": 2}
    assert result.accounting["normalised"] == {"crlf_line_end": 2}


def test_lines_end_at_the_byte_0a_only_b08(tmp_path):
    line = json.dumps(observation(valueString="a\u2028b\u0085c\x0bd"), ensure_ascii=False)
    result = ingest_lines(tmp_path, line.replace("\\u000b", "\\u000b").encode())
    assert result.one("observation")["text_value"] == "a\u2028b\u0085c\x0bd"


def test_a_line_over_the_limit_is_quarantined_without_being_kept_b10(tmp_path):
    huge = GOOD[:-1] + b',"x":"' + b"A" * 3_000_000 + b'"}'
    result = ingest_lines(tmp_path, observation(id="a"), huge, observation(id="b"), huge, line_limit_mb=1)
    assert len(result.of("observation")) == 2
    assert result.total("quarantined") == {"B10 line_too_long": 2}
    assert [r["line"] for r in result.quarantine()] == [2, 4]
    offsets = [r["byte_offset"] for r in result.quarantine()]
    assert offsets[1] - offsets[0] == len(huge) + 1 + len(GOOD.replace(b"o1", b"a")) + 1


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_the_block_size_changes_nothing(tmp_path, monkeypatch, block):
    lines = [observation(id=str(i)) for i in range(5)] + [b"bad", b"", observation(id="z")]
    expected = ingest_lines(tmp_path, *lines)
    monkeypatch.setattr(lines_module, "BLOCK_BYTES", block)
    found = ingest_lines(tmp_path, *lines)
    assert found.events == expected.events
    assert found.accounting == expected.accounting


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("closed", [False, True])
def test_a_line_lost_while_reading_stops_the_run(tmp_path, monkeypatch, packed, closed):
    folder = tmp_path / "export"
    folder.mkdir()
    lines = [json.dumps(line).encode() for line in (PATIENT, observation(), observation(id="o2"))]
    data = b"\n".join(lines) + b"\n" * closed
    (folder / "all.ndjson").write_bytes(gzip.compress(data) if packed else data)
    assert len(ingest(folder, tmp_path).of("observation")) == 2
    monkeypatch.setattr(lines_module, "line_ends", lambda data: line_ends(data)[:-1])
    with pytest.raises(DataError, match=r"all\.ndjson: 3 lines in the file, 2 accounted for"):
        ingest(folder, tmp_path)


def test_an_invented_type_is_counted_without_its_name(tmp_path):
    result = ingest_lines(tmp_path, resource("MrsAnaSmith"), resource("Specimen"))
    types = {row["type"]: row["filtered"] for row in result.accounting["lines"] if row["filtered"]}
    assert types == {"unknown type": {"unsupported type": 1}, "Specimen": {"unsupported type": 1}}


def test_types_may_be_mixed_and_stand_anywhere_in_the_line_b17(tmp_path):
    nested = {"contained": [resource("Patient", id="inner")], **observation(id="n")}
    last = {k: v for k, v in observation(id="l").items() if k != "resourceType"} | {
        "resourceType": "Observation"
    }
    lines = [
        nested,
        resource("OperationOutcome"),
        encounter(),
        last,
        resource("Condition", recordedDate="2020"),
    ]
    result = ingest_lines(tmp_path, *lines)
    assert len(result.of("observation")) == 2
    assert len(result.of("admission")) == len(result.of("diagnosis")) == len(result.of("birth")) == 1
    assert result.total("filtered") == {"error report": 1}
    types = {
        row["type"]: row["accepted"] for row in result.accounting["lines"] if row["file"] == "data.ndjson"
    }
    assert types == {"Observation": 2, "Encounter": 1, "Condition": 1, "OperationOutcome": 0}


def test_the_same_patient_twice_is_merged_and_the_highest_version_wins_b24_b25(tmp_path):
    older = PATIENT | {"meta": {"versionId": "2"}, "birthDate": "1960-01-01"}
    newest = PATIENT | {"meta": {"versionId": "10"}, "birthDate": "1961-01-01"}
    result = ingest_lines(tmp_path, newest, older, PATIENT, newest, patient=False)
    assert result.one("birth")["time"].year == 1961
    (row,) = result.accounting["lines"]
    assert (row["lines_in"], row["accepted"], row["merged_duplicates"]) == (4, 1, 3)
    assert result.accounting["flagged"] == {"patient_versions_differ": 2}


def test_the_later_line_wins_where_no_version_is_given_b25(tmp_path):
    later = encounter(period={"start": "2020-01-02T08:00:00Z"})
    result = ingest_lines(tmp_path, encounter(), later)
    assert result.one("admission")["time"].day == 2
    cancelled = ingest_lines(tmp_path, encounter(), encounter(status="cancelled"))
    assert not cancelled.of("admission")


@pytest.mark.parametrize("damage", ["cut", "junk"])
def test_nothing_of_a_broken_gzip_file_is_used_b13(tmp_path, damage):
    folder = tmp_path / "export"
    folder.mkdir()
    people = [PATIENT | {"id": f"{i}-{'x' * 50}"} for i in range(3000)]
    packed = gzip.compress("".join(json.dumps(p) + "\n" for p in people).encode())
    broken = packed[: len(packed) // 2] if damage == "cut" else packed + b"junk"
    (folder / "people.ndjson.gz").write_bytes(broken)
    (folder / "ana.ndjson").write_text(json.dumps(PATIENT))
    result = ingest(folder, tmp_path)
    assert {e["subject_id"] for e in result.events} == {result.one("birth")["subject_id"]}
    assert set(result.total("quarantined")) == {"B13 broken_gzip"}


def test_gzip_members_may_follow_each_other_b13(tmp_path):
    folder = tmp_path / "export"
    folder.mkdir()
    members = [gzip.compress(json.dumps(line).encode() + b"\n") for line in (PATIENT, observation())]
    (folder / "all.ndjson").write_bytes(b"".join(members))
    assert len(ingest(folder, tmp_path).of("observation")) == 1


def test_a_utf16_file_is_quarantined_whole_b07(tmp_path):
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "ana.ndjson").write_text(json.dumps(PATIENT))
    (folder / "wide.ndjson").write_bytes(GOOD.decode().encode("utf-16"))
    result = ingest(folder, tmp_path)
    assert not result.of("observation")
    assert set(result.total("quarantined")) == {"B07 bad_encoding"}


def test_a_folder_without_fhir_or_without_patients_is_refused_b15(tmp_path):
    with pytest.raises(DataError, match=r"does not exist"):
        ingest(tmp_path / "nowhere", tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"no FHIR in JSON \(notes.txt: no JSON\)"):
        ingest(tmp_path, tmp_path)
    with pytest.raises(DataError, match=r"no Patient.*allow_missing"):
        ingest_lines(tmp_path, observation(), patient=False)


def test_progress_counts_both_passes_and_ends_at_its_total(tmp_path):
    (tmp_path / "a.ndjson").write_text(json.dumps(PATIENT) + "\n")
    (tmp_path / "b.ndjson").write_text(json.dumps(observation()) + "\n")
    seen = []
    with DatasetWriter(tmp_path / "out", source="fhir") as writer:
        fhir.read(tmp_path, writer, progress=lambda done, total: seen.append((done, total)))
    size = sum(file.stat().st_size for file in tmp_path.glob("*.ndjson"))
    assert seen == sorted(seen)
    assert seen[-1] == (2 * size, 2 * size)
    assert Dataset.open(tmp_path / "out").manifest["accounting"]["events_out"] == 3
