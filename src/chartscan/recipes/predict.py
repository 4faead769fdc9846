"""A trained artifact asked about the labelled stays of a dataset's split."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import torch

from chartscan import artifact as artifacts
from chartscan import files
from chartscan.cohort import Counts
from chartscan.evaluation import write_predictions
from chartscan.heap import keep_freed_memory
from chartscan.notes import KEY, Note, Notes, notes_in, records
from chartscan.predict import Findings, answer
from chartscan.recipes.questions.asked import asked
from chartscan.recipes.questions.moments import moment_notes
from chartscan.recipes.runs.job import Watcher
from chartscan.recipes.runs.out import check_apart
from chartscan.recipes.runs.seen import seen
from chartscan.schema import COHORT_KEY
from chartscan.store.dataset import Dataset


def run_predict(
    artifact: Path,
    dataset: Path,
    labels: Path,
    out: Path,
    split: str,
    threads: int,
    watcher: Watcher,
    device: str = "cpu",
) -> Iterator[str]:
    """Writes PREDICTIONS of every task in `labels`; gives a line of text for each.

    What a reader of the predictions must know beside them goes to the watcher and into their metadata.
    """
    check_apart(out, artifact, dataset, labels)
    torch.set_num_threads(threads)
    keep_freed_memory()
    notes = Notes(watcher.note)
    model, data = artifacts.load(artifact, device), Dataset.open(dataset)
    found, wanted, left_out = asked(artifact, model, data, labels, split)
    for task in left_out:
        notes.add("left_out", f"Not learned by {artifact}, so not predicted.", task)
    notes.extend(_settings_notes(model, {task: found[task][1] for task in wanted}))
    notes.extend(moment_notes(model, data, {task: (wanted[task], found[task][1]) for task in wanted}))
    notes.extend(_uncalibrated(model, list(wanted)))
    with watcher.progress("Predicting", "batches") as progress:
        answered = answer(model, lambda: map(data.read_shard, data.shards()), wanted, progress)
    notes.extend(answered.findings.notes)
    facts = {
        "split": split,
        "dataset": data.fingerprint,
        "artifact": files.sha256(artifact / files.MANIFEST),
        "coverage": _coverage(answered.findings),
    }
    for task, table in answered.predictions.items():
        counts = found[task][1]
        metadata = {COHORT_KEY: msgspec.json.encode(counts)} if counts else None
        path = out / f"{task}.parquet" if labels.is_dir() else out
        extra = _extra(model, task) | facts | {"seen": _seen(model, table), KEY: records(notes.about(task))}
        write_predictions(path, table.replace_schema_metadata(metadata), task, model.name, extra)
        yield f"{path}: {table.num_rows:,} predictions of {task} by {model.name}, split {split}"


def _settings_notes(model: artifacts.Artifact, counts: Mapping[str, Counts | None]) -> Iterator[Note]:
    """A note on each task asked with other settings than it was learned with, such as another hour."""
    for task, of_task in counts.items():
        learned = model.run.get("labels", {}).get(task, {}).get("settings", {}).get("task", {})
        asked = of_task.settings.get("task", {}) if of_task else {}
        differing = [name for name in learned if name in asked and learned[name] != asked[name]]
        if differing:
            told = ", ".join(f"{name}={asked[name]} (learned: {learned[name]})" for name in differing)
            text = f"Asked with {told}. Answers and calibration are those of the learned settings."
            yield Note("other_settings", text, task)


def _uncalibrated(model: artifacts.Artifact, tasks: list[str]) -> Iterator[Note]:
    """A note on each task without calibration, with the reason where the run record has it."""
    reasons = {note.where: note.text for note in notes_in(model.run) if note.code == "no_calibration"}
    for task in tasks:
        if task not in model.calibration:
            text = "Not calibrated: probabilities are as the model gives them, and decisions are made at 0.5."
            told = f"When it was trained: {reasons[task]}" if task in reasons else ""
            yield Note("no_calibration", f"{text} {told}".strip(), task)


def _extra(model: artifacts.Artifact, task: str) -> dict[str, Any]:
    """What a report should know about how these predictions were made."""
    calibration = model.calibration.get(task)
    training = [note for note in notes_in(model.run) if note.where in ("", task)]
    return {
        "calibration": "platt" if calibration else "none",
        "threshold": calibration.threshold if calibration else 0.5,
        "trained_on": model.run.get("data", {}),
        "versions": model.run.get("versions", {}),
        "training_notes": records(training),
    }


def _coverage(findings: Findings) -> dict[str, dict[str, dict[str, int]]]:
    """Events and unknown ones by what is read and code system, of the subjects asked about."""
    return {
        what: {system: {"events": c.events, "unknown": c.unknown} for system, c in found.items()}
        for what, found in findings.coverage.items()
    }


def _seen(model: artifacts.Artifact, table: pa.Table) -> dict[str, int | None]:
    """How many subjects are asked about, and how many of them the model learned from; None: not known."""
    subjects = np.unique(table["subject_id"].to_numpy())
    known = seen(model.run, subjects) if model.run.get("seen") else None
    return {"subjects": len(subjects), "seen": known}
