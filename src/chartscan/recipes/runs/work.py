"""The working folder beside a run: checkpoints and what was fitted, kept until the artifact is published."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from chartscan import files
from chartscan.errors import ConfigError
from chartscan.recipes.runs.job import Job
from chartscan.schema import TRAIN, TUNING

IDENTITY = "job.json"
# These say how often to save, not what is computed: a resumed run may change them.
FREE = ("checkpoint_every_steps", "checkpoint_every_seconds", "keep_checkpoints")


def refuse_existing(out: Path) -> None:
    """ConfigError where a run would overwrite something."""
    if os.path.lexists(out):
        raise ConfigError(f"{out} exists already and is not overwritten. Choose another --out.")
    files.sweep(out)


def begin(job: Job, recipe: msgspec.Struct) -> None:
    """Make the working folder; refuse to mix with another run that was cut short."""
    mine = identity(job, recipe)
    files.check_own(job.work)
    if job.work.exists():
        if not job.resume:
            raise ConfigError(
                f"{job.work} holds an unfinished run. Go on with it: --resume, or remove that folder."
            )
        _check_same(job, mine)
    job.work.mkdir(parents=True, exist_ok=True)
    files.write_json(job.work / IDENTITY, mine)


def finished(job: Job) -> None:
    """The artifact is published; the working folder is no longer needed."""
    shutil.rmtree(job.work)


def settings_of(recipe: Any) -> dict[str, Any]:
    """All settings of a recipe; of an ensemble also those that its members have now."""
    members = {"resolved": recipe.resolved()} if hasattr(recipe, "resolved") else {}
    return {**msgspec.to_builtins(recipe), **members}


def identity(job: Job, recipe: msgspec.Struct) -> dict[str, str]:
    """Whatever decides the outcome of a run, one value a name."""
    return {
        "recipe": type(recipe).__name__,
        **_flat(settings_of(recipe)),
        "dataset": job.dataset.fingerprint,
        **{f"subjects of {split}": _hash(job.subjects(split)) for split in (TRAIN, TUNING)},
        **{f"labels of {task}": _hash(*_columns(table)) for task, (table, _) in job.labels.items()},
    }


def _check_same(job: Job, mine: dict[str, str]) -> None:
    path = job.work / IDENTITY
    theirs = json.loads(path.read_bytes()) if path.exists() else {}
    differing = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
    differing = [name for name in differing if name.split(".")[-1] not in FREE]
    if differing:
        raise ConfigError(
            f"{job.work} holds an unfinished run that differs in: {', '.join(differing)}. Resume it as it "
            "was begun, or remove that folder."
        )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = json.dumps(value)
    return found


def _columns(table: pa.Table) -> list[np.ndarray]:
    return [table[name].to_numpy(zero_copy_only=False) for name in table.column_names]


def _hash(*columns: np.ndarray) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(c).tobytes() for c in columns)).hexdigest()
