"""Every published model, asked about the dataset's held-out subjects: the table of the report."""

from typing import ClassVar

from chartscan_lab.study._rows import Facts, Row, fair_baseline
from chartscan_lab.study._trained import TrainedStudy

TREES, MANY_TREES = "xgboost-summary", "xgboost-folds"
REFITTED = ("hymate",)  # trained on train and tuning subjects


class Published(TrainedStudy, frozen=True):
    """Which recipes the table holds, in order, and how much of train and tuning is for tuning."""

    TITLE: ClassVar[str] = "Published models"
    ABOUT: ClassVar[str] = (
        "Every model under the same labels, asked about the same held-out subjects. Each seed cuts the train "
        "and tuning subjects anew, so that the spread over seeds is that of the cut too. A distilled network "
        "has learned from the trees and is not an independent one. Folds and blends are ensembles already, "
        "of ten members a kind that together were trained on all train and tuning subjects; they are "
        "compared with trees trained alike. So is `hymate`, which is refitted on tuning subjects, too."
    )
    BASELINE: ClassVar[str] = TREES

    recipes: tuple[str, ...] = (
        TREES,
        "logistic-summary",
        "gru",
        "hymate-paper",
        "hymate",
        "hymate-distilled",
        MANY_TREES,
        "hymate-folds",
        "hymate-blend",
    )
    tuning_share: float = 0.1

    def rows(self, facts: Facts) -> list[Row]:
        """One row a recipe, as it is."""
        return [
            Row(
                name=recipe,
                recipe=recipe,
                tuning_share=self.tuning_share,
                against=MANY_TREES if recipe in REFITTED else fair_baseline(recipe, MANY_TREES),
            )
            for recipe in self.recipes
        ]


STUDY = Published()
