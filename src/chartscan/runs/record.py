"""What a run leaves on record: settings, versions, data, times and curves."""

import hashlib
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from chartscan import files
from chartscan.find import outside_parts
from chartscan.notes import KEY, records
from chartscan.runs.job import Job
from chartscan.schema import TRAIN, TUNING
from chartscan.training import Batches, TrainConfig
from chartscan.training.plan import plan

CURVE_POINTS = 400  # of a phase


def loss_curves(work: Path) -> dict[str, list[dict[str, float]]]:
    """Losses of each phase (at most CURVE_POINTS, evenly taken, with the last), and its evaluations."""
    curves = {}
    for file in sorted(work.glob("*/*.jsonl")):
        rows = [msgspec.json.decode(line) for line in files.read_bytes(file).splitlines()]
        taken = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), CURVE_POINTS)).round().astype(int))
        curves[f"{file.parent.name}/{file.stem}"] = [rows[i] for i in taken]
    return curves


def seconds_per_epoch(folder: Path, data: Batches, config: TrainConfig) -> float:
    """Return a phase's seconds per epoch, over all sessions, evaluations included."""
    last = msgspec.json.decode(files.read_bytes(folder / "losses.jsonl").splitlines()[-1])
    steps_per_epoch = plan(data, config).ends[-1] / config.epochs
    return float(last["seconds"] / (last["step"] / steps_per_epoch))


SOURCE = Path(__file__).parent.parent
PACKAGES = ("torch", "numpy", "polars", "pyarrow", "duckdb", "scikit-learn")


def run_record(job: Job, recipe: msgspec.Struct) -> dict[str, Any]:
    """Return settings, data, environment and notes of a run; call it last."""
    return {
        "recipe": msgspec.to_builtins(recipe),
        "data": data_record(job),
        "labels": {task: label_record(job, task) for task in job.tasks},
        "versions": versions() | outside_parts(recipe),
        "threads": job.threads,
        KEY: records(job.notes),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def data_record(job: Job) -> dict[str, Any]:
    """Which dataset, by content."""
    manifest = job.dataset.manifest
    return {
        "fingerprint": job.dataset.fingerprint,
        "source": manifest["source"],
        "counts": manifest["counts"],
        "follow_up": job.dataset.follow_up,
        "subjects": {split: len(job.subjects(split)) for split in (TRAIN, TUNING)},
        "divided": job.division is not None,  # not as the dataset is split
    }


def label_record(job: Job, task: str) -> dict[str, Any]:
    """Rows and positives of one task, and its settings."""
    table, counts = job.labels[task]
    positives = int(np.sum(table["boolean_value"].to_numpy(zero_copy_only=False)))
    return {
        "rows": table.num_rows,
        "positives": positives,
        "settings": counts.settings if counts else {},
    }


def versions() -> dict[str, str]:
    """Versions of ourselves, Python and the packages that decide numbers."""
    found = {"chartscan": version("chartscan"), "commit": commit(), "source": source_hash(SOURCE)}
    found["python"] = platform.python_version()
    return found | {name: version(name) for name in PACKAGES}


@cache
def source_hash(folder: Path) -> str:
    """Return a hash of all sources and kernels below, with or without a checkout.

    Kept: files that change under a running process are not what it runs.
    """
    digest = hashlib.sha256()
    for path in sorted([*folder.rglob("*.py"), *folder.rglob("_native*.so")]):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()[:12]


def commit() -> str:
    """Return the checkout's commit, with + if changed; empty for an installed package."""
    folder = Path(__file__).parent
    try:
        command = ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--abbrev=12"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
