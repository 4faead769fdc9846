"""Everything that docs/benchmark.md says of kernels, measured again: `python lab/benchmarks/kernels.py OUT`.

Writes OUT/scan-2.json and scan-1.json (by threads), step.json and train.json, and prints the tables. About 20
minutes on two quiet cores.
"""

import sys
from pathlib import Path

from chartscan.console import Display
from chartscan_lab.bench.command import run_bench

JOBS = {
    "scan-2": ("scan", ["threads=2"]),
    "scan-1": ("scan", ["threads=1"]),
    "step": ("step", []),
    "train": ("train", []),
}


def main(out: Path) -> None:
    """All jobs, one after another."""
    display = Display()
    for name, (what, settings) in JOBS.items():
        with display.progress(name, "measurements") as progress:
            lines = list(run_bench(what, out / f"{name}.json", settings, progress))
        display.say("\n".join([f"{name}:", *lines, ""]))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
