"""The Python API: one function for each verb of the command line.

A function builds the same plan as the command of its name and calls the same function of `commands/`. It
prints nothing unless `progress=True`; notes are kept in the files that it writes. Where the command ends with
exit code 3 (done, but not with everything), the function issues a UserWarning. Errors are those of
`chartscan.errors`; their messages name options as the command line spells them. This module imports nothing
heavy: each function imports what it needs when it is called.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chartscan.machine import device_of, threads_of

if TYPE_CHECKING:
    import pyarrow as pa

    from chartscan.artifact import AnyArtifact
    from chartscan.console import Display
    from chartscan.evaluation import Evaluation
    from chartscan.store.dataset import Dataset

Place = str | os.PathLike[str]
Settings = Mapping[str, Any]


@dataclass(frozen=True, repr=False)
class Report:
    """The result of `evaluate`; as text, a table with one row per task and model."""

    path: Path  # of report.html; metrics.json lies beside it
    metrics: Evaluation  # the content of metrics.json
    table: str

    def __repr__(self) -> str:
        return self.table


def simulate(
    out: Place, *, subjects: int = 1000, seed: int = 0, compress: bool = False, progress: bool = False
) -> Path:
    """Write a synthetic hospital as a FHIR R4 bulk export, with true risks.

    Args:
        out: a new folder for the NDJSON files and truth/.
        subjects: number of simulated patients. Patient i is the same in any number.
        seed: which hospital. The same seed gives the same bytes.
        compress: write .ndjson.gz.
        progress: show progress.

    Returns:
        The path of the export.

    Raises:
        ConfigError: `out` exists, or a number is out of range.

    Examples:
        >>> chartscan.simulate("export", subjects=2000, seed=1)
    """
    from chartscan.simulator import SimulateConfig
    from chartscan.simulator import simulate as run

    config = SimulateConfig(subjects=subjects, seed=seed, compress=compress)
    with _display(progress).progress("Simulating", "subjects") as update:
        run(Path(out), config, update)
    return Path(out)


def ingest(
    source: Place,
    path: Place,
    out: Place,
    *,
    settings: Settings | None = None,
    store: Settings | None = None,
    follow_up_end: str | None = None,
    follow_up_days: int | None = None,
    strict: bool = False,
    overwrite: bool = False,
    splits: str | None = None,
    site: Place | None = None,
    suggest_site: Place | None = None,
    progress: bool = False,
) -> Dataset:
    """Turn records into a MEDS dataset, with an account of every input line.

    Lines that cannot be used go to OUT/quarantine with file, line and reason; a UserWarning says how many.

    Args:
        source: what `path` is, such as "fhir" or "physionet2012", or the Python file of a source of your own.
        path: the export.
        out: a new folder for the dataset.
        settings: settings of the source by name, such as {"time_zone": "Europe/Vienna"}.
        store: settings of how the dataset is written, such as {"train_fraction": 0.8}.
        follow_up_end: date until which all subjects were followed, such as "2024-12-31".
        follow_up_days: days that each subject was followed after the last event.
        strict: refuse the export if any line is unusable.
        overwrite: replace `out` if it is a dataset.
        splits: which sets are train, tuning and held_out, where the source comes in sets.
        site: the site file of the hospital (see docs/site.md).
        suggest_site: where to write a starter of one, with every word that was not understood.
        progress: show progress and the account of lines.

    Returns:
        The dataset. `manifest["accounting"]` counts every line, `manifest["counts"]` subjects and events.

    Raises:
        ConfigError: a setting, a name or a place is wrong.
        DataError: the export cannot be used; nothing is published.
        BudgetError: too many lines are unusable; nothing is published.

    Examples:
        >>> dataset = chartscan.ingest("fhir", "export", "dataset")
        >>> dataset.manifest["counts"]["subjects"]
        2000
    """
    from chartscan.commands.ingest import IngestPlan, accounting_lines, run_ingest

    display = _display(progress)
    plan = IngestPlan(
        os.fspath(source),
        Path(path),
        Path(out),
        _assignments(settings),
        _assignments(store),
        follow_up_end,
        follow_up_days,
        strict,
        overwrite,
        splits,
        _path(site),
        _path(suggest_site),
    )
    dataset, accounting = run_ingest(plan, display)
    display.say(*accounting_lines(accounting, dataset))
    if accounting.quarantined:
        _warn([f"Lines in quarantine: {accounting.quarantined:,} ({plan.out / 'quarantine'})."])
    return dataset


def label(
    task: str,
    dataset: Place,
    out: Place,
    *,
    settings: Settings | None = None,
    site: Place | None = None,
    max_unknown: float = 0.05,
    questions: bool = False,
    task_files: Place | Sequence[Place] = (),
    progress: bool = False,
) -> dict[str, pa.Table]:
    """Label every index stay of a dataset. Unknown outcomes are absent, never False.

    A task is refused where too much of what it depends on is unknown; a UserWarning says why.

    Args:
        task: the name of a task, the Python file of one of your own, or "all".
        dataset: folder of the dataset.
        out: parquet file of the labels; with "all" a folder of them.
        settings: settings by name, such as {"hours": 48} (of one task) or {"stays.merge_gap_hours": 6}.
        site: site file that says how stays are formed. Default: that of `ingest`.
        max_unknown: largest share of unknown words in what a task depends on.
        questions: one row for every eligible stay, without answers: what to predict for.
        task_files: with "all", Python files of tasks of your own.
        progress: show progress and the cohort of each task.

    Returns:
        LABELS by task: a table with subject_id, prediction_time and boolean_value.

    Raises:
        ConfigError: no such task or setting, or `out` is a folder where a file is meant.
        DataError: no dataset, or every task is refused.

    Examples:
        >>> labels = chartscan.label("all", "dataset", "labels")
        >>> labels["readmission_30d"].num_rows
        1432
    """
    from chartscan.commands.label import LabelPlan, run_label
    from chartscan.labels.files import cohort_lines

    display = _display(progress)
    plan = LabelPlan(
        task,
        Path(dataset),
        Path(out),
        _assignments(settings),
        _path(site),
        max_unknown,
        questions,
        _paths(task_files),
    )
    labels, refused = run_label(plan, display)
    display.say(*cohort_lines(labels))
    _warn(_refusals(refused))
    return {name: table for name, (table, _) in labels.items()}


def train(
    recipe: Place,
    data: Place,
    out: Place,
    *,
    labels: Place | None = None,
    settings: Settings | None = None,
    objective: Place | None = None,
    resume: bool = False,
    threads: int = 0,
    device: str = "cpu",
    track: Place | None = None,
    progress: bool = False,
) -> Path:
    """Train a model of all tasks on the train subjects of a dataset.

    Without `labels`, a UserWarning names the tasks that were refused.

    Args:
        recipe: the name of a recipe (`chartscan recipes` lists them with their settings), or the Python file
            of a model of your own.
        data: folder of the dataset.
        out: a new folder for the trained model.
        labels: label file, or a folder of them. Default: all built-in tasks, labelled now.
        settings: settings of the recipe by name, such as {"model.d_model": 256}.
        objective: Python file of an objective of your own, for the head of a network.
        resume: go on with an interrupted run. The losses are the same.
        threads: processor threads; 0 means all.
        device: "cpu" or "cuda".
        track: folder for TensorBoard curves (needs the extra "track").
        progress: show progress and notes.

    Returns:
        The path of the trained model; `load` opens it.

    Raises:
        ConfigError: no such recipe, setting or device, or `out` exists.
        DataError: dataset or labels cannot be used.
        Interrupted: training was asked to stop, and is saved.

    Examples:
        >>> chartscan.train("xgboost", "dataset", "trees", labels="labels")
        >>> chartscan.train("ehrmamba-tiny", "dataset", "run", labels="labels", settings={"seed": 1})
        >>> chartscan.train("my_model.py", "dataset", "mine", labels="labels")
    """
    from chartscan.commands.train import refused_without_labels, run_train

    where = device_of(device)
    path = run_train(
        os.fspath(recipe),
        Path(data),
        Path(out),
        _path(labels),
        _assignments(settings),
        _display(progress),
        resume,
        threads_of(threads),
        where,
        _path(track),
        _path(objective),
    )
    if labels is None:
        _warn(_refusals(refused_without_labels(Path(data))))
    return path


def predict(
    artifact: Place,
    dataset: Place,
    labels: Place,
    out: Place,
    *,
    split: str = "held_out",
    model: Place | Sequence[Place] = (),
    objective: Place | Sequence[Place] = (),
    threads: int = 0,
    device: str = "cpu",
    progress: bool = False,
) -> dict[str, pa.Table]:
    """Predict the labelled outcomes of a split: calibrated probabilities and decisions.

    Args:
        artifact: folder of the trained model.
        dataset: folder of the dataset.
        labels: labels or questions, a file or a folder.
        out: parquet file of the predictions; a folder where `labels` is one.
        split: "held_out", "tuning", "train" or "all".
        model: Python file of the model, if it is your own.
        objective: Python file of the objective of its head, if it is your own.
        threads: processor threads; 0 means all.
        device: "cpu" or "cuda".
        progress: show progress and notes.

    Returns:
        PREDICTIONS by task: LABELS with predicted_boolean_value and predicted_boolean_probability.

    Raises:
        ConfigError: a place or a device is wrong.
        DataError: model, dataset and labels do not belong together, or one of them is damaged.

    Examples:
        >>> predictions = chartscan.predict("trees", "dataset", "labels", "predictions")
        >>> predictions["readmission_30d"]["predicted_boolean_probability"]
    """
    from chartscan.commands.predict import run_predict
    from chartscan.recipes import know

    where = device_of(device)
    know(_paths(model), _paths(objective))
    predicted = run_predict(
        Path(artifact),
        Path(dataset),
        Path(labels),
        Path(out),
        split,
        threads_of(threads),
        _display(progress),
        where,
    )
    return {one.task: one.table for one in predicted}


def evaluate(
    predictions: Place | Sequence[Place],
    out: Place,
    *,
    against: Place | Sequence[Place] = (),
    data: Place | None = None,
    model: Place | None = None,
    truth: Place | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    metrics: Place | Sequence[Place] = (),
    progress: bool = False,
) -> Report:
    """Write report.html and metrics.json: discrimination and calibration with intervals.

    Args:
        predictions: prediction files, or folders of them, of one model.
        out: folder of the report.
        against: predictions of baselines on the same rows.
        data: the dataset. Adds data accounting and groups by age and sex.
        model: the trained model of `predictions`. Adds settings, coverage and training curves.
        truth: a simulated export with its true risks (needs `data`). Adds the best possible result.
        bootstrap: resamples of subjects behind every interval; at least 1000 to publish.
        seed: of the resamples.
        metrics: Python files of metrics of your own.
        progress: show progress and notes.

    Returns:
        The report: its path, its metrics, and a table as text.

    Raises:
        ConfigError: predictions belong to another model or dataset, or a number is out of range.
        DataError: predictions cannot be read, or are not of the same rows.

    Examples:
        >>> report = chartscan.evaluate("predictions", "report", data="dataset", model="trees")
        >>> report.metrics.tasks[0].models[0].estimates["auroc"].value
    """
    from chartscan.commands.evaluate import ReportPlan, run_evaluate
    from chartscan.evaluation import read_metrics

    plan = ReportPlan(
        _paths(predictions),
        Path(out),
        _paths(against),
        _path(data),
        _path(model),
        _path(truth),
        bootstrap,
        seed,
        _paths(metrics),
    )
    path, table = run_evaluate(plan, _display(progress))
    return Report(path, read_metrics(plan.out), table)


def explain(
    artifact: Place,
    dataset: Place,
    labels: Place,
    out: Place,
    *,
    tasks: Sequence[str] = (),
    subjects: Sequence[int] = (),
    count: int = 3,
    choose: str = "highest",
    split: str = "held_out",
    truth: Place | None = None,
    forecast: Place | None = None,
    days: float = 30,
    samples: int = 20,
    seed: int = 0,
    model: Place | Sequence[Place] = (),
    objective: Place | Sequence[Place] = (),
    threads: int = 0,
    device: str = "cpu",
    progress: bool = False,
) -> pa.Table:
    """Explain answers of a network event by event, with tests of the explanations.

    Writes explain.html, explain.json and attributions.parquet. They show the content of records: keep them
    where records may be kept.

    Args:
        artifact: folder of a trained network.
        dataset: folder of the dataset.
        labels: labels or questions, a file or a folder.
        out: a new folder.
        tasks: only these tasks. Default: all.
        subjects: explain the highest risk of each of these subjects.
        count: answers for each task, where no subjects are named.
        choose: those answers: "highest" risks, or "random".
        split: "held_out", "tuning", "train" or "all".
        truth: the simulated export of the dataset. Measures whether the true causes are found.
        forecast: a model that was only pretrained. Its forecasts are shown beside what came.
        days: how far it forecasts.
        samples: futures that it draws for each answer.
        seed: of everything random.
        model: Python file of the model, if it is your own.
        objective: Python file of the objective of its head, if it is your own.
        threads: processor threads; 0 means all.
        device: "cpu" or "cuda".
        progress: show progress and results.

    Returns:
        The attributions: a row for each event of each explained answer.

    Raises:
        ConfigError: the model is no network, `out` exists, or an argument is wrong.
        DataError: model, dataset and labels do not belong together.

    Examples:
        >>> why = chartscan.explain("run", "dataset", "labels", "why", tasks=["readmission_30d"])
    """
    from chartscan.commands.explain import ExplainPlan, run_explain
    from chartscan.parquet_files import read_table
    from chartscan.recipes import know

    know(_paths(model), _paths(objective))
    plan = ExplainPlan(
        artifact=Path(artifact),
        dataset=Path(dataset),
        labels=Path(labels),
        out=Path(out),
        tasks=tasks,
        subjects=subjects,
        count=count,
        choose=choose,
        split=split,
        truth=_path(truth),
        forecast=_path(forecast),
        days=days,
        samples=samples,
        seed=seed,
        device=device_of(device),
    )
    display = _display(progress)
    display.say(*run_explain(plan, threads_of(threads), display))
    return read_table(plan.out / "attributions.parquet", "Explain again.")


def forecast(
    artifact: Place,
    dataset: Place,
    out: Place,
    *,
    at: Place | None = None,
    split: str = "held_out",
    samples: int = 1,
    events: int | None = None,
    days: float | None = None,
    tokens: int = 1000,
    temperature: float = 1.0,
    top_p: float = 1.0,
    greedy: bool = False,
    grammar: bool = False,
    seed: int = 0,
    model: Place | Sequence[Place] = (),
    objective: Place | Sequence[Place] = (),
    threads: int = 0,
    device: str = "cpu",
    progress: bool = False,
) -> pa.Table:
    """Sample possible futures of each record: events with approximate times and probabilities.

    Args:
        artifact: folder of a sequence model.
        dataset: folder of the dataset.
        out: parquet file of the futures.
        at: labels or questions that say when. Default: the end of each record.
        split: "held_out", "tuning" or "train".
        samples: futures of each history.
        events: end after this many events. Default: 10, if `days` is not given either.
        days: end this many days after the prediction time.
        tokens: end after this many tokens in any case.
        temperature: below 1 likelier, above 1 rarer tokens.
        top_p: draw among the likeliest tokens with this share in all.
        greedy: always the likeliest token.
        grammar: never a token that no record can have there.
        seed: of the draws.
        model: Python file of the model, if it is your own.
        objective: Python file of the objective of its head, if it is your own.
        threads: processor threads; 0 means all.
        device: "cpu" or "cuda".
        progress: show progress and results.

    Returns:
        FORECASTS: a row for each token of each future. `days` counts from prediction_time.

    Raises:
        ConfigError: the model cannot forecast, or arguments exclude each other.
        DataError: model and dataset do not belong together.

    Examples:
        >>> futures = chartscan.forecast("run", "dataset", "future.parquet", days=30, samples=100)
    """
    from chartscan.commands.forecast import ForecastJob, forecast_plan, run_forecast
    from chartscan.parquet_files import read_table
    from chartscan.recipes import know

    where = device_of(device)
    know(_paths(model), _paths(objective))
    plan = forecast_plan(samples, events, days, tokens, temperature, top_p, greedy, grammar, seed)
    job = ForecastJob(
        Path(artifact), Path(dataset), Path(out), plan, _path(at), split, threads_of(threads), where
    )
    display = _display(progress)
    display.say(*run_forecast(job, display))
    return read_table(job.out, "Forecast again.")


def load(
    artifact: Place,
    *,
    model: Place | Sequence[Place] = (),
    objective: Place | Sequence[Place] = (),
    device: str = "cpu",
) -> AnyArtifact:
    """Open a trained model.

    Args:
        artifact: folder of the trained model.
        model: Python file of the model, if it is your own.
        objective: Python file of the objective of its head, if it is your own.
        device: "cpu" or "cuda": where networks compute.

    Returns:
        The model with what it reads, its calibration, and the record of its run (`run`).

    Raises:
        ConfigError: no such device, or a model that is not known here.
        DataError: a file is missing, damaged, or does not fit the others.

    Examples:
        >>> chartscan.load("trees").run["recipe"]
    """
    from chartscan import artifact as artifacts
    from chartscan.recipes import know

    know(_paths(model), _paths(objective))
    return artifacts.load(Path(artifact), device_of(device))


def _display(progress: bool) -> Display:
    from chartscan.console import Display

    return Display(quiet=not progress)


def _path(place: Place | None) -> Path | None:
    return None if place is None else Path(place)


def _paths(places: Place | Sequence[Place]) -> list[Path]:
    """One place or several, as paths."""
    return [Path(places)] if isinstance(places, str | os.PathLike) else [Path(one) for one in places]


def _assignments(settings: Settings | None) -> list[str]:
    """Settings as they are written after --set."""
    import msgspec

    values = {
        name: msgspec.json.encode(value, enc_hook=str).decode() for name, value in (settings or {}).items()
    }
    return [f"{name}={value}" for name, value in values.items()]


def _refusals(refused: Mapping[str, str]) -> list[str]:
    return [f"{task} was refused: {reason}" for task, reason in refused.items()]


def _warn(texts: Iterable[str]) -> None:
    """Issues UserWarnings at the line that called the API."""
    for text in texts:
        warnings.warn(text, stacklevel=3)
