"""Which labelled stays of a dataset a trained artifact is asked about."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from chartscan import artifact as artifacts
from chartscan.errors import ConfigError, DataError
from chartscan.labels.belonging import check_labels
from chartscan.labels.labels import Labels, load_labels
from chartscan.notes import Notes
from chartscan.runs.job import of_subjects
from chartscan.runs.seen import births_of, seen
from chartscan.schema import HELD_OUT, TRAIN, TUNING
from chartscan.store.dataset import Dataset

SPLITS = (HELD_OUT, TUNING, TRAIN, "all")


def asked(
    artifact: Path,
    model: artifacts.AnyArtifact,
    data: Dataset,
    labels: Path,
    split: str,
    notes: Notes | None = None,
) -> tuple[Labels, dict[str, pa.Table], list[str]]:
    """All labels found, those of the split's subjects by task, and tasks left out as the model has no answer.

    A folder may hold more tasks than the model knows; a file of an unknown task is refused by `predict`.
    """
    if split not in SPLITS:
        raise ConfigError(f"--split {split}: expected one of {', '.join(SPLITS)}.")
    found = load_labels(labels, questions=True, notes=notes)
    check_labels(found, data, notes)
    if not model.tasks:
        raise ConfigError(
            f"{artifact} was pretrained only and answers no task. Fine-tune it: --set start_from=..."
        )
    known = {task: table for task, (table, _) in found.items() if task in model.tasks}
    left_out: list[str] = sorted(set(found) - set(known)) if labels.is_dir() and known else []
    if not left_out:
        known = {task: table for task, (table, _) in found.items()}
    subjects = data.subject_ids(None if split == "all" else split)
    chosen = {task: of_subjects(table, subjects) for task, table in known.items()}
    wanted = {task: table for task, table in chosen.items() if table.num_rows}
    if not wanted:
        raise DataError(
            f"No labels for subjects of the split {split}. Where their outcomes are not known, ask without: "
            "chartscan label TASK DATASET OUT --questions. Other subjects: --split all."
        )
    _check_held_out(model, wanted, split, data)
    return found, wanted, left_out


def _check_held_out(
    model: artifacts.AnyArtifact, labels: dict[str, pa.Table], split: str, data: Dataset
) -> None:
    """ConfigError where subjects said to be held out have taught the model, under another split of them."""
    subjects = np.unique(np.concatenate([table["subject_id"].to_numpy() for table in labels.values()]))
    known = seen(model.run, subjects, births_of(data, subjects)) if split == HELD_OUT else 0
    if known:
        raise ConfigError(
            f"{known} of {len(subjects)} held-out subjects of this dataset have taught the model: it was "
            "trained on another split of them. Train on this dataset, or say --split all, which reports tell."
        )
