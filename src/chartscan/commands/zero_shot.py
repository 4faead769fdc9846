"""Risks from sampled futures, without training: the share of futures in which the outcome occurs."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa

from chartscan import files
from chartscan.artifact import Artifact
from chartscan.cohort.labelling import Task
from chartscan.errors import DataError
from chartscan.evaluation import write_predictions
from chartscan.generate import History, Plan, generate
from chartscan.generate.histories import at_questions, forecaster, histories, subjects_of
from chartscan.generate.imagined import Imagined, known_events
from chartscan.inputs.readers import TokenReader
from chartscan.labels.asked import asked_of_one_task
from chartscan.labels.tasks import task_as_labelled
from chartscan.notes import KEY, Notes, records
from chartscan.runs.job import Watcher, of_subjects
from chartscan.runs.seen import seen_facts
from chartscan.runs.work import check_apart, check_file
from chartscan.schema import COHORT_KEY, HELD_OUT, PREDICTIONS, Counts, check
from chartscan.store.dataset import Dataset

WITHOUT_HORIZON = 60.0  # days that are sampled for a task that names no horizon, as those of one stay
LEAST = 1e-3  # no risk is below LEAST or above 1 - LEAST: no model is that sure
MARGIN = 1.0  # days beyond the horizon, since some windows end with the day
_EPOCH = datetime(1970, 1, 1)


@dataclass(frozen=True)
class ZeroShotJob:
    """The arguments of the command; `days` of None means the task's horizon."""

    artifact: Path
    dataset: Path
    labels: Path
    out: Path
    plan: Plan
    split: str = HELD_OUT
    threads: int = 1
    device: str = "cpu"
    task: Path | None = None  # Python file of the user's own task


def run_zero_shot(job: ZeroShotJob, watcher: Watcher) -> Iterator[str]:
    """Write PREDICTIONS of the one task of `labels`; yield lines of text."""
    check_apart(job.out, job.artifact, job.dataset, job.labels)
    check_file(job.out, "TASK.parquet")
    dataset = Dataset.open(job.dataset)
    name, table, counts = asked_of_one_task(job.labels, dataset, Notes(watcher.note))
    task = task_as_labelled(name, counts, job.task)
    model = forecaster(job.artifact, dataset, job.threads, watcher, device=job.device)
    asked = of_subjects(table, subjects_of(model, dataset, job.split))
    if not asked.num_rows:
        raise DataError(f"{job.labels}: no rows of subjects of the split {job.split}.")
    assert model.reader.pace is not None
    plan = plan_for(job.plan, task, model.reader.pace.last_ends)
    notes = Notes(watcher.note)
    shares, told = risks(model, dataset, task, asked, plan, watcher, notes)
    silent = plan.samples - told
    unknown = round(silent.sum())
    answered = np.isfinite(shares)
    if unknown:
        drawn = asked.num_rows * plan.samples
        text = f"{unknown:,} of {drawn:,} futures do not show the outcome and are not counted."
        notes.add("silent_futures", text, name, warning=False)
    if not answered.all():
        unanswered = int((~answered).sum())
        text = f"{unanswered:,} questions have no answer: no future shows the outcome. Give more --tokens."
        notes.add("unanswered", text, name)
    extra = {
        "calibration": "none",
        "samples": plan.samples,
        "days": plan.days,
        "temperature": plan.temperature,
        "top_p": plan.top_p,
        "seed": plan.seed,
        "futures_that_do_not_tell": unknown,
        "futures_that_tell": [round(n, 3) for n in told[told > 0].tolist()],  # of each row
        "split": job.split,
        "dataset": dataset.fingerprint,
        "artifact": files.sha256(job.artifact / files.MANIFEST),
        "trained_on": model.run.get("data", {}),
        "seen": seen_facts(model.run, asked, dataset),
        KEY: records(notes.about(name)),
    }
    table = with_shares(asked.filter(pa.array(answered)), shares[answered], counts)
    write_predictions(job.out, table, name, f"{model.name}, futures", extra)
    yield f"{job.out}: {table.num_rows:,} predictions of {name} from {plan.samples} futures each"


