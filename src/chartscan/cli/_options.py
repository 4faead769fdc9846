"""Arguments and options that two or more commands share.

A type (`Seed`) where the commands say the same, a function (`days_option`) where each says it in words of its
own. What one command alone takes, or means in a way of its own (--out), is written there, and so is every
default.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from chartscan.find import names
from chartscan.recipes import recipe_names

ArtifactFolder = Annotated[
    Path, typer.Argument(metavar="ARTIFACT", help="Folder of the trained model: --out of chartscan train.")
]
DatasetFolder = Annotated[
    Path, typer.Argument(metavar="DATASET", help="Folder of the dataset, made by chartscan ingest.")
]
LabelsPath = Annotated[
    Path, typer.Argument(metavar="LABELS", help="Labels or questions: a file, or a folder.")
]
DATA = typer.Option(help="Folder of the dataset.")  # without a type: train must have it, a study may

Device = Annotated[str, typer.Option(help="cpu or cuda: where networks compute.")]
Grammar = Annotated[bool, typer.Option("--grammar", help="Never a token that no record can have there.")]
MetricFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--metric", metavar="FILE", help="Python file of a metric of your own; may be given several times."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything random: the same seed, the same result.")]
Split = Annotated[str, typer.Option(help="held_out, tuning or train.")]
SplitOrAll = Annotated[str, typer.Option(help="held_out, tuning, train or all.")]
Subjects = Annotated[
    int, typer.Option(min=1, help="Simulated patients; patient i is the same in any number.")
]
TaskFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--task", metavar="FILE", help="Python file of a task of your own; may be given several times."
    ),
]
Threads = Annotated[int, typer.Option(min=0, help="Processor threads; 0 means all.")]
TopP = Annotated[float, typer.Option(help="Draw among the likeliest with this share in all.")]


def bootstrap_option(advice: str = "") -> Any:
    """The option --bootstrap, with what a command advises of it."""
    return typer.Option(min=1, help=f"Resamples of subjects behind every interval{advice}.")


def days_option(says: str) -> Any:
    """The option --days: how far futures go."""
    return typer.Option(min=0, help=says)


def resume_option(what: str) -> Any:
    """The option --resume, with what goes on."""
    return typer.Option(help=f"Go on with {what}.")


def samples_option(of: str) -> Any:
    """The option --samples: futures of each history, or of each question."""
    return typer.Option(min=1, help=f"Futures of each {of}.")


def settings_option(example: str) -> Any:
    """The option --set, with an example that suits the command."""
    return typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help=f"Change one setting, for example {example}. May be given several times; a wrong name is "
        "answered with those there are.",
    )


def temperature_option(least: float, says: str) -> Any:
    """The option --temperature; `least` is 0 where a command may also take the likeliest token."""
    return typer.Option(min=least, help=says)


def recipes_like(incomplete: str) -> list[str]:
    """Recipes that begin so: what the shell offers."""
    return [name for name in recipe_names() if name.startswith(incomplete)]


def sources_like(incomplete: str) -> list[str]:
    """Sources that begin so."""
    return [name for name in names("sources") if name.startswith(incomplete)]


def tasks_like(incomplete: str) -> list[str]:
    """Tasks that begin so, and "all"."""
    return [name for name in ("all", *names("tasks")) if name.startswith(incomplete)]


def tokens_option(says: str) -> Any:
    """The option --tokens: where a future ends at the latest."""
    return typer.Option(min=1, help=says)
