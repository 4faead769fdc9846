"""Every published model, asked about the dataset's held-out subjects: the table of the report."""

from typing import ClassVar

from chartscan.recipes.study._rows import Facts, Row
from chartscan.recipes.study._trained import TrainedStudy

TREES = "xgboost-summary"


class Published(TrainedStudy, frozen=True):
    """Which recipes the table holds, in order, and how much of train and tuning is for tuning."""

    TITLE: ClassVar[str] = "Published models"
    ABOUT: ClassVar[str] = (
        "Every model under the same labels, asked once about the held-out subjects. Each seed cuts the train "
        "and tuning subjects anew, so that the spread over seeds is that of the cut too. A distilled network "
        "has learned from the trees and is not an independent one. Rows of several folds are ensembles "
        "already, of ten members a kind."
    )
    BASELINE: ClassVar[str] = TREES

    recipes: tuple[str, ...] = (
        TREES,
        "logistic-summary",
        "gru",
        "hymate-paper",
        "hymate",
        "hymate-distilled",
        "xgboost-folds",
        "hymate-folds",
        "hymate-blend",
    )
    tuning_share: float = 0.1

    def rows(self, facts: Facts) -> list[Row]:
        """One row a recipe, as it is."""
        return [Row(name=r, recipe=r, tuning_share=self.tuning_share) for r in self.recipes]


STUDY = Published()
