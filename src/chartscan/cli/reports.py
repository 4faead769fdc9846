"""Commands that judge: predictions, single answers, published tables, speed, and the main job as a whole."""

from pathlib import Path
from typing import Annotated

import typer

from chartscan.cli._options import (
    DATA,
    DatasetFolder,
    Device,
    LabelsPath,
    Quiet,
    Seed,
    SplitOrAll,
    Subjects,
    Threads,
    bootstrap_option,
    device_of,
    resume_option,
    settings_option,
    threads_of,
)
from chartscan.console import Display
from chartscan.errors import ConfigError


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
    bootstrap: Annotated[int, bootstrap_option("; at least 1000 to publish")] = 1000,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Write report.html and metrics.json: discrimination and calibration with intervals, side by side.

    Examples:
      chartscan evaluate p.parquet --out REPORT
      chartscan evaluate P --against P-TREES --data DATASET --out REPORT
    """
    from chartscan.recipes.report import ReportPlan, run_evaluate

    plan = ReportPlan(predictions, out, against or [], data, model, truth, bootstrap, seed)
    display = Display(quiet)
    report, table = run_evaluate(plan, display)
    display.say(table)
    display.say(str(report))


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
    count: Annotated[int, typer.Option(min=1, help="Answers a task, where no subjects are named.")] = 3,
    choose: Annotated[str, typer.Option(help="Those answers: highest risks, or random.")] = "highest",
    split: SplitOrAll = "held_out",
    truth: Annotated[
        Path | None,
        typer.Option(help="The simulated export of the dataset: do the explanations find the true causes?"),
    ] = None,
    forecast: Annotated[
        Path | None,
        typer.Option(help="A model that was pretrained only: its forecasts beside what came."),
    ] = None,
    days: Annotated[float, typer.Option(min=1, help="How far it forecasts.")] = 30,
    samples: Annotated[int, typer.Option(min=1, help="Futures it draws of each answer.")] = 20,
    seed: Seed = 0,
    threads: Threads = 0,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Explain answers of a network event by event, with a page to look at and tests of the explanations.

    What is written shows the content of records: keep it where they may be kept.

    Examples:
      chartscan explain RUN DATASET LABELS --out WHY
      chartscan explain RUN DATASET LABELS --task readmission_30d --subjects 42 --out WHY
      chartscan explain RUN DATASET LABELS --choose random --count 50 --truth EXPORT --out WHY
      chartscan explain RUN DATASET LABELS --forecast PRETRAINED --days 30 --out WHY
    """
    if forecast is None and (days, samples) != (30, 20):
        raise ConfigError("--days and --samples are of forecasts: name a pretrained model with --forecast.")
    device = device_of(device)
    from chartscan.recipes.explain import ExplainPlan, run_explain

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
    for line in run_explain(plan, threads_of(threads), display):
        display.say(line)


def study(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A study of the list above.")],
    out: Annotated[
        Path, typer.Option(help="Folder of cells and tables; several studies may share it and its models.")
    ],
    data: Annotated[Path | None, DATA] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Label file of one task; table1 takes a folder of several.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(metavar="EXPORT", help="True risks of simulated data (table1).")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="ROW", help="Run this row; may be given several times.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds of each row; 5 in most studies.")] = None,
    settings: Annotated[list[str] | None, settings_option("recipe=gru (hours) or sizes=[500]")] = None,
    resume: Annotated[bool, resume_option("an interrupted training too")] = False,
    threads: Threads = 0,
    device: Device = "cpu",
    bootstrap: Annotated[int, bootstrap_option()] = 1000,
    quiet: Quiet = False,
) -> None:
    """Train, ask and compare whatever one published table holds: OUT/NAME.md and OUT/NAME.json.

    Each row is trained with several seeds and asked about held_out. Finished cells are kept and never done
    again, so that the same command goes on later, or with more seeds; after an interruption in the middle of
    a training add --resume. Rows that were made by other code are told.

    Examples:
      chartscan study published --data DATASET --labels L --out STUDIES
      chartscan study ablations --data DATASET --labels L --out STUDIES --only 'without pretraining'
      chartscan study length --out STUDIES --seeds 1
      chartscan study table1 --data DATASET --labels LABELS --out STUDIES --set size=tiny
    """
    device = device_of(device)
    from chartscan.recipes.study._command import StudyPlan, run_study

    display = Display(quiet)
    plan = StudyPlan(
        name=name,
        out=out,
        data=data,
        labels=labels,
        only=only or [],
        seeds=seeds,
        settings=settings or [],
        resume=resume,
        threads=threads_of(threads),
        device=device,
        bootstrap=bootstrap,
        truth=truth,
    )
    for text in run_study(plan, display):
        display.say(text)


def bench(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="forecast, ingest, models, scan, step, train.")],
    out: Annotated[Path | None, typer.Option(help="JSON file to write the numbers to as well.")] = None,
    settings: Annotated[
        list[str] | None, settings_option("sizes_mb=[200] (ingest), forward=[[4,2048]] (scan) or threads=1")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Measure speed and memory beside peers in one run, on this machine.

    ingest: reading FHIR. scan: the selective scan. step: one event at a time.
    forecast: 100 events more after histories of 100 and 8,000.
    train: tokens a second of training and inference, and cost by length.
    models: an epoch and the largest batch of every token model at the paper's sizes (an hour).
    Peers come with the extra 'bench'; those that are not installed are left out.
    Nothing else should run meanwhile; the load is written beside the numbers.

    Examples:
      chartscan bench ingest --set sizes_mb=[200]
      chartscan bench scan --set threads=1 --out scan.json
      chartscan bench step --set rows=[1]
      chartscan bench train --set lengths=[512,1024] --out train.json
      chartscan bench models --set 'recipes=["ehrmamba-tiny","multibird-tiny"]'
    """
    from chartscan.recipes.bench.command import run_bench

    display = Display(quiet)
    with display.progress(f"Bench {what}", "measurements") as progress:
        lines = list(run_bench(what, out, settings or [], progress))
    for line in lines:
        Display().say(line)


def demo(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="A new folder for everything the demonstration makes.")
    ],
    subjects: Subjects = 2000,
    seed: Seed = 0,
    threads: Threads = 0,
    quiet: Quiet = False,
) -> None:
    """The main job on a simulated hospital: simulate, ingest, label, train, predict, evaluate.

    Ends with the path of OUT/report/report.html. Takes a few minutes on two cores.

    Example:
      chartscan demo demo --subjects 1000
    """
    from chartscan.recipes.demo import run_demo

    report = run_demo(out, subjects, seed, threads_of(threads), Display(quiet))
    Display().say(str(report))
