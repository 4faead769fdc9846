"""Arguments and options that several commands share, and help that fits every terminal.

A type (`Seed`) where the commands say the same, a function (`days_option`) where each says it in words of its
own. What one command alone takes, or means in a way of its own (--out), is written there, and so is every
default. Frames and columns of help need Unicode and 80 columns. Where a terminal has less, help is plain text
from which nothing is left out. It ends with the tasks or recipes there are, where a command takes one.
"""

import re
import shutil
import sys
import textwrap
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from chartscan.find import find, installed, names
from chartscan.recipes import ABOUT, outside_recipes, recipe_names

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
Grammar = Annotated[bool, typer.Option("--grammar", help="Draw only tokens that can follow in a record.")]
MetricFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--metric", metavar="FILE", help="Python file of a metric of your own; may be given several times."
    ),
]
ModelFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--model", metavar="FILE", help="Python file of a model of your own; may be given several times."
    ),
]
ObjectiveFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--objective", metavar="FILE", help="Python file of your own objective; may be given several times."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything random: the same seed, the same result.")]
Split = Annotated[str, typer.Option(help="held_out, tuning or train.")]
SplitOrAll = Annotated[str, typer.Option(help="held_out, tuning, train or all.")]
Subjects = Annotated[
    int, typer.Option(min=1, help="Number of simulated patients. Patient i is the same in any number.")
]
TaskFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--task", metavar="FILE", help="Python file of a task of your own; may be given several times."
    ),
]
Threads = Annotated[int, typer.Option(min=0, help="Processor threads; 0 means all.")]
TopP = Annotated[float, typer.Option(help="Draw among the most likely tokens that together have this share.")]


def bootstrap_option(advice: str = "") -> Any:
    """The option --bootstrap, with what a command advises of it."""
    return typer.Option(min=1, help=f"Resamples of subjects for every interval{advice}.")


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
        "answered with the known ones.",
    )


def temperature_option(least: float, says: str) -> Any:
    """The option --temperature; `least` is 0 where a command may also take the likeliest token."""
    return typer.Option(min=least, help=says)


def recipes_like(incomplete: str) -> list[str]:
    """Recipes that begin with `incomplete`, for the shell."""
    return [name for name in recipe_names() if name.startswith(incomplete)]


def sources_like(incomplete: str) -> list[str]:
    """Return the sources whose names begin with `incomplete`, for completion."""
    return [name for name in names("sources") if name.startswith(incomplete)]


def tasks_like(incomplete: str) -> list[str]:
    """Tasks that begin with `incomplete`, and "all"."""
    return [name for name in ("all", *names("tasks")) if name.startswith(incomplete)]


def tokens_option(says: str) -> Any:
    """The option --tokens: where a future ends at the latest."""
    return typer.Option(min=1, help=says)


NARROWEST = 80  # columns that frames need


class _Fitting:
    """Help as the terminal can show it."""

    help: str | None
    rich_markup_mode: Any

    def format_help(self, ctx: Any, formatter: Any) -> None:
        columns = shutil.get_terminal_size().columns
        if columns < NARROWEST or not _is_unicode(sys.stdout):
            self.rich_markup_mode = None
            self.help = _with_lines_kept(self.help or "")
            formatter.width = min(max(columns, 20), 100)
            # Names on lines of their own: no column beside them that would leave 10 letters for the text.
            formatter.write_dl = partial(_definitions, formatter.write_dl)
        super().format_help(ctx, formatter)  # type: ignore[misc]

    def get_short_help_str(self, limit: int = 45) -> str:
        """The first sentence, whole."""
        return str(super().get_short_help_str(1000))  # type: ignore[misc]


class Command(_Fitting, TyperCommand):
    """A command with help that fits."""


class Group(_Fitting, TyperGroup):
    """The commands together, with help that fits."""


def _is_unicode(stream: Any) -> bool:
    return (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "").startswith("utf")


def _with_lines_kept(text: str) -> str:
    """Marks the paragraphs with indented lines, such as examples, so that their lines are not joined."""
    return re.sub(r"(?m)(\A|\n\n)(?=(?:.+\n)*[ ]{2,}\S)", "\\1\b\n", textwrap.dedent(text))


def _definitions(write: Any, rows: Any, col_max: int = 4, col_spacing: int = 2) -> None:
    write(rows, col_max=4, col_spacing=2)


class WithTasks(Command):
    """A command whose help lists the tasks, those of installed packages too."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        titles = {name: find("tasks", name).TITLE for name in names("tasks")}
        self.help = (self.help or "") + listed("Tasks", titles | _of_packages("tasks"))
        super().format_help(ctx, formatter)


class WithRecipes(Command):
    """A command whose help lists the recipes."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.help = (self.help or "") + listed("Recipes", dict(sorted((ABOUT | outside_recipes()).items())))
        super().format_help(ctx, formatter)


def _of_packages(kind: str) -> dict[str, str]:
    """What installed packages add, with the name of the package; they are not imported."""
    points = installed(kind)
    return {
        name: f"From the package {point.dist.name if point.dist else point.value}"
        for name, point in points.items()
    }


def listed(heading: str, found: dict[str, str]) -> str:
    """Names with the first sentence about each, as a block that keeps its lines."""
    width = max(map(len, found))
    lines = [
        textwrap.fill(
            text.partition(". ")[0].rstrip("."),
            78,
            initial_indent=f"  {name:<{width}}  ",
            subsequent_indent=" " * (width + 4),
        )
        for name, text in found.items()
    ]
    return "\n\n" + "\n".join([f"{heading}:", *lines])
