"""Training curves for the run record, thinned to what a plot can show."""

from pathlib import Path

import msgspec
import numpy as np

from chartscan import files

CURVE_POINTS = 400  # of a phase


def loss_curves(work: Path) -> dict[str, list[dict[str, float]]]:
    """Losses of each phase (at most CURVE_POINTS, evenly taken, with the last), and its evaluations."""
    curves = {}
    for file in sorted(work.glob("*/*.jsonl")):
        rows = [msgspec.json.decode(line) for line in files.read_bytes(file).splitlines()]
        taken = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), CURVE_POINTS)).round().astype(int))
        curves[f"{file.parent.name}/{file.stem}"] = [rows[i] for i in taken]
    return curves
