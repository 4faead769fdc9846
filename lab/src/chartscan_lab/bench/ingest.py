"""How fast FHIR Observations are read, and in how much memory, beside two peers on the same files.

Each measurement runs in a fresh process, in turn: ours reading alone (parse, resolve, build EVENTS tables),
ours whole (and sort, shard, publish), a loop over the standard `json`, and DuckDB's `read_json`. The peers
do less: they flatten the same fields into Arrow tables, with neither checks nor references nor accounting.
"""

import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import numpy as np
import pyarrow as pa

from chartscan.sources import fhir
from chartscan.store.accounting import Accounting
from chartscan.store.config import StoreConfig
from chartscan.store.writer import DatasetWriter
from chartscan_lab.bench.memory import peak_bytes
from chartscan_lab.bench.progress import ProgressFunction, silent
from chartscan_lab.tables import text_table

MEGABYTE = 1_000_000
SUBJECTS_PER_MB = 1  # about a thousand Observations a subject
ROWS = 50_000  # of an Arrow table
_SYSTEM = "http://loinc.org"
_TESTS = [(f"{2000 + i}-{i % 10}", f"Test {i}", ("mg/dL", "mmol/L", "g/L")[i % 3]) for i in range(400)]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `bench ingest` measures."""

    sizes_mb: tuple[int, ...] = (200, 2000)
    rounds: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot work; msgspec turns ValueError into its own validation error."""
        if not self.sizes_mb or min(*self.sizes_mb, self.rounds) < 1:
            raise ValueError("sizes_mb must hold at least one size, and each size and rounds be at least 1")

    def run(self, progress: ProgressFunction = silent) -> dict[str, Any]:
        done, total = 0, len(self.sizes_mb) * self.rounds * len(MODES)

        def report(result: dict[str, Any]) -> None:
            nonlocal done
            done += 1
            progress(done, total, f"{result['size_mb']} MB: {result['mode']} done")

        return run(self.sizes_mb, rounds=self.rounds, report=report)

    def table(self, found: dict[str, Any]) -> str:
        return table(found)


