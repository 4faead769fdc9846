"""Three hand-written patients in (cases/fhir/export), events out (cases/fhir/expected_events.csv)."""

import csv
import gzip
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chartscan.store.config import ExportTime
from fhir_export import CASES, Result, ingest, subject

NAMES = {subject(patient): patient for patient in ("ana", "ben", "cleo")}


def readable(result: Result) -> list[dict[str, str]]:
    """Events as the rows of the expected file, in its order."""
    with (CASES / "expected_events.csv").open() as file:
        columns = next(csv.reader(file))
    named = [event | {"subject": NAMES[event["subject_id"]]} for event in result.events]
    rows = [{c: "" if e[c] is None else str(e[c]) for c in columns} for e in named]
    return sorted(rows, key=lambda row: list(row.values()))


def expected() -> list[dict[str, str]]:
    with (CASES / "expected_events.csv").open() as file:
        return list(csv.DictReader(file))


def test_three_patients_give_the_events_a_clinician_expects(tmp_path):
    result = ingest(CASES / "export", tmp_path)
    assert readable(result) == expected()
    assert result.total("quarantined") == {}
    assert result.total("filtered") == {
        "status cancelled": 1,
        "status entered-in-error": 1,
        "status not-done": 1,
        "intent plan": 1,
        "verification refuted": 1,
        "unsupported type": 1,
    }
    assert result.accounting["flagged"] == {
        "availability_assumed": 4,
        "birth_partial": 1,
        "death_without_date": 1,
        "encounter_without_end": 1,
        "no_code": 1,
        "time_from_encounter_end": 1,
    }


def test_subjects_are_told_with_their_patient_ids(tmp_path):
    tables = ingest(CASES / "export", tmp_path).writer.subject_tables
    rows = [row for table in tables for row in table.to_pylist()]
    told = {row["patient_id"]: row["subject_id"] for row in rows}
    assert told == {name: number for number, name in NAMES.items()}


def test_descriptions_come_from_the_displays(tmp_path):
    codes = ingest(CASES / "export", tmp_path).writer.codes
    assert codes["LOINC//2345-7"] == "Glucose"
    assert codes["ICD10CM//E119"] == "Type 2 diabetes"


@pytest.mark.parametrize("seed", [0, 1])
def test_file_names_folders_compression_and_line_order_do_not_matter(tmp_path, seed):
    rng = random.Random(seed)
    lines = [line for file in (CASES / "export").glob("*.ndjson") for line in file.read_bytes().splitlines()]
    rng.shuffle(lines)
    folder = tmp_path / "shuffled"
    (folder / "deep").mkdir(parents=True)
    (folder / "x.ndjson").write_bytes(b"\r\n".join(lines[:12]))
    (folder / "deep" / "y.ndjson.gz").write_bytes(gzip.compress(b"\n".join(lines[12:20])))
    (folder / "plain.ndjson.gz").write_bytes(b"\n\n".join(lines[20:]) + b"\n")
    assert readable(ingest(folder, tmp_path)) == expected()


def test_notes_and_names_never_reach_the_events(tmp_path):
    result = ingest(CASES / "export", tmp_path)
    everything = str(result.events) + str(result.writer.codes)
    assert "Somebody" not in everything
    assert "little white pills" not in everything


def test_the_manifest_of_the_export_gives_the_follow_up(tmp_path):
    folder = copy_of_the_cases(tmp_path)
    (folder / "manifest.json").write_text('{"transactionTime": "2022-03-04T05:06:07Z", "output": []}')
    result = ingest(folder, tmp_path)
    assert result.writer.follow_up == ExportTime(datetime(2022, 3, 4, 5, 6, 7, tzinfo=UTC))
    assert ingest(CASES / "export", tmp_path).writer.follow_up is None


def copy_of_the_cases(scratch: Path) -> Path:
    folder = scratch / "copy"
    folder.mkdir()
    for file in (CASES / "export").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder
