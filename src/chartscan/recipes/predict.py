"""A trained artifact asked about the labelled stays of a dataset's split."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import torch

from chartscan import artifact as artifacts
from chartscan import files
from chartscan.cohort import Counts
from chartscan.errors import ConfigError, DataError
from chartscan.evaluation import write_predictions
from chartscan.heap import keep_freed_memory
from chartscan.predict import predict
from chartscan.recipes._belonging import check_labels
from chartscan.recipes._job import Watcher, of_subjects
from chartscan.recipes._labels import load_labels
from chartscan.recipes._seen import seen
from chartscan.schema import COHORT_KEY, HELD_OUT, TRAIN, TUNING
from chartscan.store.dataset import Dataset

SPLITS = (HELD_OUT, TUNING, TRAIN, "all")


def run_predict(
    artifact: Path, dataset: Path, labels: Path, out: Path, split: str, threads: int, watcher: Watcher
) -> Iterator[str]:
    """Writes PREDICTIONS of every task in `labels`; gives a line of text for each."""
    if split not in SPLITS:
        raise ConfigError(f"--split {split}: expected one of {', '.join(SPLITS)}.")
    torch.set_num_threads(threads)
    keep_freed_memory()
    model, data, found = artifacts.load(artifact), Dataset.open(dataset), load_labels(labels, questions=True)
    check_labels(found, data)
    if not model.tasks:
        raise ConfigError(
            f"{artifact} was pretrained only and answers no task. Fine-tune it: --set start_from=..."
        )
    known = {task: table for task, (table, _) in found.items() if task in model.tasks}
    if labels.is_dir() and known:
        yield from (
            f"{task}: not learned by {artifact}, left out" for task in sorted(set(found) - set(known))
        )
    else:
        known = {task: table for task, (table, _) in found.items()}
    if split == "all":
        asked = known
    else:
        asked = {task: of_subjects(table, data.subject_ids(split)) for task, table in known.items()}
    wanted = {task: table for task, table in asked.items() if table.num_rows}
    if not wanted:
        raise DataError(
            f"No labels for subjects of the split {split}. Where their outcomes are not known, ask without: "
            "chartscan label TASK DATASET OUT --questions. Other subjects: --split all."
        )
    _check_held_out(model, wanted, split)
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


def _check_held_out(model: artifacts.Artifact, labels: dict[str, pa.Table], split: str) -> None:
    """ConfigError where subjects said to be held out have taught the model, under another split of them."""
    asked = np.unique(np.concatenate([table["subject_id"].to_numpy() for table in labels.values()]))
    known = seen(model.run, asked) if split == HELD_OUT else 0
    if known:
        raise ConfigError(
            f"{known} of {len(asked)} held-out subjects of this dataset have taught the model: it was "
            "trained on another split of them. Train on this dataset, or say --split all, which reports tell."
        )


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
