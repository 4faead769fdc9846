"""Commands of models: train, list recipes, predict, and forecast records."""

from pathlib import Path
from typing import Annotated

import typer

from chartscan.cli.options import (
    DATA,
    ArtifactFolder,
    DatasetFolder,
    Device,
    Grammar,
    LabelsPath,
    ModelFiles,
    ObjectiveFiles,
    Quiet,
    Seed,
    Split,
    SplitOrAll,
    Threads,
    TopP,
    bootstrap_option,
    days_option,
    recipes_like,
    resume_option,
    samples_option,
    settings_option,
    temperature_option,
    tokens_option,
)
from chartscan.console import Display
from chartscan.machine import device_of, threads_of
from chartscan.recipes import know


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="A recipe of the list above, or the Python file of a model of your own.",
            autocompletion=recipes_like,
        ),
    ],
    data: Annotated[Path, DATA],
    out: Annotated[Path, typer.Option(help="A new folder for the trained model.")],
    labels: Annotated[
        Path | None,
        typer.Option(help="Label file or folder of them; default: all built-in tasks, labelled now."),
    ] = None,
    settings: Annotated[list[str] | None, settings_option("model.d_model=256")] = None,
    objective: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Python file of an objective of your own, for a network's head."),
    ] = None,
    resume: Annotated[bool, resume_option("an interrupted run")] = False,
    threads: Threads = 0,
    device: Device = "cpu",
    track: Annotated[
        Path | None,
        typer.Option(help="Folder for TensorBoard curves of a network (needs the extra 'track')."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train one model of all tasks on the subjects of the train split.

    An interrupted run (Ctrl-C, SIGTERM, power cut) goes on with --resume and gives the same losses. Exit code
    3: without --labels, some tasks were refused (see chartscan label).

    Examples:
      chartscan train ehrmamba-small --data DATASET --labels LABELS --out RUN
      chartscan train xgboost --data DATASET --labels LABELS --out TREES
      chartscan train my_model.py --data DATASET --labels LABELS --out RUN
    """
    device = device_of(device)
    from chartscan.commands.train import can_start, refused_without_labels, run_train

    display = Display(quiet)
    threads = threads_of(threads)
    run_train(recipe, data, out, labels, settings or [], display, resume, threads, device, track, objective)
    further = f", or fine-tune it further: --set start_from={out}" if can_start(recipe) else ""
    display.say(f"{out}: trained. Predict with it{further}")
    if labels is None and refused_without_labels(data):
        raise typer.Exit(3)


def recipes(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Show every setting of this recipe, or of the Python file of a model.",
            autocompletion=recipes_like,
        ),
    ] = None,
) -> None:
    """List the recipes for train, or every setting of one recipe.

    Examples:
      chartscan recipes
      chartscan recipes ehrmamba-tiny
    """
    from chartscan.commands.recipes import catalogue_lines, recipe_lines

    display = Display()
    display.say(*recipe_lines(name) if name else catalogue_lines())


def predict(
    artifact: ArtifactFolder,
    dataset: DatasetFolder,
    labels: LabelsPath,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Parquet file; a folder when LABELS is one.")],
    split: SplitOrAll = "held_out",
    model: ModelFiles = None,
    objective: ObjectiveFiles = None,
    threads: Threads = 0,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Predict the labelled outcomes of a split: for each, a calibrated probability and a decision.

    Examples:
      chartscan predict RUN DATASET labels.parquet p.parquet
      chartscan predict RUN DATASET LABELS P
    """
    device = device_of(device)
    know(model or [], objective or [])
    from chartscan.commands.predict import run_predict

    display = Display(quiet)
    display.say(*run_predict(artifact, dataset, labels, out, split, threads_of(threads), display, device))


def forecast(
    artifact: ArtifactFolder,
    dataset: DatasetFolder,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Parquet file of the futures.")],
    at: Annotated[
        Path | None,
        typer.Option(
            help="Labels or questions whose times to forecast from. Default: the end of each record."
        ),
    ] = None,
    split: Split = "held_out",
    samples: Annotated[int, samples_option("history")] = 1,
    events: Annotated[
        int | None,
        typer.Option(min=1, help="End after this many events. Default: 10, if --days is not given."),
    ] = None,
    days: Annotated[float | None, days_option("End this many days after the prediction time.")] = None,
    tokens: Annotated[int, tokens_option("End after this many tokens in any case.")] = 1000,
    temperature: Annotated[
        float, temperature_option(0, "Below 1 more likely tokens, above 1 rarer ones.")
    ] = 1.0,
    top_p: TopP = 1.0,
    greedy: Annotated[bool, typer.Option("--greedy", help="Always take the most likely token.")] = False,
    grammar: Grammar = False,
    seed: Seed = 0,
    model: ModelFiles = None,
    objective: ObjectiveFiles = None,
    threads: Threads = 0,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Forecast each record: events with approximate times, sampled or most likely, with their probabilities.

    Examples:
      chartscan forecast RUN DATASET future.parquet --greedy
      chartscan forecast RUN DATASET f.parquet --at labels.parquet --days 30 --samples 100
    """
    device = device_of(device)
    know(model or [], objective or [])
    from chartscan.commands.forecast import ForecastJob, forecast_plan, run_forecast

    plan = forecast_plan(samples, events, days, tokens, temperature, top_p, greedy, grammar, seed)
    display = Display(quiet)
    for line in run_forecast(
        ForecastJob(artifact, dataset, out, plan, at, split, threads_of(threads), device), display
    ):
        display.say(line)


def forecast_report(
    artifact: ArtifactFolder,
    dataset: DatasetFolder,
    out: Annotated[Path, typer.Option(help="Folder of forecasts.html, .md and .json.")],
    split: Split = "held_out",
    grammar: Grammar = False,
    bootstrap: Annotated[int, bootstrap_option()] = 1000,
    seed: Seed = 0,
    model: ModelFiles = None,
    objective: ObjectiveFiles = None,
    threads: Threads = 0,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Measure forecasts of the last 10 tokens of each record against copying, frequencies and n-grams.

    Example:
      chartscan forecast-report RUN DATASET --out REPORT
    """
    device = device_of(device)
    know(model or [], objective or [])
    from chartscan.commands.forecast_report import ForecastReportJob, report_lines, run_forecast_report

    display = Display(quiet)
    job = ForecastReportJob(
        artifact, dataset, out, split, grammar, bootstrap, seed, threads_of(threads), device
    )
    display.say(*report_lines(run_forecast_report(job, display)))


def zero_shot(
    artifact: ArtifactFolder,
    dataset: DatasetFolder,
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="Labels or questions of one task.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Parquet file of predictions.")],
    split: Split = "held_out",
    samples: Annotated[int, samples_option("question")] = 100,
    days: Annotated[float | None, days_option("How far futures go; default: the task's horizon.")] = None,
    tokens: Annotated[int, tokens_option("End a future after this many tokens.")] = 1000,
    temperature: Annotated[float, temperature_option(0.01, "Of the draws.")] = 1.0,
    top_p: TopP = 1.0,
    seed: Seed = 0,
    task: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Python file of the task, if it is your own.")
    ] = None,
    model: ModelFiles = None,
    objective: ObjectiveFiles = None,
    threads: Threads = 0,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Predict an outcome without training for it, as its share among sampled futures.

    Example:
      chartscan zero-shot RUN DATASET LABELS/readmission_30d.parquet p.parquet
    """
    device = device_of(device)
    know(model or [], objective or [])
    from chartscan.commands.zero_shot import ZeroShotJob, run_zero_shot
    from chartscan.generate import Plan

    plan = Plan(samples=samples, tokens=tokens, days=days, temperature=temperature, top_p=top_p, seed=seed)
    display = Display(quiet)
    job = ZeroShotJob(artifact, dataset, labels, out, plan, split, threads_of(threads), device, task)
    display.say(*run_zero_shot(job, display))
