"""The commands `study` and `bench`, which chartscan's command line finds by their entry points."""

from pathlib import Path
from typing import Annotated, Any

import typer

from chartscan.cli.options import (
    DATA,
    Command,
    Device,
    Quiet,
    Threads,
    bootstrap_option,
    listed,
    resume_option,
    settings_option,
)
from chartscan.console import Display
from chartscan.find import described
from chartscan.machine import device_of, threads_of


class WithStudies(Command):
    """A command whose help lists the studies."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        studies = described("chartscan_lab.study", "STUDY")
        found = {name.replace("_", "-"): text for name, text in studies.items()}
        self.help = (self.help or "") + listed("Studies", found)
        super().format_help(ctx, formatter)


def add_study(app: typer.Typer) -> None:
    """Add the command `study`."""
    app.command(cls=WithStudies)(study)


def add_bench(app: typer.Typer) -> None:
    """Add the command `bench`."""
    app.command(cls=Command)(bench)


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
    """Train and compare the models of one published table: OUT/NAME.md and OUT/NAME.json.

    Each row is trained with several seeds and asked about held_out. Finished cells are kept and never done
    again, so that the same command goes on later, or with more seeds; after an interruption in the middle of
    a training add --resume. Rows that other code made are marked.

    Examples:
      chartscan study published --data DATASET --labels L --out STUDIES
      chartscan study ablations --data DATASET --labels L --out STUDIES --only 'without pretraining'
      chartscan study length --out STUDIES --seeds 1
      chartscan study table1 --data DATASET --labels LABELS --out STUDIES --set size=tiny
    """
    device = device_of(device)
    from chartscan_lab.study._command import StudyPlan, run_study

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
    Peers come with the extra 'bench' of chartscan-lab; those that are not installed are left out.
    Nothing else should run meanwhile; the load is written beside the numbers.

    Examples:
      chartscan bench ingest --set sizes_mb=[200]
      chartscan bench scan --set threads=1 --out scan.json
      chartscan bench step --set rows=[1]
      chartscan bench train --set lengths=[512,1024] --out train.json
      chartscan bench models --set 'recipes=["ehrmamba-tiny","multibird-tiny"]'
    """
    from chartscan_lab.bench.command import run_bench

    display = Display(quiet)
    with display.progress(f"Bench {what}", "measurements") as progress:
        lines = list(run_bench(what, out, settings or [], progress))
    for line in lines:
        Display().say(line)
