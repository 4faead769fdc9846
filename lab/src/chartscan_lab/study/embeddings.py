"""Summation, concatenation or gating of the embeddings of variable, value and time, at equal size."""

from typing import ClassVar

from chartscan_lab.study._rows import Facts, Row
from chartscan_lab.study._trained import TrainedStudy

SUM = "sum"


class Embeddings(TrainedStudy, frozen=True):
    """Which recipe, and which ways to combine."""

    TITLE: ClassVar[str] = "Embeddings: sum, concatenation, gating"
    ABOUT: ClassVar[str] = (
        "How an event's embeddings of variable, value and time become one vector. Hidden sizes are chosen so "
        "that the embeddings have equal numbers of parameters."
    )
    BASELINE: ClassVar[str] = SUM

    recipe: str = "hymate-paper"
    ways: tuple[str, ...] = (SUM, "concat", "gated")

    def rows(self, facts: Facts) -> list[Row]:
        """One row a way."""
        return [Row(name=way, recipe=self.recipe, settings=(f"model.combine={way}",)) for way in self.ways]


STUDY = Embeddings()
