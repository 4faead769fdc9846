"""Explanations of a network's predictions: attributions, tests of their faithfulness, and one page.

These are the only files of chartscan that show the content of records. They go to the folder that was named;
logs and errors hold nothing of them.
"""

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import torch

from chartscan import artifact as artifacts
from chartscan import files, parquet_files
from chartscan.artifact import AnyArtifact, Artifact
from chartscan.commands.forecast import write_forecasts
from chartscan.console import ProgressFunction
from chartscan.errors import ConfigError, DataError, check_settings
from chartscan.evaluation.truth import ceilings
from chartscan.generate.histories import check_unseen, forecaster
from chartscan.inputs.hourly import stays
from chartscan.inputs.readers import HourlyReader, TokenReader
from chartscan.interpret.explanation import SIGNED, Explanation, Question, Voices, voices
from chartscan.interpret.future import Ahead, forecasts_beside
from chartscan.interpret.page import Event, Forecast, Patient, page
from chartscan.interpret.series import explain_series
from chartscan.interpret.summary import summary, table
from chartscan.interpret.tokens import explain_tokens
from chartscan.labels.asked import asked
from chartscan.labels.files import Labels
from chartscan.labels.tasks import title_of
from chartscan.lock import OutputLock
from chartscan.machine import keep_freed_memory
from chartscan.notes import KEY, Notes
from chartscan.notes import records as note_records
from chartscan.prediction import answer
from chartscan.runs.job import Watcher, of_subjects
from chartscan.runs.work import check_apart, refuse_existing
from chartscan.schema import HELD_OUT
from chartscan.store.dataset import Dataset

CHOICES = ("highest", "random")
MOST_SHOWN = 40  # answers on the page


@dataclass(frozen=True)
class ExplainPlan:
    """The arguments of the command."""

    artifact: Path
    dataset: Path
    labels: Path
    out: Path
    tasks: Sequence[str] = ()
    subjects: Sequence[int] = ()
    count: int = 3  # answers a task
    choose: str = "highest"
    split: str = HELD_OUT
    truth: Path | None = None
    forecast: Path | None = None  # a pretrained model whose forecasts stand beside what came
    days: float = 30.0  # that it forecasts
    samples: int = 20  # futures drawn of each answer
    seed: int = 0
    device: str = "cpu"


def run_explain(plan: ExplainPlan, threads: int, watcher: Watcher) -> Iterator[str]:
    """Write the folder `out`, whole or not at all; yield lines without record content."""
    _check(plan)
    refuse_existing(plan.out)
    # Before the work: a place that is in use or cannot be written is refused.
    with (
        files.made_folder(plan.out.parent),
        OutputLock(plan.out),
        files.sealed(plan.out, private=True) as folder,
    ):
        torch.set_num_threads(threads)
        keep_freed_memory()
        model, data = artifacts.load(plan.artifact, plan.device), Dataset.open(plan.dataset)
        networks = voices(model, plan.artifact)
        _check_explainable(model)
        forecasting = _forecaster(plan, data, threads, watcher)
        notes = Notes(watcher.note)
        labels, wanted, left_out = asked(plan.artifact, model, data, plan.labels, plan.split, notes)
        for task in left_out:
            notes.add("left_out", f"Not learned by {plan.artifact}, so not explained.", task)
        wanted = _of_plan(wanted, plan)
        with watcher.progress("Predicting", "batches") as progress:
            answered = answer(model, lambda: map(data.read_shard, data.shards()), wanted, progress)
        notes.extend(answered.findings.notes)
        questions = _chosen(answered.predictions, data, plan)
        records = _records(data, questions)
        with watcher.progress("Explaining", "answers") as progress:
            found = _explained(networks, questions, records, plan.seed, progress)
        if not found:
            raise DataError(
                "The records of these predictions contain no events, so there is nothing to explain."
            )
        ahead = Ahead(plan.days, plan.samples, plan.seed)
        beside = None
        if forecasting:
            asked_about = [one.question for one in found]
            beside = forecasts_beside(forecasting, data, asked_about, records, ahead, watcher)
            write_forecasts(folder / "forecast.parquet", forecasting, beside.histories, beside.futures)
        report = _report(found, model, data, plan) | {"signed": SIGNED[_reads(networks)]}
        report |= {"titles": _titles(labels, report["tasks"]), KEY: note_records(notes)}
        _write(folder, found, beside.shown if beside else [None] * len(found), report, data)
    yield from _lines(report)
    if len(found) > MOST_SHOWN:
        yield f"The page shows the first {MOST_SHOWN} of {len(found)} answers; the other files hold all."
    yield str(plan.out / "explain.html")


