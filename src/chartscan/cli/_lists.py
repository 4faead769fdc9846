"""Help that ends with the names there are: tasks, recipes and studies, read from their files when asked."""

import textwrap
from typing import Any

from typer.core import TyperCommand

from chartscan.find import described


class WithTasks(TyperCommand):
    """A command whose help lists the built-in tasks."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.help = (self.help or "") + _listed("Tasks", described("tasks", "TITLE"))
        super().format_help(ctx, formatter)


class WithRecipes(TyperCommand):
    """A command whose help lists the recipes."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        found = {name.replace("_", "-"): text for name, text in described("recipes", "RECIPE").items()}
        self.help = (self.help or "") + _listed("Recipes", found)
        super().format_help(ctx, formatter)


class WithStudies(TyperCommand):
    """A command whose help lists the studies."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        found = {name.replace("_", "-"): text for name, text in described("recipes.study", "STUDY").items()}
        self.help = (self.help or "") + _listed("Studies", found)
        super().format_help(ctx, formatter)


def _listed(heading: str, found: dict[str, str]) -> str:
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
