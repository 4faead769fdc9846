"""What every recipe is handed: the dataset, where the run goes, the labels, and whom to tell of progress."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from chartscan.cohort import Counts
from chartscan.schema import TRAIN
from chartscan.store.dataset import Dataset


class Watcher(Protocol):
    """As much of `console.Display` as a recipe needs."""

    def say(self, text: str) -> None: ...

    def progress(self, title: str, unit: str) -> AbstractContextManager[Any]: ...


@dataclass(frozen=True)
class Job:
    """One training to do. `labels` holds LABELS and cohort counts by task, for all splits."""

    dataset: Dataset
    out: Path  # the artifact; appears when all is done
    labels: dict[str, tuple[pa.Table, Counts | None]]
    watcher: Watcher
    resume: bool = False
    threads: int = 1
    device: str = "cpu"
    track: Path | None = None  # folder for TensorBoard's event files

    @property
    def work(self) -> Path:
        """Where checkpoints and intermediate files live until the artifact is published."""
        return self.out.with_name(self.out.name + ".work")

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks, sorted: the order of every table and index."""
        return sorted(self.labels)


def split_tables(dataset: Dataset, split: str = TRAIN) -> Iterator[pa.Table]:
    """EVENTS of the subjects of one split, shard by shard."""
    wanted = dataset.subject_ids(split)
    for path in dataset.shards():
        table = dataset.read_shard(path)
        yield table.filter(pa.array(np.isin(table["subject_id"].to_numpy(), wanted)))


def labels_of(dataset: Dataset, labels: pa.Table, split: str | None) -> pa.Table:
    """The rows of `labels` whose subject is in `split`; all of them when it is None."""
    if split is None:
        return labels
    return labels.filter(pa.array(np.isin(labels["subject_id"].to_numpy(), dataset.subject_ids(split))))
