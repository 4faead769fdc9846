"""A trained artifact asked about the labelled stays of a dataset's split."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import torch

from chartscan import artifact as artifacts
from chartscan import files
from chartscan.cohort import Counts
from chartscan.evaluation import write_predictions
from chartscan.heap import keep_freed_memory
from chartscan.notes import Notes
from chartscan.predict import predict
from chartscan.recipes.questions.asked import asked
from chartscan.recipes.runs.job import Watcher
from chartscan.recipes.runs.out import check_apart
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
    """Writes PREDICTIONS of every task in `labels`; gives a line of text for each."""
    check_apart(out, artifact, dataset, labels)
    torch.set_num_threads(threads)
    keep_freed_memory()
    model, data = artifacts.load(artifact, device), Dataset.open(dataset)
    notes = Notes(watcher.note)
    found, wanted, left_out = asked(artifact, model, data, labels, split, notes)
    yield from (f"{task}: not learned by {artifact}, left out" for task in left_out)
    for task in wanted:
        yield from _other_settings(model, task, found[task][1])
    with watcher.progress("Predicting", "batches") as progress:
        answers = predict(model, lambda: map(data.read_shard, data.shards()), wanted, progress)
    facts = {
        "split": split,
        "dataset": data.fingerprint,
        "artifact": files.sha256(artifact / files.MANIFEST),
    }
    for task, table in answers.items():
        counts = found[task][1]
        metadata = {COHORT_KEY: msgspec.json.encode(counts)} if counts else None
        path = out / f"{task}.parquet" if labels.is_dir() else out
        extra = _extra(model, task) | facts
        write_predictions(path, table.replace_schema_metadata(metadata), task, model.name, extra)
        yield f"{path}: {table.num_rows:,} predictions of {task} by {model.name}, split {split}"


def _other_settings(model: artifacts.Artifact, task: str, counts: Counts | None) -> Iterator[str]:
    """A line where a task is asked with other settings than it was learned with, such as another hour."""
    learned = model.run.get("labels", {}).get(task, {}).get("settings", {}).get("task", {})
    asked = counts.settings.get("task", {}) if counts else {}
    differing = [name for name in learned if name in asked and learned[name] != asked[name]]
    if differing:
        told = ", ".join(f"{name}={asked[name]} (learned: {learned[name]})" for name in differing)
        yield f"note: {task} is asked with {told}. Answers and calibration are those of the learned settings."


def _extra(model: artifacts.Artifact, task: str) -> dict[str, object]:
    """What a report should know about how these predictions were made."""
    calibration = model.calibration.get(task)
    return {
        "calibration": "platt" if calibration else "none",
        "threshold": calibration.threshold if calibration else 0.5,
        "trained_on": model.run.get("data", {}),
        "versions": model.run.get("versions", {}),
    }
