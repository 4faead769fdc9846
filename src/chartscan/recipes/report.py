"""Predictions of one or more models -> metrics.json and report.html, and how they came about."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

import chartscan
from chartscan import artifact as artifacts
from chartscan.errors import ConfigError, DataError
from chartscan.evaluation import PredictionSet, evaluate, read_predictions, text_table
from chartscan.evaluation.report import write_report
from chartscan.evaluation.sections import Coverage, DatasetFacts, ReportSections, TrainingCurve
from chartscan.find import find, names
from chartscan.recipes._groups import groups_of
from chartscan.recipes._job import Watcher
from chartscan.recipes._run_record import commit
from chartscan.recipes._truth import ceilings
from chartscan.schema import LABELS
from chartscan.store.dataset import Dataset


@dataclass(frozen=True)
class ReportPlan:
    """What the user asked for."""

    predictions: Sequence[Path]  # files or folders of one model
    out: Path
    against: Sequence[Path] = ()  # of baselines
    data: Path | None = None
    model: Path | None = None
    truth: Path | None = None
    bootstrap: int = 1000
    seed: int = 0


def run_evaluate(plan: ReportPlan, watcher: Watcher) -> tuple[Path, str]:
    """Writes the report; gives its path and a table of text."""
    sets = [*_read(plan.predictions), *_read(plan.against)]
    if plan.truth and not plan.data:
        raise ConfigError("--truth needs --data, which knows which patient is which subject.")
    dataset = Dataset.open(plan.data) if plan.data else None
    labels = {one.task: one.table.select(LABELS.names) for one in sets}
    ceiling = ceilings(plan.truth, dataset, labels) if plan.truth and dataset else None
    groups = groups_of(dataset, labels) if dataset else None
    with watcher.progress("Evaluating", "tasks") as progress:
        result = evaluate(
            sets, ceiling=ceiling, groups=groups, bootstrap=plan.bootstrap, seed=plan.seed, progress=progress
        )
    report = write_report(result, plan.out, sections=sections(dataset, plan))
    return report, text_table(result)


def _read(paths: Sequence[Path]) -> list[PredictionSet]:
    found = []
    for path in paths:
        files = [path] if path.is_file() else sorted(path.glob("*.parquet"))
        if not files:
            raise DataError(f"{path}: no predictions. Make some: chartscan predict RUN DATASET LABELS {path}")
        found += [read_predictions(file) for file in files]
    return found


def sections(dataset: Dataset | None, plan: ReportPlan) -> ReportSections:
    """Everything a report shows that predictions do not hold."""
    run = dict(artifacts.load(plan.model).run) if plan.model else {}
    recipe = run.get("recipe", {})
    return ReportSections(
        title="chartscan evaluation",
        version=chartscan.__version__,
        code_version=commit() or None,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seed=recipe.get("seed"),
        dataset=_facts(dataset, plan.truth is not None) if dataset else None,
        task_titles={name: find("tasks", name).TITLE for name in names("tasks")},
        accounting=dataset.manifest["accounting"] if dataset else None,
        coverage=_coverage(run.get("coverage")),
        training=_curves(run.get("curves", {})) or None,
        settings=recipe or None,
        environment=run.get("versions"),
    )


def _facts(dataset: Dataset, simulated: bool) -> DatasetFacts:
    counts = dataset.manifest["counts"]
    first, last = _span(dataset)
    return DatasetFacts(
        name=dataset.path.name,
        subjects=counts["subjects"],
        events=counts["events"],
        first_event=first,
        last_event=last,
        simulated=simulated,
        follow_up=dataset.follow_up,
        fingerprint=dataset.fingerprint,
    )


def _span(dataset: Dataset) -> tuple[str | None, str | None]:
    """Dates of the first and last event, births left out."""
    firsts, lasts = [], []
    for path in dataset.shards():
        table = dataset.read_shard(path, ["time", "event_type"])
        times = pc.min_max(table.filter(pc.not_equal(table["event_type"], "birth"))["time"])
        if times["min"].is_valid:
            firsts.append(times["min"].as_py())
            lasts.append(times["max"].as_py())
    return (min(firsts).date().isoformat(), max(lasts).date().isoformat()) if firsts else (None, None)


def _coverage(found: dict[str, dict[str, dict[str, Any]]] | None) -> list[Coverage] | None:
    """Coverage of the held-out subjects."""
    if not found:
        return None
    by_system = found["held_out"]
    return [Coverage(system, c["events"], c["unknown"]) for system, c in sorted(by_system.items())]


def _curves(found: dict[str, list[dict[str, float]]]) -> list[TrainingCurve]:
    curves = []
    for name, rows in found.items():
        phase, kind = name.split("/")
        shown = [row for row in rows if row.get("loss") is not None]
        title = f"{phase}, {'train' if kind == 'losses' else 'tuning'}"
        curves.append(TrainingCurve(title, [int(r["step"]) for r in shown], [r["loss"] for r in shown]))
    return curves
