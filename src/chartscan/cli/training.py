"""Commands of a model: which there are, train one, and let it predict the outcomes that labels ask about."""

from pathlib import Path
from typing import Annotated

import typer

from chartscan.cli._options import (
    DATA,
    ArtifactFolder,
    DatasetFolder,
    Device,
    LabelsPath,
    Quiet,
    SplitOrAll,
    Threads,
    recipes_like,
    resume_option,
    settings_option,
)
from chartscan.commands.machine import device_of, threads_of
from chartscan.console import Display


def train(
    recipe: Annotated[
        str,
        typer.Argument(metavar="RECIPE", help="A recipe of the list above.", autocompletion=recipes_like),
    ],
    data: Annotated[Path, DATA],
    out: Annotated[Path, typer.Option(help="A new folder for the trained model.")],
    labels: Annotated[
        Path | None,
        typer.Option(help="Label file or folder of them; default: all built-in tasks, labelled now."),
    ] = None,
    settings: Annotated[list[str] | None, settings_option("model.d_model=256")] = None,
    resume: Annotated[bool, resume_option("an interrupted run")] = False,
    threads: Threads = 0,
    device: Device = "cpu",
    track: Annotated[
        Path | None,
        typer.Option(help="Folder for TensorBoard curves of a network (needs the extra 'track')."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train a model of all tasks at once. Only subjects of the train split teach it.

    An interrupted run (Ctrl-C, SIGTERM, power cut) goes on with --resume and gives the same losses. Exit code
    3: without --labels, some tasks were refused (see chartscan label).

    Examples:
      chartscan train ehrmamba-small --data DATASET --labels LABELS --out RUN
      chartscan train xgboost --data DATASET --labels LABELS --out TREES
    """
    device = device_of(device)
    from chartscan.commands.train import can_start, refused_without_labels, run_train

    display = Display(quiet)
    run_train(recipe, data, out, labels, settings or [], display, resume, threads_of(threads), device, track)
    further = f", or fine-tune it further: --set start_from={out}" if can_start(recipe) else ""
    display.say(f"{out}: trained. Predict with it{further}")
    if labels is None and refused_without_labels(data):
        raise typer.Exit(3)


def recipes(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="Show every setting of this recipe.", autocompletion=recipes_like
        ),
    ] = None,
) -> None:
    """List the recipes that train can use, or show every setting of one with its value.

    Examples:
      chartscan recipes
      chartscan recipes ehrmamba-tiny
    """
    from chartscan.commands.recipes import catalogue_lines, recipe_lines

    display = Display()
    for line in recipe_lines(name) if name else catalogue_lines():
        display.say(line)


def predict(
    artifact: ArtifactFolder,
    dataset: DatasetFolder,
    labels: LabelsPath,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Parquet file; a folder when LABELS is one.")],
    split: SplitOrAll = "held_out",
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
    from chartscan.commands.predict import run_predict

    display = Display(quiet)
    for line in run_predict(artifact, dataset, labels, out, split, threads_of(threads), display, device):
        display.say(line)