def _check(plan: ExplainPlan) -> None:
    numbers = {"count": plan.count, "days": plan.days, "samples": plan.samples}
    check_settings({f"{name} (at least 1)": number >= 1 for name, number in numbers.items()})
    if plan.forecast is None and (plan.days, plan.samples) != (ExplainPlan.days, ExplainPlan.samples):
        raise ConfigError(
            "--days and --samples belong to forecasts: name a pretrained model with --forecast."
        )
    if plan.choose not in CHOICES:
        raise ConfigError(f"--choose {plan.choose}: expected one of {', '.join(CHOICES)}.")
    check_apart(plan.out, plan.artifact, plan.dataset, plan.labels, plan.forecast)


def _check_explainable(model: AnyArtifact) -> None:
    """ConfigError for a network without the part that gradients are taken at."""
    for single in model.singles():
        network = single.network and single.network.model
        part = {"tokens": "embedding.codes", "triplets": "embedding"}.get(getattr(network, "INPUT", ""))
        if part and not hasattr(getattr(network, "embedding", None), part.partition(".")[2] or "forward"):
            raise ConfigError(
                f"{single.name} cannot be explained: its Model has no `{part}`, which attributions go to. "
                "Give it one of chartscan.layers.embedding, and train again. See docs/extend-model.md."
            )


def _forecaster(
    plan: ExplainPlan, data: Dataset, threads: int, watcher: Watcher
) -> Artifact[TokenReader] | None:
    """The model that forecasts, if named; ConfigError where trained on held-out subjects."""
    if plan.forecast is None:
        return None
    found = forecaster(plan.forecast, data, threads, watcher, pretrained_only=True, device=plan.device)
    if plan.split == HELD_OUT:
        check_unseen(found, data, data.subject_ids(HELD_OUT))
    return found


def _of_plan(wanted: dict[str, pa.Table], plan: ExplainPlan) -> dict[str, pa.Table]:
    """The labels of the tasks and subjects that were named."""
    strangers = sorted(set(plan.tasks) - set(wanted))
    if strangers:
        raise ConfigError(
            f"--task {strangers[0]}: no such task here. Expected one of: {', '.join(sorted(wanted))}."
        )
    chosen = {task: table for task, table in wanted.items() if not plan.tasks or task in plan.tasks}
    if plan.subjects:
        known = np.concatenate([table["subject_id"].to_numpy() for table in chosen.values()])
        unknown = sorted(set(plan.subjects) - set(known.tolist()))
        if unknown:
            raise DataError(
                f"--subjects: {len(unknown)} of {len(plan.subjects)} have no labels in the split "
                f"{plan.split}. Try --split all."
            )
        chosen = {task: of_subjects(table, np.unique(plan.subjects)) for task, table in chosen.items()}
        chosen = {task: table for task, table in chosen.items() if table.num_rows}
    return chosen


def _chosen(answers: dict[str, pa.Table], data: Dataset, plan: ExplainPlan) -> list[Question]:
    """Of each task the answers to explain: of each named subject the highest risk, else `count` of all."""
    true = ceilings(plan.truth, data, _without_answers(answers)) if plan.truth else {}
    found = []
    for task, answered in answers.items():
        frame = pl.DataFrame(answered)
        if task in true:
            frame = frame.with_columns(true_risk=pl.DataFrame(true[task].table)[_PROBABILITY])
        ordered = frame.sort(_PROBABILITY, "subject_id", "prediction_time", descending=[True, False, False])
        if plan.subjects:
            taken = ordered.unique("subject_id", keep="first", maintain_order=True)
        elif plan.choose == "random":
            order = np.random.default_rng(plan.seed).permutation(len(frame))[: plan.count]
            taken = frame[np.sort(order)]
        else:
            taken = ordered.head(plan.count)
        found += [_question(task, row) for row in taken.iter_rows(named=True)]
    return found


_PROBABILITY = "predicted_boolean_probability"


def _without_answers(answers: dict[str, pa.Table]) -> dict[str, pa.Table]:
    names = ["predicted_boolean_value", _PROBABILITY]
    return {task: table.drop_columns(names) for task, table in answers.items()}


def _question(task: str, row: dict[str, Any]) -> Question:
    return Question(
        task,
        row["subject_id"],
        row["prediction_time"],
        row[_PROBABILITY],
        row.get("boolean_value"),
        row.get("true_risk"),
    )


def _records(data: Dataset, questions: list[Question]) -> dict[int, pa.Table]:
    """The whole EVENTS of the questions' subjects."""
    subjects = np.unique([question.subject_id for question in questions])
    return {
        subject: record
        for path in data.shards()
        for subject, record in data.shard_subjects(path, wanted=subjects)
    }


def _explained(
    networks: dict[str, Voices],
    questions: list[Question],
    records: dict[int, pa.Table],
    seed: int,
    progress: ProgressFunction,
) -> list[Explanation]:
    """All questions, those that the same members answer together."""
    groups: dict[tuple[int, ...], list[Question]] = {}
    for question in questions:
        groups.setdefault(tuple(map(id, networks[question.task].members)), []).append(question)
    found: list[Explanation] = []
    for own in groups.values():
        found += _explained_by(networks, own, records, seed, _further(progress, len(found), len(questions)))
    return found


