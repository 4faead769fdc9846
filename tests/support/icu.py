"""A small simulated intensive care unit as a dataset, and a job on it, for the tests of recipes."""

import os
import signal
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from chartscan.runs import work
from chartscan.runs.job import Job
from chartscan.schema import EVENTS, LABELS
from chartscan.store.config import StoreConfig
from chartscan.store.dataset import Dataset
from chartscan.store.writer import DatasetWriter

ADMITTED = datetime(2012, 1, 1)
HOURS = 24
TASK = "in_hospital_mortality"


class Silent:
    """A watcher that keeps what is said."""

    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)

    def note(self, note):
        self.said.append(str(note))

    @contextmanager
    def progress(self, title, unit):
        yield lambda done, total, words="": None


def make_icu(out: Path, subjects: int = 160, seed: int = 0, signal: float = 2.0) -> Dataset:
    """Stays of 24 hours with three variables; the level of one tells who dies, as far as `signal` goes."""
    random = np.random.default_rng(seed)
    rows = []
    for subject in range(1, subjects + 1):
        dies = bool(deaths(subjects)[subject - 1])
        rows.append(_event(subject, 0, "HOSPITAL_ADMISSION//ICU", "admission"))
        rows.append(_event(subject, None, "PHYSIONET2012//Age", "static", float(random.integers(30, 90))))
        rows.append(_event(subject, None, f"GENDER//{random.choice(['F', 'M'])}", "static"))
        for name, events, mean in (("HR", 8, 80.0), ("Lactate", 3, 3.0), ("Temp", 4, 37.0)):
            for hour in random.uniform(0, HOURS, random.integers(1, events + 1)):
                level = mean * (1 + 0.1 * random.normal() + 0.1 * signal * dies * (name == "Lactate"))
                rows.append(_event(subject, hour, f"PHYSIONET2012//{name}", "vital", level))
    config = StoreConfig(train_fraction=0.6, tuning_fraction=0.25, shard_rows=500)
    with DatasetWriter(out, source="test", config=config) as writer:
        writer.write(pa.Table.from_pylist(rows, schema=EVENTS))
    return Dataset.open(out)


def deaths(subjects: int) -> np.ndarray:
    """Who dies: about a third."""
    return np.random.default_rng(99).random(subjects) < 0.35


def _event(subject, hour, code, event_type, value=None):
    time = None if hour is None else ADMITTED + timedelta(hours=float(hour))
    row = dict.fromkeys(EVENTS.names) | {"subject_id": subject, "time": time, "available_time": time}
    return row | {"code": code, "event_type": event_type, "numeric_value": value}


def labels(subjects: int = 160) -> dict:
    """LABELS of everybody at 24 hours."""
    columns = [
        pa.array(range(1, subjects + 1), pa.int64()),
        pa.array([ADMITTED + timedelta(hours=HOURS)] * subjects, LABELS.field("prediction_time").type),
        pa.array(deaths(subjects)),
    ]
    return {TASK: (pa.table(columns, schema=LABELS), None)}


def job(dataset: Dataset, out: Path, **settings) -> Job:
    """A training of the one task."""
    return Job(dataset, out, settings.pop("labels", None) or labels(), Silent(), **settings)


def train(recipe, job_: Job) -> Path:
    """What `chartscan train` does with a recipe."""
    work.refuse_existing(job_.out)
    work.begin(job_, recipe)
    return recipe.train(job_)


def interrupt_at(monkeypatch, phase, step):
    """SIGTERM to ourselves when a phase reports a step."""
    fit = work.fit

    def fit_and_be_told(*arguments, report, folder, **rest):
        def interrupting(record):
            report(record)
            if folder.name == phase.lower() and record.step == step and record.phase == "train":
                os.kill(os.getpid(), signal.SIGTERM)

        return fit(*arguments, report=interrupting, folder=folder, **rest)

    monkeypatch.setattr(work, "fit", fit_and_be_told)
