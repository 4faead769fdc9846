"""Forecasts for the subjects of a split, as a Parquet file."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from chartscan import parquet_files
from chartscan.artifact import Artifact
from chartscan.errors import ConfigError, DataError
from chartscan.generate import Future, History, Plan, generate
from chartscan.generate.histories import at_questions, at_the_end, forecaster, histories, subjects_of
from chartscan.inputs.readers import TokenReader
from chartscan.inputs.tokens import violations
from chartscan.inputs.tokens.encoded import DAY_US
from chartscan.inputs.tokens.types import NAMES
from chartscan.labels.asked import asked_of_one_task
from chartscan.notes import Notes
from chartscan.runs.job import Watcher, of_subjects
from chartscan.runs.work import check_apart, check_file
from chartscan.schema import HELD_OUT, TIME
from chartscan.store.dataset import Dataset

FORECASTS = pa.schema(
    [
        pa.field("subject_id", pa.int64(), nullable=False),
        pa.field("prediction_time", TIME, nullable=False),
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("position", pa.int32(), nullable=False),  # from 0
        pa.field("days", pa.float64(), nullable=False),  # since prediction_time; approximate
        pa.field("code", pa.string(), nullable=False),  # the token
        pa.field("type", pa.string(), nullable=False),
        pa.field("probability", pa.float32(), nullable=False),  # of the token, given all before it
    ]
)


@dataclass(frozen=True)
class ForecastJob:
    """The arguments of the command."""

    artifact: Path
    dataset: Path
    out: Path
    plan: Plan
    at: Path | None = None  # labels or questions that say when; None: at the end of each record
    split: str = HELD_OUT
    threads: int = 1
    device: str = "cpu"


EVENTS = 10  # that a future ends after, where neither events nor days are said


def forecast_plan(
    samples: int,
    events: int | None,
    days: float | None,
    tokens: int,
    temperature: float,
    top_p: float,
    greedy: bool,
    grammar: bool,
    seed: int,
) -> Plan:
    """Return the plan of futures; ConfigError where `greedy` comes with settings of random draws."""
    if greedy and (samples, temperature, top_p) != (1, 1.0, 1.0):
        raise ConfigError(
            "--greedy takes the most likely token, so there is only one future: leave out --samples, "
            "--temperature and --top-p."
        )
    return Plan(
        samples=samples,
        tokens=tokens,
        events=EVENTS if events is None and days is None else events,
        days=days,
        temperature=0 if greedy else temperature,
        top_p=top_p,
        grammar=grammar,
        seed=seed,
    )


def run_forecast(job: ForecastJob, watcher: Watcher) -> Iterator[str]:
    """Write FORECASTS; yield lines of text without content of records."""
    check_apart(job.out, job.artifact, job.dataset, job.at)
    check_file(job.out, "forecast.parquet")
    dataset = Dataset.open(job.dataset)
    model = forecaster(job.artifact, dataset, job.threads, watcher, device=job.device)
    subjects = subjects_of(model, dataset, job.split)
    cutter = at_the_end(model)
    if job.at:
        questions = of_subjects(_questions(job.at, dataset, Notes(watcher.note)), subjects)
        cutter, subjects = at_questions(model, questions), np.unique(questions["subject_id"].to_numpy())
    asked = histories(model, dataset, subjects, cutter, watcher, Notes(watcher.note))
    with watcher.progress("Forecasting", "histories") as progress:
        futures = list(generate(model, asked, job.plan, progress))
    write_forecasts(job.out, model, asked, futures)
    yield f"{job.out}: {len(futures):,} futures of {len(asked):,} histories, split {job.split}"
    yield summary(asked, futures)


def _questions(path: Path, dataset: Dataset, notes: Notes) -> pa.Table:
    """Distinct (subject, prediction time) of a file of labels or questions."""
    _, found, _ = asked_of_one_task(path, dataset, notes, "--at ")
    table = found.select(["subject_id", "prediction_time"])
    if not table.num_rows:
        raise DataError(f"--at {path}: contains no rows.")
    return table.group_by(table.column_names).aggregate([])


def summary(asked: Sequence[History], futures: Sequence[Future]) -> str:
    """Return a line: how futures ended, and how many tokens no record could have there."""
    tokens = sum(len(f.codes) for f in futures)
    wrong = sum(violations(f.types, asked[f.history].grammar) for f in futures)
    ends = {why: sum(f.ended == why for f in futures) for why in ("events", "days", "tokens", "death")}
    said = ", ".join(f"{n:,} by {why}" for why, n in ends.items() if n)
    return f"{tokens:,} tokens, {wrong:,} of them out of order for a record; ended {said}"


def write_forecasts(
    path: Path, artifact: Artifact[TokenReader], asked: Sequence[History], futures: Iterable[Future]
) -> None:
    """Write FORECASTS in order of subject, time, sample and position, whole or not at all."""
    ordered = sorted(
        futures, key=lambda f: (asked[f.history].subject_id, asked[f.history].now, f.history, f.sample)
    )
    tokens = np.array(artifact.reader.vocabulary.tokens, dtype=object)
    counts = [len(f.codes) for f in ordered]
    now = np.repeat([asked[f.history].now for f in ordered], counts).astype(np.int64)
    joined = {
        name: np.concatenate([getattr(f, name) for f in ordered])
        for name in ("codes", "types", "times", "log_probs")
    }
    columns = {
        "subject_id": np.repeat([asked[f.history].subject_id for f in ordered], counts),
        "prediction_time": pa.array(now).cast(TIME),
        "sample": np.repeat([f.sample for f in ordered], counts),
        "position": np.concatenate([np.arange(n) for n in counts]),
        "days": (joined["times"] - now) / DAY_US,
        "code": tokens[joined["codes"]],
        "type": np.array([NAMES.get(i, "") for i in range(max(NAMES) + 1)], dtype=object)[joined["types"]],
        "probability": np.exp(joined["log_probs"]),
    }
    arrays = [pa.array(columns[field.name]).cast(field.type) for field in FORECASTS]
    parquet_files.write_table(path, pa.table(arrays, schema=FORECASTS))
