"""One training on long records, in a process of its own: what a context costs, and what is then known."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import nn

from chartscan.batch import Loss, SeriesBatch
from chartscan.console import Display
from chartscan.models import hymate
from chartscan.objectives import classification
from chartscan.training import FitResult, StepRecord, TrainConfig, fit
from chartscan_lab.bench.memory import extra_bytes
from chartscan_lab.study._long_records import LongConfig, LongRecords
from chartscan_lab.study._made_with import Code, current

HELD_OUT_FIRST = 1_000_000  # record numbers that no training reaches


class LengthRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that decides the outcome of one cell."""

    model: hymate.Config
    records: LongConfig
    context: int  # latest events that are seen
    train: int  # records
    held_out: int
    batch_size: int  # records in memory at a time
    fit: TrainConfig
    seed: int


class LengthResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What came out."""

    labels: list[bool]  # of the held-out records
    probabilities: list[float]
    seconds_per_epoch: float
    extra_bytes: int  # highest memory of the training above that before it
    parameters: int
    code: Code = Code()  # that made it


class Contender(nn.Module):
    """The model with its head."""

    model: Any
    head: Any

    def __init__(self, run: LengthRun):
        super().__init__()
        self.model = hymate.Model(run.model, run.records.n_variables, n_statics=1)
        self.head = classification.Classification(self.model.width, 1)

    def forward(self, batch: SeriesBatch) -> Loss:
        """The loss of a batch."""
        found: Loss = self.head.loss(self.model, batch)
        return found


@dataclass(frozen=True)
class LongEpochs:
    """Records as training batches, in an order drawn for each epoch."""

    records: LongRecords
    context: int
    size: int

    def n_batches(self, epoch: int) -> int:
        return -(-self.records.count // self.size)

    def batch(self, epoch: int, index: int) -> SeriesBatch:
        order = np.random.default_rng([self.records.seed, epoch, 2]).permutation(self.records.count)
        return self.records.batch(order[index * self.size : (index + 1) * self.size], self.context)

    def in_order(self) -> list[np.ndarray]:
        """Every record once."""
        rows = np.arange(self.records.count)
        return [rows[first : first + self.size] for first in range(0, len(rows), self.size)]


def measure(run: LengthRun, folder: Path, resume: bool, threads: int, quiet: bool) -> LengthResult:
    """Trains on records of the run's seed and asks held-out ones; gives numbers. Checkpoints are in `folder`.

    Raises KeyboardInterrupt where a signal asked for the end and everything is saved.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(run.seed)
    contender = Contender(run)
    with Display(quiet).progress(f"Context {run.context:,}", "steps") as progress:
        found: list[FitResult] = []
        memory = extra_bytes(lambda: found.append(_fitted(contender, run, folder, resume, progress)))
    if found[0].interrupted:
        raise KeyboardInterrupt
    labels, probabilities = _asked(contender.eval(), run)
    return LengthResult(
        labels=labels,
        probabilities=probabilities,
        seconds_per_epoch=_seconds_per_epoch(folder, run.fit.epochs),
        extra_bytes=memory,
        parameters=sum(p.numel() for p in contender.parameters()),
        code=current(),
    )


def _fitted(contender: Contender, run: LengthRun, folder: Path, resume: bool, progress: Any) -> FitResult:
    records = LongRecords(run.records, run.seed, 0, run.train)

    def report(record: StepRecord) -> None:
        progress(record.step, record.total_steps)

    return fit(
        contender,
        LongEpochs(records, run.context, run.batch_size),
        run.fit,
        folder=folder,
        resume=resume,
        report=report,
        fingerprint=msgspec.json.encode(run).decode(),
    )


@torch.no_grad()
def _asked(contender: Contender, run: LengthRun) -> tuple[list[bool], list[float]]:
    """Outcomes of the held-out records and their probabilities."""
    records = LongRecords(run.records, run.seed, HELD_OUT_FIRST, run.held_out)
    labels: list[bool] = []
    probabilities: list[float] = []
    for rows in LongEpochs(records, run.context, run.batch_size).in_order():
        batch = records.batch(rows, run.context)
        labels += (batch.labels[:, 0] > 0.5).tolist()
        probabilities += torch.sigmoid(contender.head.predict(contender.model, batch))[:, 0].tolist()
    return labels, probabilities


def _seconds_per_epoch(folder: Path, epochs: int) -> float:
    """All seconds of training, over all sessions, by epoch."""
    last = (folder / "losses.jsonl").read_bytes().splitlines()[-1]
    return float(msgspec.json.decode(last)["seconds"]) / epochs
