"""Observations a second and peak memory of `chartscan ingest fhir`, beside json and DuckDB.

python lab/benchmarks/ingest.py [--sizes-mb 200 2000] [--rounds 3] [--out ingest.json]
"""

import argparse
from pathlib import Path

from chartscan_lab.bench import ingest


def main() -> None:
    """Measure and print one line a measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes-mb", type=int, nargs="+", default=[200, 2000])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    ingest.run(tuple(options.sizes_mb), options.out, options.rounds, report=print)


if __name__ == "__main__":
    main()
