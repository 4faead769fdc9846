"""From the word on the command line to a bench, its numbers as JSON and its table."""

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec

from chartscan import files
from chartscan.errors import ConfigError
from chartscan.find import unknown
from chartscan.settings import with_settings
from chartscan_lab.bench import efficiency, forecast, ingest, scan, step, train
from chartscan_lab.bench.progress import ProgressFunction, silent

BENCHES: dict[
    str,
    type[efficiency.Settings]
    | type[forecast.Settings]
    | type[ingest.Settings]
    | type[scan.Settings]
    | type[step.Settings]
    | type[train.Settings],
] = {
    "forecast": forecast.Settings,
    "ingest": ingest.Settings,
    "models": efficiency.Settings,
    "scan": scan.Settings,
    "step": step.Settings,
    "train": train.Settings,
}


def run_bench(
    what: str, out: Path | None, settings: list[str], progress: ProgressFunction = silent
) -> Iterator[str]:
    """Measures, writes `out` as JSON where given, and gives a table of text."""
    if what not in BENCHES:
        raise ConfigError(unknown("bench", what, list(BENCHES)))
    bench = with_settings(BENCHES[what](), settings)
    if out and out.is_dir():
        raise ConfigError(f"--out {out} is a folder; expected a file, such as {out}/{what}.json.")
    found = bench.run(progress)
    if out:
        files.write_bytes(
            out, json.dumps({"settings": msgspec.to_builtins(bench)} | found, indent=1).encode() + b"\n"
        )
    yield bench.table(found)