def plan_for(plan: Plan, task: Task, last_ends: tuple[int, ...]) -> Plan:
    """Return the plan, with the horizon of the task where it names no days.

    Where tokens are drawn from the whole distribution, futures branch at what settles the task's answer, and
    part at what comes just before a death in hospital (tokens `last_ends`), if they get there.
    """
    days = float(getattr(task.DEFAULT, "horizon_days", WITHOUT_HORIZON)) + MARGIN
    settled_by = tuple(getattr(task, "SETTLED_BY", ())) if plan.top_p == 1 else ()
    into_stays = bool(settled_by) and "admission" not in settled_by
    return msgspec.structs.replace(
        plan,
        days=days if plan.days is None else plan.days,
        branch_at=settled_by,
        part_at=last_ends if into_stays else (),
    )


def with_shares(asked: pa.Table, shares: np.ndarray, counts: Counts | None) -> pa.Table:
    """Return PREDICTIONS with the shares as probabilities, without decisions."""
    table = asked.append_column("predicted_boolean_probability", pa.array(shares.astype(np.float32)))
    metadata = {COHORT_KEY: msgspec.json.encode(counts)} if counts else None
    return check(table, PREDICTIONS, "predictions").replace_schema_metadata(metadata)


def risks(
    model: Artifact[TokenReader],
    dataset: Dataset,
    task: Task,
    asked: pa.Table,
    plan: Plan,
    watcher: Watcher,
    notes: Notes,
) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each row of `asked`, the share of futures with the outcome.

    The second array counts the futures in which the outcome is known. nan where no future tells. The risk of
    a row does not depend on the other rows.
    """
    subjects = np.unique(asked["subject_id"].to_numpy())
    found = histories(model, dataset, subjects, at_questions(model, asked), watcher, notes)
    known = _known(dataset, subjects, found)
    positive, told = np.zeros(len(found)), np.zeros(len(found))
    with watcher.progress("Forecasting", "histories") as progress:
        imagined = [_imagined(task, model, k, h, plan) for k, h in zip(known, found, strict=True)]
        for future in generate(model, found, plan, progress):
            i, value = future.history, imagined[future.history].outcome(future)
            if value is not None:
                positive[i] += future.weight * value
                told[i] += future.weight
    if not told.any():
        raise DataError("No future shows whether the outcome occurs. Give more --days or --tokens.")
    shares = np.divide(positive, told, out=np.full(len(found), np.nan), where=told > 0)
    shares = shares.clip(LEAST, 1 - LEAST)
    place = {(h.subject_id, h.now): i for i, h in enumerate(found)}
    instants = asked["prediction_time"].cast(pa.timestamp("us")).cast(pa.int64()).to_pylist()
    rows = [place[key] for key in zip(asked["subject_id"].to_pylist(), instants, strict=True)]
    return shares[rows], told[rows]


def _imagined(task: Task, model: Artifact[TokenReader], known: pa.Table, of: History, plan: Plan) -> Imagined:
    assert plan.days is not None
    now = _EPOCH + timedelta(microseconds=of.now)
    return Imagined(task, model.reader.vocabulary, known, now, now + timedelta(days=plan.days))


def _known(dataset: Dataset, subjects: np.ndarray, found: list[History]) -> list[pa.Table]:
    """What was known at each history, as labels need it."""
    wanted: dict[int, list[int]] = {}
    for i, history in enumerate(found):
        wanted.setdefault(history.subject_id, []).append(i)
    tables: dict[int, pa.Table] = {}
    for path in dataset.shards():
        for subject, events in dataset.shard_subjects(path, None, subjects):
            for i in wanted.get(subject, []):
                tables[i] = known_events(events, _EPOCH + timedelta(microseconds=found[i].now))
    return [tables[i] for i in range(len(found))]
