"""`chartscan bench`: measurements of this machine, as lines of text and, if wanted, as JSON."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from chartscan import files
from chartscan.errors import ConfigError
from chartscan.find import unknown
from chartscan.recipes import bench_ingest, bench_train
from chartscan.settings import with_settings


class IngestBench(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `bench ingest` measures."""

    sizes_mb: tuple[int, ...] = (200, 2000)
    rounds: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot work; msgspec turns ValueError into its own validation error."""
        if not self.sizes_mb or min(*self.sizes_mb, self.rounds) < 1:
            raise ValueError("sizes_mb must hold at least one size, and each size and rounds be at least 1")

    def run(self) -> tuple[dict[str, Any], str]:
        found = bench_ingest.run(self.sizes_mb, rounds=self.rounds)
        return found, bench_ingest.table(found)


class TrainBench(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `bench train` measures."""

    lengths: tuple[int, ...] = bench_train.LENGTHS
    peer_lengths: tuple[int, ...] = bench_train.PEER_LENGTHS
    threads: int = 1
    repeats: int = 3

    def __post_init__(self) -> None:
        """Refuse what cannot work; msgspec turns ValueError into its own validation error."""
        if not self.lengths or min(*self.lengths, *self.peer_lengths, self.threads, self.repeats) < 1:
            raise ValueError(
                "lengths must hold at least one length, and each length, threads and repeats be at least 1"
            )

    def run(self) -> tuple[dict[str, Any], str]:
        found = bench_train.run(self.lengths, self.peer_lengths, self.threads, self.repeats)
        return found, bench_train.table(found)


BENCHES: dict[str, Callable[[], IngestBench | TrainBench]] = {"ingest": IngestBench, "train": TrainBench}


def run_bench(what: str, out: Path | None, settings: list[str]) -> Iterator[str]:
    """Measures, writes `out` as JSON where given, and gives a table of text."""
    if what not in BENCHES:
        raise ConfigError(unknown("bench", what, list(BENCHES)))
    bench = with_settings(BENCHES[what](), settings)
    if out and out.is_dir():
        raise ConfigError(f"--out {out} is a folder; expected a file, such as {out}/{what}.json.")
    found, table = bench.run()
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(out, json.dumps(found, indent=1).encode() + b"\n")
    yield table
