"""Few labels: fine-tuning on 10 to 100 % of the train labels, pretraining on every stay."""

from typing import ClassVar

from chartscan_lab.study._rows import Facts, Row, for_any_size
from chartscan_lab.study._trained import TrainedStudy


class LabelFractions(TrainedStudy, frozen=True):
    """Which recipes, and which shares of the train labels."""

    TITLE: ClassVar[str] = "Few labels"
    ABOUT: ClassVar[str] = (
        "Labels are drawn by seed; a smaller share is part of the larger ones. Tuning labels are cut too, to "
        "a quarter of the train labels at most. Pretraining, where a recipe has it, sees every train stay. "
        "Each row is compared with the trees at the same share."
    )
    BASELINE: ClassVar[str] = "xgboost-summary, 100 %"

    recipes: tuple[str, ...] = ("xgboost-summary", "hymate-paper", "hymate")
    percents: tuple[int, ...] = (10, 20, 30, 40, 50, 60, 70, 80, 90, 100)

    def rows(self, facts: Facts) -> list[Row]:
        """One row a recipe and share; all labels are no limit."""
        return [
            Row(
                name=f"{recipe}, {percent} %",
                recipe=recipe,
                settings=(*for_any_size(recipe), *_limit(percent, facts.train_labels)),
                against=f"{self.recipes[0]}, {percent} %",
            )
            for recipe in self.recipes
            for percent in self.percents
        ]


def _limit(percent: int, labels: int) -> tuple[str, ...]:
    return () if percent == 100 else (f"label_limit={max(1, round(labels * percent / 100))}",)


STUDY = LabelFractions()
