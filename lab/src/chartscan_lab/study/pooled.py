"""All sets together, split at random five times: enough patients to tell small differences from noise."""

from typing import ClassVar

from chartscan_lab.study._rows import SHARES, Facts, Row, fair_baseline, for_any_size
from chartscan_lab.study._trained import TrainedStudy


class Pooled(TrainedStudy, frozen=True):
    """Which recipes, and the shares of train, tuning and held_out in every split."""

    TITLE: ClassVar[str] = "Pooled comparison over random splits"
    ABOUT: ClassVar[str] = (
        "Every seed splits all subjects of the dataset anew, ignoring their own split, and trains and asks "
        "every model on that split, so that models are paired by patient. Recipes were developed on part of "
        "these subjects: this table tells models apart, it is not the result on unseen patients. A blend's "
        "members are trained on train and tuning subjects; it is compared with trees trained alike."
    )
    BASELINE: ClassVar[str] = "xgboost-summary"

    recipes: tuple[str, ...] = (
        "xgboost-summary",
        "logistic-summary",
        "hymate-paper",
        "hymate",
        "xgboost-folds",
        "hymate-blend",
    )
    shares: tuple[float, float, float] = SHARES

    def rows(self, facts: Facts) -> list[Row]:
        """One row a recipe."""
        return [
            Row(
                name=recipe,
                recipe=recipe,
                settings=for_any_size(recipe),
                pooled=True,
                shares=self.shares,
                against=fair_baseline(recipe, "xgboost-folds"),
            )
            for recipe in self.recipes
        ]


STUDY = Pooled()
