"""Runs `chartscan ingest fhir` on hand-made files, for tests of exit codes, messages and counts."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest

from chartscan import cli
from fhir_export import PATIENT, encounter, observation, resource

CONDITION = resource("Condition", id="c1", recordedDate="2020-01-02T09:00:00Z", code={"text": "x"})
TIME = "2021-01-01T00:00:00Z"
MANIFEST = {"transactionTime": TIME, "request": "x", "requiresAccessToken": False, "output": [], "error": []}


def ndjson(*records: Any) -> bytes:
    """Records, or raw lines, one on each line."""
    lines = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in records]
    return b"".join(line + b"\n" for line in lines)


def observations(count: int, prefix: str = "o") -> list[dict[str, Any]]:
    """Observations with ids and values of their own."""
    return [observation(id=f"{prefix}{i}", valueQuantity={"value": i, "unit": "g"}) for i in range(count)]


EXPORT = {
    "Patient.ndjson": ndjson(PATIENT),
    "Encounter.ndjson": ndjson(encounter()),
    "Condition.ndjson": ndjson(CONDITION),
    "Observation.ndjson": ndjson(*observations(2)),
    "manifest.json": json.dumps(MANIFEST).encode(),
}


class Outcome(NamedTuple):
    """What a run did; `manifest` is empty where nothing was published."""

    code: int
    out: str
    error: str
    manifest: dict[str, Any]
    events: list[dict[str, Any]]

    def of(self, event_type: str) -> list[dict[str, Any]]:
        """Events of one type."""
        return [event for event in self.events if event["event_type"] == event_type]

    def lines(self, outcome: str) -> Counter[str]:
        """Lines by reason: of "filtered" or "quarantined"."""
        found: Counter[str] = Counter()
        for row in self.manifest["accounting"]["lines"]:
            found.update(row[outcome])
        return found

    @property
    def files(self) -> dict[str, tuple[str, str]]:
        """How each file was treated, and why."""
        return {f["name"]: (f["how"], f["reason"]) for f in self.manifest["accounting"]["files"]}

    @property
    def warnings(self) -> list[str]:
        """Warnings of the run."""
        return self.manifest["accounting"]["warnings"]


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Ingests EXPORT with `files` added or changed (None: left out); more arguments go to the command."""

    def run_(files: dict[str, bytes | None] | None = None, *arguments: str) -> Outcome:
        folder, out = tmp_path / "export", tmp_path / "dataset"
        for name, content in (EXPORT | (files or {})).items():
            if content is None:
                (folder / name).unlink(missing_ok=True)
            else:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
        return ingest_folder(folder, out, *arguments)

    def ingest_folder(folder: Path, out: Path, *arguments: str) -> Outcome:
        argv = ["chartscan", "ingest", "fhir", str(folder), str(out), *arguments]
        monkeypatch.setattr(sys, "argv", argv)
        monkeypatch.setenv("COLUMNS", "1000")
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        said = capsys.readouterr()
        manifest, events = {}, []
        if out.exists():
            manifest = json.loads((out / "manifest.json").read_text())
            shards = sorted((out / "data").rglob("*.parquet"))
            events = [row for shard in shards for row in pq.ParquetFile(shard).read().to_pylist()]
        return Outcome(code, said.out, said.err, manifest, events)

    return run_


LENIENT = ("--store", "error_budget=1")
