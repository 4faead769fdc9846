"""Commands that evaluate and explain predictions, and the demonstration of the main job."""

from pathlib import Path
from typing import Annotated

import typer

from chartscan.cli.options import (
    DatasetFolder,
    Device,
    LabelsPath,
    MetricFiles,
    ModelFiles,
    ObjectiveFiles,
    Quiet,
    Seed,
    SplitOrAll,
    Subjects,
    TaskFiles,
    Threads,
    bootstrap_option,
)
from chartscan.console import Display
from chartscan.machine import device_of, threads_of
from chartscan.recipes import know


def evaluate(
    predictions: Annotated[
        list[Path],
        typer.Argument(metavar="PREDICTIONS", help="Prediction files, or folders of them, of one model."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of report.html and metrics.json.")],
    against: Annotated[
        list[Path] | None, typer.Option(help="Predictions of a baseline; may be given several times.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="The dataset: adds data accounting and age and sex groups.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="The trained model of PREDICTIONS: adds settings, coverage and training curves."),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(help="A simulated export with its true risks (needs --data): adds the ceiling."),
    ] = None,
    metric: MetricFiles = None,
    bootstrap: Annotated[int, bootstrap_option("; at least 1000 to publish")] = 1000,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Write report.html and metrics.json: discrimination and calibration with intervals, side by side.

    Examples:
      chartscan evaluate p.parquet --out REPORT
      chartscan evaluate P --against P-TREES --data DATASET --out REPORT
      chartscan evaluate p.parquet --metric my_metric.py --out REPORT
    """
    from chartscan.commands.evaluate import ReportPlan, run_evaluate

    plan = ReportPlan(predictions, out, against or [], data, model, truth, bootstrap, seed, metric or [])
    display = Display(quiet)
    report, table = run_evaluate(plan, display)
    display.say(table)
    display.say(report)


def explain(
    artifact: Annotated[
        Path,
        typer.Argument(metavar="ARTIFACT", help="Folder of a trained network: --out of chartscan train."),
    ],
    dataset: DatasetFolder,
    labels: LabelsPath,
    out: Annotated[
        Path, typer.Option(help="A new folder for explain.html, explain.json and attributions.parquet.")
    ],
    task: Annotated[
        list[str] | None, typer.Option(help="Only this task; may be given several times.")
    ] = None,
    subjects: Annotated[
        list[int] | None,
        typer.Option(help="Explain this subject's highest risk; may be given several times."),
    ] = None,
    count: Annotated[
        int, typer.Option(min=1, help="Answers to explain for each task, if no subjects are named.")
    ] = 3,
    choose: Annotated[str, typer.Option(help="Which answers: highest (risks) or random.")] = "highest",
    split: SplitOrAll = "held_out",
    truth: Annotated[
        Path | None,
        typer.Option(help="The simulated export of the dataset: measure whether the true causes are found."),
    ] = None,
    forecast: Annotated[
        Path | None, typer.Option(help="A pretrained model; its forecasts are shown beside what followed.")
    ] = None,
    days: Annotated[float, typer.Option(min=1, help="Days that it forecasts.")] = 30,
    samples: Annotated[int, typer.Option(min=1, help="Futures that it draws for each answer.")] = 20,
    seed: Seed = 0,
    model: ModelFiles = None,
    objective: ObjectiveFiles = None,
    threads: Threads = 0,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Explain predictions of a network event by event, as a page and tests.

    The files show the content of records: keep them where records may be kept.

    Examples:
      chartscan explain RUN DATASET LABELS --out WHY
      chartscan explain RUN DATASET LABELS --task readmission_30d --subjects 42 --out WHY
      chartscan explain RUN DATASET LABELS --choose random --count 50 --truth EXPORT --out WHY
      chartscan explain RUN DATASET LABELS --forecast PRETRAINED --days 30 --out WHY
    """
    device = device_of(device)
    know(model or [], objective or [])
    from chartscan.commands.explain import ExplainPlan, run_explain

    plan = ExplainPlan(
        artifact=artifact,
        dataset=dataset,
        labels=labels,
        out=out,
        tasks=task or [],
        subjects=subjects or [],
        count=count,
        choose=choose,
        split=split,
        truth=truth,
        forecast=forecast,
        days=days,
        samples=samples,
        seed=seed,
        device=device,
    )
    display = Display(quiet)
    display.say(*run_explain(plan, threads_of(threads), display))


def demo(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="A new folder for everything the demonstration makes.")
    ],
    subjects: Subjects = 2000,
    seed: Seed = 0,
    task: TaskFiles = None,
    model: ModelFiles = None,
    objective: ObjectiveFiles = None,
    metric: MetricFiles = None,
    threads: Threads = 0,
    quiet: Quiet = False,
) -> None:
    """The main job on a simulated hospital: simulate, ingest, label, train, predict, evaluate.

    Ends with the path of OUT/report/report.html. Takes a few minutes on two cores. A task, model or metric of
    your own joins the others; for an objective, the network is trained once more with that head.

    Examples:
      chartscan demo demo --subjects 1000
      chartscan demo demo --task my_task.py --model my_model.py
    """
    from chartscan.commands.demo import run_demo

    own = task or [], metric or [], model or [], objective or []
    report = run_demo(out, subjects, seed, threads_of(threads), Display(quiet), *own)
    Display().say(report)