def _further(progress: ProgressFunction, before: int, total: int) -> ProgressFunction:
    return lambda done, _, words="": progress(before + done, total, words)


def _explained_by(
    networks: dict[str, Voices],
    questions: list[Question],
    records: dict[int, pa.Table],
    seed: int,
    progress: ProgressFunction,
) -> list[Explanation]:
    """Questions that are all answered by the members of the first's."""
    members: Any = networks[questions[0].task].members
    if members[0].reader.NAME == HourlyReader.NAME:
        times = pa.array([question.prediction_time for question in questions], pa.timestamp("us"))
        ids = pa.array([question.subject_id for question in questions], pa.int64())
        about = pa.table({"subject_id": ids, "prediction_time": times})
        shown = stays(records.values(), members[0].reader.variables, about)
        return explain_series(members[0], questions, shown, seed, progress)
    weights = {question.task: networks[question.task].weights for question in questions}
    return explain_tokens(members, weights, questions, records, seed, progress)


def _reads(networks: dict[str, Voices]) -> str:
    """What the networks read; of one artifact all the same."""
    network: Any = next(iter(networks.values())).members[0]
    return str(network.network.model.INPUT)


def _report(found: list[Explanation], model: AnyArtifact, data: Dataset, plan: ExplainPlan) -> dict[str, Any]:
    """What explain.json holds."""
    tasks = list(dict.fromkeys(one.question.task for one in found))
    by_task = {task: [one for one in found if one.question.task == task] for task in tasks}
    forecast = None
    if plan.forecast:
        digest = files.sha256(plan.forecast / files.MANIFEST)
        forecast = {"artifact": digest, "days": plan.days, "samples": plan.samples}
    return {
        "version": version("chartscan"),
        "model": model.name,
        "artifact": files.sha256(plan.artifact / files.MANIFEST),
        "dataset": data.fingerprint,
        "split": plan.split,
        "chosen": "subjects" if plan.subjects else plan.choose,
        "seed": plan.seed,
        "forecast": forecast,
        "tasks": {task: summary(some, plan.truth is not None, plan.seed) for task, some in by_task.items()},
    }


def _write(
    folder: Path,
    found: list[Explanation],
    forecasts: Sequence[Forecast | None],
    report: dict[str, Any],
    data: Dataset,
) -> None:
    """attributions.parquet, explain.json and explain.html."""
    attributions = io.BytesIO()
    table(found).write_parquet(attributions)
    shown = list(zip(found, forecasts, strict=True))[:MOST_SHOWN]
    html = page([_patient(*one, data) for one in shown], report, report["titles"], report["signed"])
    parquet_files.write_content(folder / "attributions.parquet", attributions.getvalue())
    files.write_bytes(folder / "explain.json", json.dumps(report, indent=1).encode(), private=True)
    files.write_bytes(folder / "explain.html", html.encode(), private=True)


def _titles(labels: Labels, tasks: Iterable[str]) -> dict[str, str]:
    """Titles of the tasks with the settings that their labels were made with."""
    counts = {task: labels[task][1] for task in tasks}
    return {task: title_of(task, one.settings if one else {}) for task, one in counts.items()}


def _patient(one: Explanation, forecast: Forecast | None, data: Dataset) -> Patient:
    described = pl.DataFrame(data.codes().select(["code", "description"]))
    events = one.events.join(described, on="code", how="left", maintain_order="left")
    names = ("time", "code", "type", "description", "value", "visit")
    return Patient(
        subject=str(one.question.subject_id),
        task=one.question.task,
        asked=one.question.prediction_time.isoformat(" ", "minutes"),
        probability=one.question.probability,
        label=one.question.label,
        true_risk=one.question.true_risk,
        events=[Event(*row) for row in events.select(names).iter_rows()],
        attributions={name: values.tolist() for name, values in one.attributions.items()},
        forecast=forecast,
    )


def _lines(report: dict[str, Any]) -> Iterator[str]:
    """A line for each task and method."""
    for task, found in report["tasks"].items():
        yield f"{task}: {found['explained']} answers explained"
        for name, method in found["methods"].items():
            parts = [f"comprehensiveness at 10 % {method['comprehensiveness']['10%']:.3f}"]
            if "completeness_gap" in method and method["completeness_gap"]["relative"] is not None:
                parts.append(f"completeness gap {method['completeness_gap']['relative']:.2%}")
            if method.get("auroc_of_causes", {}).get("mean") is not None:
                parts.append(f"AUROC of the true causes {method['auroc_of_causes']['mean']:.3f}")
            yield f"    {name}: {', '.join(parts)}"
