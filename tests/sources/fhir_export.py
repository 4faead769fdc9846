"""A hand-made export in, readable events out: shared by the tests of the FHIR source."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from chartscan.sources import fhir
from chartscan.store.accounting import Accounting
from chartscan.store.config import StoreConfig
from chartscan.store.quarantine import Quarantine
from chartscan.store.spool import amended
from chartscan.store.subjects import subject_id_of

CASES = Path(__file__).parent.parent / "cases" / "fhir"
PATIENT = {"resourceType": "Patient", "id": "ana", "gender": "female", "birthDate": "1950-03-04"}
LOINC, SNOMED = "http://loinc.org", "http://snomed.info/sct"


class Recorder:
    """Stands in for a DatasetWriter: keeps what it is given."""

    def __init__(self, folder: Path):
        self.accounting = Accounting()
        self.config = StoreConfig()
        self.spool_folder = folder / "spool"
        self.quarantine = Quarantine(folder / "quarantine")
        self.tables: list[pa.Table] = []
        self.subject_tables: list[pa.Table] = []
        self.codes: dict[str, str | None] = {}
        self.follow_up: Any = None

    def write(self, events: pa.Table, places: np.ndarray) -> None:
        self.tables.append(events.append_column("place", pa.array(places)))

    def amend(self, dropped: np.ndarray, late: np.ndarray, times: np.ndarray) -> None:
        order = np.argsort(late)
        self.tables = [amended(table, np.sort(dropped), late[order], times[order]) for table in self.tables]

    def subjects(self, table: pa.Table) -> None:
        self.subject_tables.append(table)

    def code(self, code: str, description: str | None) -> None:
        self.codes[code] = description

    def set_follow_up(self, rule: Any) -> None:
        self.follow_up = rule


class Result(NamedTuple):
    """What became of an export."""

    events: list[dict[str, Any]]
    accounting: dict[str, Any]
    writer: Recorder

    def of(self, event_type: str) -> list[dict[str, Any]]:
        """Events of one type."""
        return [e for e in self.events if e["event_type"] == event_type]

    def one(self, event_type: str) -> dict[str, Any]:
        """The only event of one type."""
        (event,) = self.of(event_type)
        return event

    def total(self, outcome: str) -> Counter[str]:
        """Lines by reason over all files: of "filtered" or "quarantined"."""
        found: Counter[str] = Counter()
        for row in self.accounting["lines"]:
            found.update(row[outcome])
        return found

    def quarantine(self) -> list[dict[str, Any]]:
        """The quarantine records."""
        self.writer.quarantine.close()
        file = self.writer.quarantine.folder / "records-main.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()]


def ingest(folder: Path, scratch: Path, **settings: Any) -> Result:
    """Read an export and check that every line is accounted for."""
    writer = Recorder(scratch)
    try:
        fhir.read(folder, writer, fhir.Config(**settings))
    finally:
        writer.quarantine.close()
    writer.accounting.check()
    events = pa.concat_tables(writer.tables).drop("place").to_pylist() if writer.tables else []
    return Result(events, writer.accounting.as_dict(), writer)


def ingest_lines(
    scratch: Path, *lines: dict[str, Any] | bytes, patient: bool = True, **settings: Any
) -> Result:
    """Read these resources, or raw lines, as one file beside a patient called ana."""
    folder = scratch / "export"
    folder.mkdir(exist_ok=True)
    if patient:
        (folder / "a-patient.ndjson").write_text(json.dumps(PATIENT) + "\n")
    raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    (folder / "data.ndjson").write_bytes(b"".join(line + b"\n" for line in raw))
    return ingest(folder, scratch, **settings)


def concept(code: str = "2345-7", system: str | None = LOINC) -> dict[str, Any]:
    """A CodeableConcept with one coding."""
    return {"coding": [{"code": code} | ({"system": system} if system else {})]}


def observation(**fields: Any) -> dict[str, Any]:
    """An Observation of ana, with `fields` in place of the defaults; None leaves a field out."""
    default = {
        "resourceType": "Observation",
        "id": "o1",
        "status": "final",
        "code": concept(),
        "subject": {"reference": "Patient/ana"},
        "effectiveDateTime": "2020-01-01T10:00:00Z",
    }
    return {key: value for key, value in (default | fields).items() if value is not None}


def encounter(**fields: Any) -> dict[str, Any]:
    """A hospital stay of ana from 1 to 5 January 2020."""
    default = {
        "resourceType": "Encounter",
        "id": "e1",
        "status": "finished",
        "class": {"code": "IMP"},
        "subject": {"reference": "Patient/ana"},
        "period": {"start": "2020-01-01T08:00:00Z", "end": "2020-01-05T12:00:00Z"},
    }
    return {key: value for key, value in (default | fields).items() if value is not None}


def resource(kind: str, **fields: Any) -> dict[str, Any]:
    """Any resource of ana; the reference to her has the name that the type wants."""
    who = "patient" if kind in ("Immunization", "AllergyIntolerance") else "subject"
    return {"resourceType": kind, "id": "x1", who: {"reference": "Patient/ana"}} | fields


def subject(patient_id: str = "ana") -> int:
    """The subject id of a patient."""
    return subject_id_of("fhir", patient_id)
