"""Help that fits every terminal, and that ends with the names there are where a command takes one.

Frames and columns need Unicode and 80 columns. Where a terminal has less, help is plain text from which
nothing is left out. Tasks and recipes are read from their files when they are asked for.
"""

import re
import shutil
import sys
import textwrap
from functools import partial
from typing import Any

from typer.core import TyperCommand, TyperGroup

from chartscan.find import find, installed, names
from chartscan.recipes import ABOUT

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
        found: str = super().get_short_help_str(1000)  # type: ignore[misc]
        return found


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
        self.help = (self.help or "") + listed("Recipes", dict(sorted(ABOUT.items())))
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