def run(
    sizes_mb: tuple[int, ...] = (200, 2000),
    out: Path | None = None,
    rounds: int = 1,
    folder: Path | None = None,
    report: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Measure every mode at every size, `rounds` times in turn; the results, also written to `out` as JSON.

    Files are made in `folder` (default: the system's temporary one) and removed. `report` gets each
    measurement as it is done.
    """
    results = []
    for size_mb in sizes_mb:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            observations = generate(Path(scratch) / "export", size_mb)
            for _ in range(rounds):
                for mode in MODES:
                    result = {"size_mb": size_mb, "observations": observations} | _measured(
                        mode, Path(scratch)
                    )
                    results.append(result)
                    if report:
                        report(result)
    found = {"unit": "observations per second of wall time", "results": results}
    if out is not None:
        out.write_text(json.dumps(found, indent=1) + "\n")
    return found


def table(found: dict[str, Any]) -> str:
    """What `run` found as lines of text: the median round of every size and mode, beside the peers.

    `x json` and `x duckdb` are our Observations a second over theirs.
    """
    medians = _medians(found["results"])
    headings = ("mode", "MB", "Obs/s", "Obs/CPU s", "seconds", "peak MB", *(f"x {peer}" for peer in PEERS))
    lines = []
    for (size_mb, mode), row in medians.items():
        speeds = (row["per_second"], row["per_cpu_second"])
        ratios = (
            "" if mode in PEERS else f"{speeds[0] / medians[size_mb, peer]['per_second']:.2f}"
            for peer in PEERS
        )
        numbers = (*(f"{speed:,}" for speed in speeds), f"{row['seconds']:.2f}", f"{row['peak_mb']:,}")
        lines.append((mode, str(size_mb), *numbers, *ratios))
    return "\n".join(text_table(headings, lines))


def _medians(results: list[dict[str, Any]]) -> dict[tuple[int, str], dict[str, Any]]:
    """The middle round of every size and mode, by its speed."""
    rounds: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for result in results:
        rounds.setdefault((result["size_mb"], result["mode"]), []).append(result)
    return {
        key: sorted(rows, key=lambda row: row["per_second"])[len(rows) // 2] for key, rows in rounds.items()
    }


def generate(folder: Path, size_mb: int, seed: int = 0) -> int:
    """Write an export of about `size_mb` megabytes of Observations; gives their number."""
    folder.mkdir(parents=True)
    rng = random.Random(seed)
    subjects = max(1, size_mb * SUBJECTS_PER_MB)
    with (folder / "Patient.ndjson").open("w") as file:
        for i in range(subjects):
            patient = {
                "resourceType": "Patient",
                "id": f"p{i:08d}",
                "gender": "female",
                "birthDate": "1950-01-31",
            }
            file.write(json.dumps(patient) + "\n")
    count = written = 0
    with (folder / "Observation.ndjson").open("w") as file:
        while written < size_mb * MEGABYTE:
            written += file.write(json.dumps(_observation(rng, count, subjects)) + "\n")
            count += 1
    return count


def _observation(rng: random.Random, number: int, subjects: int) -> dict[str, Any]:
    """One laboratory result in the shape and size of a real export; every time is different."""
    code, display, unit = _TESTS[rng.randrange(len(_TESTS))]
    taken = datetime(2010, 1, 1) + timedelta(seconds=rng.randrange(400_000_000))
    return {
        "resourceType": "Observation",
        "id": f"{rng.getrandbits(128):032x}",
        "meta": {
            "versionId": "1",
            "lastUpdated": "2024-05-06T07:08:09.123+00:00",
            "profile": ["http://hl7.org/fhir/us/core/StructureDefinition/us-core-observation-lab"],
        },
        "identifier": [{"system": "urn:oid:1.2.3.4.5", "value": str(number)}],
        "status": "final",
        "category": [
            {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/observation-category",
                        "code": "laboratory",
                    }
                ]
            }
        ],
        "code": {"coding": [{"system": _SYSTEM, "code": code, "display": display}], "text": display},
        "subject": {"reference": f"Patient/p{rng.randrange(subjects):08d}"},
        "effectiveDateTime": taken.strftime("%Y-%m-%dT%H:%M:%S+01:00"),
        "issued": (taken + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.250+01:00"),
        "performer": [{"reference": "Organization/laboratory", "display": "Central laboratory"}],
        "valueQuantity": {
            "value": round(rng.lognormvariate(3, 1), 2),
            "unit": unit,
            "system": "http://unitsofmeasure.org",
            "code": unit,
        },
        "referenceRange": [{"low": {"value": 3.5, "unit": unit}, "high": {"value": 99.5, "unit": unit}}],
        "interpretation": [{"coding": [{"system": "urn:oid:2.16.840.1.113883.5.83", "code": "N"}]}],
    }


def _measured(mode: str, scratch: Path) -> dict[str, Any]:
    """One mode in a process of its own."""
    command = [sys.executable, "-m", "chartscan_lab.bench.ingest", mode, str(scratch)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def _observe(mode: str, scratch: Path) -> dict[str, Any]:
    """Run a mode here: Observations a second, and the peak memory of this process."""
    start, cpu_start = time.perf_counter(), time.process_time()
    rows = MODES[mode](scratch)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    return {
        "mode": mode,
        "rows": rows,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu_seconds, 2),  # of all threads: hardly depends on other work on the machine
        "per_second": round(rows / seconds),
        "per_cpu_second": round(rows / cpu_seconds),
        "peak_mb": round(peak_bytes() / MEGABYTE),
    }


class _Discard:
    """Stands where a DatasetWriter does and forgets what it is given, to time reading alone."""

    def __init__(self, scratch: Path) -> None:
        self.accounting = Accounting()
        self.config = StoreConfig()
        self.spool_folder = scratch

    def write(self, events: pa.Table, places: np.ndarray) -> None:
        """Forget."""

    def amend(self, dropped: np.ndarray, late: np.ndarray, times: np.ndarray) -> None:
        """Forget."""

    def code(self, code: str, description: str | None) -> None:
        """Forget."""

    def subjects(self, table: pa.Table) -> None:
        """Forget."""


def _read(scratch: Path) -> int:
    writer = _Discard(scratch)
    fhir.read(scratch / "export", writer)  # type: ignore[arg-type]
    return _accepted(writer.accounting)


def _whole(scratch: Path) -> int:
    out = scratch / "dataset"
    try:
        with DatasetWriter(out, source="fhir") as writer:
            fhir.read(scratch / "export", writer)
        return _accepted(writer.accounting)
    finally:
        shutil.rmtree(out, ignore_errors=True)


def _accepted(accounting: Accounting) -> int:
    return sum(row["accepted"] for row in accounting.table() if row["type"] == "Observation")


def _json(scratch: Path) -> int:
    """Peer: the standard library, one dict a line."""
    count = 0
    with (scratch / "export" / "Observation.ndjson").open("rb") as file:
        for rows in _batches(map(_flat, map(json.loads, file))):
            count += pa.Table.from_arrays(
                list(map(pa.array, zip(*rows, strict=True))), list("abcdefghij")
            ).num_rows
    return count


def _flat(o: dict[str, Any]) -> tuple:
    coding, quantity = o["code"]["coding"][0], o.get("valueQuantity") or {}
    return (
        o["id"],
        o["status"],
        o["subject"]["reference"],
        coding["system"],
        coding["code"],
        datetime.fromisoformat(o["effectiveDateTime"]),
        datetime.fromisoformat(o["issued"]),
        quantity.get("value"),
        quantity.get("unit"),
        quantity.get("comparator"),
    )


def _batches(rows: Iterator[tuple]) -> Iterator[list[tuple]]:
    batch = []
    for row in rows:
        batch.append(row)
        if len(batch) == ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


_DUCKDB = """
SELECT id, status, subject.reference, code.coding[1].system, code.coding[1].code,
       effectiveDateTime::TIMESTAMPTZ, issued::TIMESTAMPTZ,
       valueQuantity.value, valueQuantity.unit, valueQuantity.comparator
FROM read_json(?, format = 'newline_delimited', columns = {
  id: 'VARCHAR', status: 'VARCHAR', subject: 'STRUCT(reference VARCHAR)',
  code: 'STRUCT(coding STRUCT(system VARCHAR, code VARCHAR)[])',
  effectiveDateTime: 'VARCHAR', issued: 'VARCHAR',
  valueQuantity: 'STRUCT(value DOUBLE, unit VARCHAR, comparator VARCHAR)'})
"""


def _duckdb(scratch: Path) -> int:
    """Peer: DuckDB on one thread, with the columns given."""
    with duckdb.connect(config={"threads": 1}) as connection:
        file = str(scratch / "export" / "Observation.ndjson")
        reader: Any = connection.sql(_DUCKDB, params=[file]).to_arrow_reader(ROWS)
        return sum(batch.num_rows for batch in reader)


PEERS = ("json", "duckdb")
MODES: dict[str, Callable[[Path], int]] = {"read": _read, "json": _json, "duckdb": _duckdb, "whole": _whole}

if __name__ == "__main__":
    print(json.dumps(_observe(sys.argv[1], Path(sys.argv[2]))))
