"""Writes the simulated hospital as a FHIR bulk export, with the true risks beside it.

Subjects are simulated and written one after the other, so memory does not grow with their number. The
folder appears under its name only when it is complete.
"""

import gzip
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, cast

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from chartscan import files
from chartscan.errors import ConfigError
from chartscan.simulator.fhir import RESOURCE_TYPES, instant, medications, render
from chartscan.simulator.life import live
from chartscan.simulator.subject import EXPORT, Prediction

TRUTH = pa.schema(
    [
        pa.field("task", pa.string(), nullable=False),
        pa.field("patient_id", pa.string(), nullable=False),  # id of the Patient resource
        pa.field("prediction_time", pa.timestamp("us"), nullable=False),  # UTC, without a zone as in EVENTS
        pa.field("true_risk", pa.float64(), nullable=False),  # P(label is 1 | record up to prediction_time)
    ]
)
_TRUTH_TEXT = {
    "file": "risk.parquet",
    "true_risk": "probability that the label is 1, given the record up to and including prediction_time, "
    "the parameters of the simulator, and that the outcome becomes known",
    "patient_id": "id of the Patient resource",
    "prediction_time": "UTC",
}
Progress = Callable[[int, int | None], None]
_TRUTH_ROWS = 100_000
_BUFFER = 1 << 20


class SimulateConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How large a hospital, which one (`seed`), and whether its files are compressed with gzip."""

    subjects: int = 1000
    seed: int = 0
    compress: bool = False

    def __post_init__(self) -> None:
        if self.subjects < 1 or self.seed < 0 or self.seed >= 2**63:
            raise ConfigError(
                "Expected subjects >= 1 and 0 <= seed < 2**63; "
                f"found subjects={self.subjects}, seed={self.seed}."
            )


def patient_id(index: int) -> str:
    """Id of the Patient resource of subject `index`."""
    return f"p{index:08d}"


def simulate(out: Path, config: SimulateConfig, progress: Progress | None = None) -> dict[str, int]:
    """Write the export to the new folder `out`; return resource counts by type.

    `out` gets one NDJSON file per resource type, `manifest.json` and `truth/`. Equal configurations give
    equal bytes, and subject i is the same in a hospital of any size. `progress(done, total)` is called
    about once per hundred subjects. Raises ConfigError if `out` exists; on failure nothing is left there.
    """
    out = Path(out)
    with files.appearing(out) as staging:
        counts = _write(staging, config, progress or (lambda done, total: None))
        _write_manifest(staging, config, counts)
    return counts


def _write(folder: Path, config: SimulateConfig, progress: Progress) -> dict[str, int]:
    counts = dict.fromkeys(RESOURCE_TYPES, 0)
    with ExitStack() as stack:
        lines = {
            name: stack.enter_context(_Lines(folder / _file_name(name, config), config))
            for name in RESOURCE_TYPES
        }
        truth = stack.enter_context(_TruthFile(folder / "truth"))
        _write_lines(lines, counts, {"Medication": medications()})
        for index in range(config.subjects):
            record = live(config.seed, index)
            subject = patient_id(index)
            _write_lines(lines, counts, render(record, subject))
            truth.add(subject, record.predictions)
            if (index + 1) % 100 == 0 or index + 1 == config.subjects:
                progress(index + 1, config.subjects)
    return counts


def _file_name(resource_type: str, config: SimulateConfig) -> str:
    return f"{resource_type}.ndjson.gz" if config.compress else f"{resource_type}.ndjson"


class _Lines:
    """A file of lines. An OSError names it."""

    def __init__(self, path: Path, config: SimulateConfig):
        self._path = path
        self._raw = path.open("wb", buffering=_BUFFER)
        self._file: IO[bytes] = self._raw
        if config.compress:
            packed = gzip.GzipFile(filename="", mode="wb", compresslevel=2, fileobj=self._raw, mtime=0)
            self._file = cast(IO[bytes], packed)

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *_: object) -> None:
        with files.naming(self._path):
            try:
                self._file.close()
            finally:
                self._raw.close()

    def write(self, lines: list[str]) -> None:
        """Adds lines."""
        with files.naming(self._path):
            self._file.write(("\n".join(lines) + "\n").encode("ascii"))


def _write_lines(files_of: dict[str, _Lines], counts: dict[str, int], texts: dict[str, list[str]]) -> None:
    for name, lines in texts.items():
        if lines:
            files_of[name].write(lines)
            counts[name] += len(lines)


class _TruthFile:
    """The table of true risks, written in row groups."""

    def __init__(self, folder: Path):
        folder.mkdir()
        _write_text(folder / "risk.json", json.dumps(_TRUTH_TEXT, indent=2) + "\n")
        self._path = folder / "risk.parquet"
        with files.naming(self._path):
            self._writer = pq.ParquetWriter(self._path, TRUTH, compression="zstd")
        self._rows: list[tuple[str, str, int, float]] = []

    def __enter__(self) -> "_TruthFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()
        with files.naming(self._path):
            self._writer.close()

    def add(self, subject: str, predictions: list[Prediction]) -> None:
        """Keep the predictions of a subject."""
        self._rows.extend((p.task, subject, p.time * 1_000_000, p.true_risk) for p in predictions)
        if len(self._rows) >= _TRUTH_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            columns = [
                pa.array(column, field.type)
                for column, field in zip(zip(*self._rows, strict=True), TRUTH, strict=True)
            ]
            with files.naming(self._path):
                self._writer.write_table(pa.table(columns, schema=TRUTH))
            self._rows = []


def _write_manifest(folder: Path, config: SimulateConfig, counts: dict[str, int]) -> None:
    """The completion manifest of FHIR bulk data access; `url` is relative to the folder."""
    output = [
        {"type": name, "url": _file_name(name, config), "count": counts[name]} for name in RESOURCE_TYPES
    ]
    manifest = {
        "transactionTime": instant(EXPORT),
        "request": f"urn:chartscan:simulate?subjects={config.subjects}&seed={config.seed}",
        "requiresAccessToken": False,
        "output": output,
        "error": [],
    }
    _write_text(folder / "manifest.json", json.dumps(manifest, indent=2) + "\n")


def _write_text(path: Path, text: str) -> None:
    with files.naming(path):
        path.write_text(text, encoding="utf-8")
