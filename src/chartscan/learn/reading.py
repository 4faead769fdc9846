"""What a run reads: a reader fitted on train, and the records of its splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from chartscan.errors import DataError
from chartscan.inputs.readers import Questions, Reader, ReaderConfig, Records, reader_type
from chartscan.inputs.tokens import Coverage, check_coverage, summed, unknown_share
from chartscan.learn.calibration import limited
from chartscan.prediction import cut_note
from chartscan.runs.job import Job
from chartscan.schema import HELD_OUT, TRAIN, TUNING

OTHER = "other"  # the name of a code system that few patients have may tell who they are


@dataclass
class Readings:
    """The reader of a run and what it has read of train and tuning."""

    job: Job
    reader: Reader
    limit: int | None  # train labels of a task, and a quarter as many of tuning; None: all
    seed: int
    refuse: bool = False  # where train lacks too much: the reader is then one of other records
    records: dict[str, Records] = field(default_factory=dict)  # by split
    counted: dict[str, dict[str, Coverage]] = field(default_factory=dict)  # by split and code system

    def __post_init__(self) -> None:
        for split in (TRAIN, TUNING):
            self.records[split], counted = read_split(self.job, self.reader, split)
            self._count(split, counted)

    def labels(
        self, split: str, tasks: Sequence[str] | None = None, needed: bool = True
    ) -> dict[str, pa.Table]:
        """LABELS of a split by task, limited; DataError if `needed` and there are none."""
        found = {
            task: limited(self.job.labels_of(task, split), task, split, self.limit, self.seed)
            for task in tasks or self.job.tasks
        }
        if needed and not any(table.num_rows for table in found.values()):
            raise DataError(
                f"No labels for subjects of the {split} split. Label the dataset that is trained on."
            )
        return found

    def note_cut(self, model: Any, labels: Mapping[str, pa.Table]) -> None:
        """Note each task with train histories longer than what a network reads."""
        for task, table in labels.items():
            cut = int(self.records[TRAIN].cut(model, table).sum()) if table.num_rows else 0
            if cut:
                self.job.notes.extend([cut_note(task, cut, table.num_rows, "train histories")])

    def coverage(self) -> dict[str, dict[str, Any]]:
        """Events, unknown events and their share, by split and code system.

        Held-out records are counted too. Systems that the reader does not know are "other".
        """
        if HELD_OUT not in self.counted:
            tables = self.job.tables(HELD_OUT)
            self._count(HELD_OUT, summed(self.reader.coverage(table) for table in tables))
        return {split: self._shown(self.counted[split]) for split in (TRAIN, TUNING, HELD_OUT)}

    def _count(self, split: str, counted: dict[str, Coverage]) -> None:
        """Notes a split of which more than 5 % is unknown; DataError where train lacks more than 20 %."""
        self.counted[split] = counted
        judge = check_coverage if self.refuse and split == TRAIN else unknown_share
        warning = judge(self.counted[split], f"{self.reader.NOUN} of {split}", self.reader.PLACE)
        if warning:
            self.job.notes.add("unknown_codes", warning)

    def _shown(self, counted: Mapping[str, Coverage]) -> dict[str, Any]:
        sums: dict[str, list[int]] = {}
        for system, c in counted.items():
            name = system if system in self.reader.systems else OTHER
            before = sums.get(name, [0, 0])
            sums[name] = [before[0] + c.events, before[1] + c.unknown]
        return {
            system: {"events": events, "unknown": unknown, "unknown_rate": unknown / max(events, 1)}
            for system, (events, unknown) in sorted(sums.items())
        }


def read_split(job: Job, reader: Reader, split: str) -> tuple[Records, dict[str, Coverage]]:
    """The records of a split, as the reader reads them, and coverage by code system."""
    questions = Questions.of({task: job.labels_of(task, split) for task in job.tasks})
    reading, counted = reader.reading(questions), []
    shards = len(job.dataset.shards())
    with job.watcher.progress(f"{reader.TITLE} of {split}", "shards") as progress:
        for number, table in enumerate(job.tables(split)):
            if table.num_rows:
                counted.append(reader.coverage(table))
                reading.read(table)
            progress(number + 1, shards)
    return reading.records(), summed(counted)


def fit_reader(job: Job, config: ReaderConfig) -> Reader:
    """The reader that `config` is of, fitted on the train subjects.

    What a killed run has fitted is read again by `--resume`.
    """
    kind = reader_type(config)
    if job.resume and all((job.work / name).exists() for name in kind.files()):
        return kind.load(job.work)
    with job.watcher.progress(kind.FITTED, "passes") as progress:
        reader = kind.fit(
            lambda: job.tables(TRAIN),
            config,  # type: ignore[arg-type]
            job.tasks,
            job.dataset.fingerprint,
            progress,
        )
    job.work.mkdir(parents=True, exist_ok=True)
    reader.save(job.work)
    return reader
