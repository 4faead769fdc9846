"""One training: the dataset, the labels, the artifact's place, and the progress display."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from chartscan.errors import ConfigError
from chartscan.notes import Note, Notes
from chartscan.schema import Counts
from chartscan.store.dataset import Dataset


class Watcher(Protocol):
    """As much of `console.Display` as a recipe needs."""

    def say(self, text: str) -> None: ...

    def note(self, note: Note) -> None: ...

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
    division: Mapping[str, np.ndarray] | None = None  # sorted ids by split; None: as the dataset is split
    notes: Notes = field(default_factory=Notes)  # what the run record is to say beside its numbers

    def __post_init__(self) -> None:
        parts = list((self.division or {}).values())
        both = sum(map(len, parts)) - len(np.unique(np.concatenate(parts))) if parts else 0
        if both:
            raise ConfigError(f"{both} subjects would be in two splits. Give each subject one.")

    @property
    def work(self) -> Path:
        """Where checkpoints and intermediate files live until the artifact is published."""
        return work_folder(self.out)

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks, sorted: the order of every table and index."""
        return sorted(self.labels)

    def subjects(self, split: str) -> np.ndarray:
        """Return a split's sorted subject ids, int64: the only source of membership."""
        return self.dataset.subject_ids(split) if self.division is None else self.division[split]

    def tables(self, split: str) -> Iterator[pa.Table]:
        """EVENTS of the subjects of a split, shard by shard."""
        wanted = self.subjects(split)
        return (of_subjects(self.dataset.read_shard(path), wanted) for path in self.dataset.shards())

    def labels_of(self, task: str, split: str) -> pa.Table:
        """LABELS of a task for the subjects of a split."""
        return of_subjects(self.labels[task][0], self.subjects(split))


def work_folder(out: Path) -> Path:
    """The working folder of the run that will publish `out`."""
    return out.with_name(out.name + ".work")


def of_subjects(table: pa.Table, subject_ids: np.ndarray) -> pa.Table:
    """The rows of EVENTS or LABELS that belong to the given subjects."""
    return table.filter(pa.array(np.isin(table["subject_id"].to_numpy(), subject_ids)))
