"""Where a run writes: the published folder, the working folder, and resumable phases."""

import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from torch import nn

from chartscan import files
from chartscan.artifact.description import RUN
from chartscan.errors import ChartscanError, ConfigError
from chartscan.find import outside_parts
from chartscan.lock import OutputLock
from chartscan.runs.job import Job, work_folder
from chartscan.schema import TRAIN, TUNING
from chartscan.training import Batches, Evaluation, FitResult, StepRecord, TrainConfig, fit
from chartscan.training.record import tensorboard


def check_apart(out: Path, *inputs: Path | None) -> None:
    """Raise ConfigError where `out` overlaps one of `inputs`, or is not ours.

    What an earlier run left there when it was killed is removed.
    """
    place = files.own_place(out).resolve()
    files.sweep(out)
    for one in inputs:
        if one is not None and place.is_relative_to(one.resolve()):
            raise ConfigError(f"{out} is part of {one}, which is read, not written. Name another place.")


def refuse_existing(out: Path) -> None:
    """Raise ConfigError where `out` exists, even as a broken link."""
    if os.path.lexists(out):
        raise ConfigError(f"{out} exists already and is not overwritten. Choose another place.")
    files.sweep(out)


def check_file(out: Path, example: str) -> None:
    """Make the folder of `out`; raise at once if it is not writable.

    ConfigError where `out` is a folder, and the `example` of a file in it; OSError that names `out`.
    """
    if out.is_dir():
        raise ConfigError(f"{out} is a folder; expected a file, such as {out / example}.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as err:
        reason = os.strerror(err.errno) if err.errno else str(err)
        raise OSError(err.errno, f"cannot be written: {reason}", str(out)) from err


IDENTITY = "job.json"
# These say how often to save, not what is computed: a resumed run may change them.
FREE = ("checkpoint_every_steps", "checkpoint_every_seconds", "keep_checkpoints")


@contextmanager
def reserved(out: Path, resume: bool = False) -> Iterator[None]:
    """Hold the lock of the run that will publish `out`, before any work.

    ConfigError where another run has it, where `out` is there already, or an unfinished run that is not to be
    resumed.
    """
    work = work_folder(out)
    files.sweep(out)
    _drop_if_published(work, out)
    refuse_existing(out)
    with files.made_folder(out.parent), OutputLock(out):
        refuse_existing(out)
        refuse_unfinished(work, resume)
        new = not os.path.lexists(work)
        try:
            yield
        except BaseException:
            if new:
                _drop_unless_begun(work)
            raise


def _drop_if_published(work: Path, out: Path) -> None:
    """Removes the working folder of a run that was killed just after it had published `out`."""
    if not (out / RUN).is_file() or not (work / IDENTITY).is_file():
        return
    try:
        begun, run = json.loads(files.read_bytes(work / IDENTITY)), json.loads(files.read_bytes(out / RUN))
        same = run["data"]["fingerprint"] == begun["dataset"]
        same = same and _flat(run["recipe"]).items() <= begun.items()
    except (ValueError, KeyError, TypeError, AttributeError):  # it is something else
        return
    if same:
        with OutputLock(out):
            files.check_own(work)
            _remove(work, out)


def _drop_unless_begun(work: Path) -> None:
    """Removes a working folder of which nothing could be resumed: there is nothing but what was asked for."""
    with suppress(OSError):
        if {path.name for path in work.iterdir()} <= {IDENTITY}:
            shutil.rmtree(work, ignore_errors=True)


def refuse_unfinished(work: Path, resume: bool) -> None:
    """ConfigError where the working folder is there and its run is not to be resumed."""
    if work.exists() and not resume:
        raise ConfigError(
            f"{work} holds an unfinished run. Go on with it: the same command and --resume. Or choose "
            "another --out."
        )


def begin(job: Job, recipe: msgspec.Struct) -> None:
    """Make the working folder; refuse to mix with another run that was cut short."""
    mine = identity(job, recipe)
    refuse_unfinished(job.work, job.resume)
    files.check_own(job.work)
    if job.work.exists():
        _check_same(job, mine)
    job.work.mkdir(parents=True, exist_ok=True)
    files.write_json(job.work / IDENTITY, mine)


def finished(job: Job) -> None:
    """The artifact is published; the working folder is no longer needed."""
    _remove(job.work, job.out)


def _remove(work: Path, out: Path) -> None:
    """Removes a working folder. Killed at it, it leaves a draft of `out`, which the next start removes."""
    draft = out.with_name(f".{out.name}.{secrets.token_hex(8)}")
    os.rename(work, draft)
    shutil.rmtree(draft)


def settings_of(recipe: Any) -> dict[str, Any]:
    """All settings of a recipe."""
    found: dict[str, Any] = msgspec.to_builtins(recipe)
    return found


def identity(job: Job, recipe: msgspec.Struct) -> dict[str, str]:
    """Everything that decides the outcome of a run, one value for each name."""
    return {
        "recipe": type(recipe).__name__,
        **_flat(settings_of(recipe)),
        **outside_parts(recipe),
        "dataset": job.dataset.fingerprint,
        **{f"subjects of {split}": _hash(job.subjects(split)) for split in (TRAIN, TUNING)},
        **{f"labels of {task}": _hash(*_columns(table)) for task, (table, _) in job.labels.items()},
    }


def _check_same(job: Job, mine: dict[str, str]) -> None:
    path = job.work / IDENTITY
    if not path.exists() and all(map(files.is_draft, job.work.iterdir())):
        return  # killed before it had begun
    theirs = json.loads(files.read_bytes(path)) if path.exists() else {}
    differing = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
    differing = [name for name in differing if name.split(".")[-1] not in FREE]
    if differing:
        raise ConfigError(
            f"{job.work} holds an unfinished run that differs in: {', '.join(differing)}. Resume it as it "
            "was begun, or choose another --out."
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


class Interrupted(ChartscanError):
    """Training was asked to stop and has saved its state."""

    exit_code = 143


def run_phase(
    job: Job,
    recipe: msgspec.Struct,
    title: str,
    module: nn.Module,
    data: Batches,
    config: TrainConfig,
    evaluate: Evaluation | None,
) -> FitResult:
    """`fit` in a folder named after the phase under the job's working folder.

    Raises Interrupted where a signal stopped it and everything is saved.
    """
    folder = phase_folder(job, title)
    tracking = tensorboard(job.track / folder.name) if job.track else nullcontext()
    with job.watcher.progress(title, "steps") as progress, tracking as track:

        def report(record: StepRecord) -> None:
            progress(record.step, record.total_steps, _text(record))
            if track:
                track(record)

        result = fit(
            module,
            data,
            config,
            folder=folder,
            evaluate=evaluate,
            resume=job.resume,
            report=report,
            device=job.device,
            fingerprint=json.dumps(identity(job, recipe), sort_keys=True),
        )
    if result.interrupted:
        raise Interrupted(f"{title} was interrupted and saved. Go on with the same command and --resume.")
    return result


def phase_folder(job: Job, title: str) -> Path:
    """Where a phase keeps its checkpoints and its log."""
    return job.work / title.lower().replace(" ", "-")


def _text(record: StepRecord) -> str:
    """What is shown beside the bar."""
    loss = "" if record.loss is None else f"loss {record.loss:.4f}, "
    tuning = "".join(f", tuning {name} {value:.4f}" for name, value in record.metrics.items())
    return f"{loss}{record.tokens_per_second:,.0f} targets/s{tuning}"
