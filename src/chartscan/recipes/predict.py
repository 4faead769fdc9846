"""A trained artifact asked about the labelled stays of a dataset's split."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import torch

from chartscan import artifact as artifacts
from chartscan.errors import ConfigError, DataError
from chartscan.evaluation import write_predictions
from chartscan.predict import predict
from chartscan.recipes._job import Watcher, labels_of
from chartscan.recipes._labels import load_labels
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
    model, data, found = artifacts.load(artifact), Dataset.open(dataset), load_labels(labels)
    known = {task: table for task, (table, _) in found.items() if task in model.tasks}
    if labels.is_dir() and known:
        yield from (
            f"{task}: not learned by {artifact}, left out" for task in sorted(set(found) - set(known))
        )
    else:
        known = {task: table for task, (table, _) in found.items()}
    asked = {t: labels_of(data, table, None if split == "all" else split) for t, table in known.items()}
    wanted = {task: table for task, table in asked.items() if table.num_rows}
    if not wanted:
        raise DataError(f"No labels for subjects of the split {split}. Try --split all.")
    with watcher.progress("Predicting", "batches") as progress:
        answers = predict(model, lambda: map(data.read_shard, data.shards()), wanted, progress)
    for task, table in answers.items():
        counts = found[task][1]
        metadata = {COHORT_KEY: msgspec.json.encode(counts)} if counts else None
        path = out / f"{task}.parquet" if labels.is_dir() else out
        write_predictions(
            path, table.replace_schema_metadata(metadata), task, model.name, _extra(model, task, split)
        )
        yield f"{path}: {table.num_rows:,} predictions of {task} by {model.name}, split {split}"


def _extra(model: artifacts.Artifact, task: str, split: str) -> dict[str, object]:
    """What a report should know about how these predictions were made."""
    calibration = model.calibration.get(task)
    return {
        "split": split,
        "calibration": "platt" if calibration else "none",
        "threshold": calibration.threshold if calibration else 0.5,
        "data": model.run.get("data", {}),
        "versions": model.run.get("versions", {}),
    }
