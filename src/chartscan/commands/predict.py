"""Predictions of a trained artifact for the labelled stays of a split."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import torch

from chartscan import artifact as artifacts
from chartscan import files, parquet_files
from chartscan.evaluation import stored_predictions
from chartscan.labels.asked import asked, moment_notes
from chartscan.labels.files import check_out
from chartscan.machine import keep_freed_memory
from chartscan.notes import KEY, Note, Notes, notes_in, records, warnings_as_notes
from chartscan.prediction import Findings, answer
from chartscan.runs.job import Watcher
from chartscan.runs.seen import dataset_notes, seen_facts
from chartscan.runs.work import check_apart
from chartscan.schema import COHORT_KEY, Counts
from chartscan.store.dataset import Dataset


class Predicted(NamedTuple):
    """The predictions of one task, as they were written."""

    task: str
    model: str
    path: Path
    table: pa.Table  # schema.PREDICTIONS
    split: str

    def __str__(self) -> str:
        rows = self.table.num_rows
        return f"{self.path}: {rows:,} predictions of {self.task} by {self.model}, split {self.split}"


def run_predict(
    artifact: Path,
    dataset: Path,
    labels: Path,
    out: Path,
    split: str,
    threads: int,
    watcher: Watcher,
    device: str = "cpu",
) -> list[Predicted]:
    """Write PREDICTIONS of every task in `labels`, all or none, and return them.

    Notes on the predictions go to the watcher and into their metadata.
    """
    if labels.exists():
        check_out(out, as_folder=labels.is_dir())
    check_apart(out, artifact, dataset, labels)
    torch.set_num_threads(threads)
    keep_freed_memory()
    notes = Notes(watcher.note)
    model, data = artifacts.load(artifact, device), Dataset.open(dataset)
    found, wanted, left_out = asked(artifact, model, data, labels, split, notes)
    notes.extend(dataset_notes(data))
    for task in left_out:
        notes.add("left_out", f"Not learned by {artifact}, so not predicted.", task)
    notes.extend(_settings_notes(model, {task: found[task][1] for task in wanted}))
    notes.extend(moment_notes(model, data, {task: (wanted[task], found[task][1]) for task in wanted}))
    notes.extend(_uncalibrated(model, list(wanted)))
    with watcher.progress("Predicting", "batches") as progress, warnings_as_notes(notes):
        answered = answer(model, lambda: map(data.read_shard, data.shards()), wanted, progress)
    notes.extend(answered.findings.notes)
    facts = {
        "split": split,
        "dataset": data.fingerprint,
        "artifact": files.sha256(artifact / files.MANIFEST),
        "coverage": _coverage(answered.findings),
    }
    taught = {task: seen_facts(model.run, table, data) for task, table in wanted.items()}
    notes.extend(_same_ids(taught.values()))
    predicted = []
    for task, table in answered.predictions.items():
        counts = found[task][1]
        metadata = {COHORT_KEY: msgspec.json.encode(counts)} if counts else None
        path = out / f"{task}.parquet" if labels.is_dir() else out
        extra = _extra(model, task) | facts | {"seen": taught[task], KEY: records(notes.about(task))}
        stored = stored_predictions(table.replace_schema_metadata(metadata), task, model.title, extra)
        predicted.append(Predicted(task, model.title, path, stored, split))
    parquet_files.write_tables({one.path: one.table for one in predicted})
    return predicted


def _same_ids(taught: Iterable[Mapping[str, int | None]]) -> Iterator[Note]:
    """A note where subjects have the ids of other people that the model learned from."""
    others = max((facts["other_people"] or 0 for facts in taught), default=0)
    if others:
        text = (
            f"{others:,} subjects have the id of one that the model learned from, but another birth date. "
            "They count as other people, of another hospital."
        )
        yield Note("same_ids", text, warning=False)


def _settings_notes(model: artifacts.AnyArtifact, counts: Mapping[str, Counts | None]) -> Iterator[Note]:
    """A note on each task whose labels have other settings than those it was trained on."""
    for task, of_task in counts.items():
        learned = model.run.get("labels", {}).get(task, {}).get("settings", {}).get("task", {})
        asked = of_task.settings.get("task", {}) if of_task else {}
        differing = [name for name in learned if name in asked and learned[name] != asked[name]]
        if differing:
            told = ", ".join(f"{name}={asked[name]} (learned: {learned[name]})" for name in differing)
            text = f"Asked with {told}. Probabilities and calibration are those of the learned settings."
            yield Note("other_settings", text, task)


def _uncalibrated(model: artifacts.AnyArtifact, tasks: list[str]) -> Iterator[Note]:
    """A note on each task without calibration, with the reason where the run record has it."""
    reasons = {note.where: note.text for note in notes_in(model.run) if note.code == "no_calibration"}
    for task in tasks:
        if task not in model.calibration:
            why = f" ({reasons[task].partition(';')[0]})" if task in reasons else ""
            text = (
                f"Not calibrated{why}. Probabilities are as the model gives them; decisions are made at 0.5."
            )
            yield Note("no_calibration", text, task)


def _extra(model: artifacts.AnyArtifact, task: str) -> dict[str, Any]:
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
