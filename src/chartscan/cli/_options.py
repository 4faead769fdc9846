"""Arguments and options that two or more commands share, and what their values mean.

A type (`Seed`) where the commands say the same, a function (`days_option`) where each says it in words of its
own. What one command alone takes, or means in a way of its own (--out), is written there, and so is every
default.
"""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from chartscan.errors import ConfigError

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


def tokens_option(says: str) -> Any:
    """The option --tokens: where a future ends at the latest."""
    return typer.Option(min=1, help=says)


def threads_of(threads: int) -> int:
    """The number of threads to use: all that this process may have, if 0."""
    if threads:
        return threads
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def device_of(name: str) -> str:
    """The device `name`; ConfigError where there is none such, or this machine lacks it."""
    if name not in ("cpu", "cuda"):
        raise ConfigError(f"--device {name}: expected cpu or cuda.")
    if name == "cuda":
        import torch

        if not torch.cuda.is_available():
            why = (
                "this PyTorch was built for the CPU" if not torch.version.cuda else "no usable GPU was found"
            )
            raise ConfigError(
                f"--device cuda: {why}. Leave --device out to compute on the CPU, or install a PyTorch with "
                "CUDA (https://pytorch.org/get-started) on a machine with an NVIDIA GPU and driver."
            )
    return name
