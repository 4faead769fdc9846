"""From predictions of one or more models to metrics.json and report.html."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from chartscan import artifact as artifacts
from chartscan import files
from chartscan.errors import ConfigError, check_settings
from chartscan.evaluation import PredictionSet, evaluate, text_table
from chartscan.evaluation.groups import groups_of
from chartscan.evaluation.limitations import own_notes
from chartscan.evaluation.predictions import check_artifact, check_dataset, read_given, told_apart
from chartscan.evaluation.report import write_report
from chartscan.evaluation.reported import reported
from chartscan.evaluation.sections import DatasetFacts, ReportSections, TrainingCurve
from chartscan.evaluation.truth import ceilings, no_ceiling_notes
from chartscan.labels.belonging import check_rows
from chartscan.labels.tasks import title_of
from chartscan.notes import Notes
from chartscan.runs.job import Watcher
from chartscan.runs.record import commit
from chartscan.runs.seen import dataset_notes
from chartscan.schema import LABELS
from chartscan.store.dataset import Dataset


@dataclass(frozen=True)
class ReportPlan:
    """The arguments of the command."""

    predictions: Sequence[Path]  # files or folders of one model
    out: Path
    against: Sequence[Path] = ()  # of baselines
    data: Path | None = None
    model: Path | None = None
    truth: Path | None = None
    bootstrap: int = 1000
    seed: int = 0
    metrics: Sequence[Path] = ()  # Python files of the user's own metrics


def run_evaluate(plan: ReportPlan, watcher: Watcher) -> tuple[Path, str]:
    """Write the report and return its path and a table as text.

    ConfigError where the predictions were made by another model, or of another dataset, than the plan names.
    """
    check_settings({"bootstrap (at least 1)": plan.bootstrap >= 1, "seed": plan.seed >= 0})
    if plan.truth and not plan.data:
        raise ConfigError("--truth needs --data, which says which patient is which subject.")
    if plan.out.exists() and not plan.out.is_dir():
        raise ConfigError(f"--out {plan.out} is a file; expected a folder for report.html and metrics.json.")
    metrics = reported(plan.metrics)  # a file that holds no metric is refused before any work
    files.sweep(plan.out)
    notes = Notes(watcher.note)
    given = read_given([*plan.predictions, *plan.against], notes)
    sets = told_apart(given)
    dataset = Dataset.open(plan.data) if plan.data else None
    if dataset:
        check_dataset(given, dataset)
        check_rows({one.task: one.table for one in sets}, dataset, notes)  # all models answer the same
    shown = sections(dataset, plan, sets)
    if plan.model:
        check_artifact([one for one in given if one.path in plan.predictions], plan.model)
    labels = {one.task: one.table.select(LABELS.names) for one in sets}
    ceiling = ceilings(plan.truth, dataset, labels) if plan.truth and dataset else None
    if ceiling is not None:
        notes.extend(no_ceiling_notes(labels, ceiling))
    shown = msgspec.structs.replace(shown, notes=[*notes, *shown.notes])
    groups = groups_of(dataset, labels) if dataset else None
    with watcher.progress("Evaluating", "tasks") as progress:
        result = evaluate(
            sets,
            ceiling=ceiling,
            groups=groups,
            bootstrap=plan.bootstrap,
            seed=plan.seed,
            progress=progress,
            metrics=metrics,
        )
    for note in (*shown.notes, *own_notes(result.tasks, plan.bootstrap)):
        watcher.note(note)
    result = msgspec.structs.replace(result, notes=[*shown.notes, *result.notes])
    return write_report(result, plan.out, sections=shown), text_table(result)


def sections(dataset: Dataset | None, plan: ReportPlan, sets: Sequence[PredictionSet]) -> ReportSections:
    """Return what the report shows beside the predictions: data, settings, notes and training curves."""
    run = artifacts.load_run(plan.model) if plan.model else {}
    recipe = run.get("recipe", {})
    return ReportSections(
        title="chartscan evaluation",
        version=version("chartscan"),
        code_version=commit() or None,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seed=recipe.get("seed"),
        dataset=_facts(dataset, True if plan.truth else None) if dataset else None,
        task_titles={one.task: title_of(one.task, (one.cohort or {}).get("settings") or {}) for one in sets},
        accounting=dataset.manifest["accounting"] if dataset else None,
        recognition=dataset.manifest.get("recognition") if dataset else None,
        notes=dataset_notes(dataset) if dataset else [],
        training=_curves(run.get("curves", {})) or None,
        settings=recipe or None,
        environment=run.get("versions"),
    )


def _facts(dataset: Dataset, simulated: bool | None) -> DatasetFacts:
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
    """Dates of the first and last event; births are left out, and outcomes, whose time is nominal."""
    firsts, lasts = [], []
    for path in dataset.shards():
        table = dataset.read_shard(path, ["time", "event_type"])
        apart = pc.is_in(table["event_type"], pa.array(["birth", "outcome"]))
        times = pc.min_max(table.filter(pc.invert(apart))["time"])
        if times["min"].is_valid:
            firsts.append(times["min"].as_py())
            lasts.append(times["max"].as_py())
    return (min(firsts).date().isoformat(), max(lasts).date().isoformat()) if firsts else (None, None)


def _curves(found: dict[str, list[dict[str, float]]]) -> list[TrainingCurve]:
    curves = []
    for name, rows in found.items():
        phase, kind = name.split("/")
        shown = [row for row in rows if row.get("loss") is not None]
        title = f"{phase}, {'train' if kind == 'losses' else 'tuning'}"
        curves.append(TrainingCurve(title, [int(r["step"]) for r in shown], [r["loss"] for r in shown]))
    return curves
