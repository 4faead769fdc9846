"""More patients: models trained on 500 to all train stays, and on more where everybody is split anew."""

from typing import ClassVar

from chartscan_lab.study._rows import Facts, Row, fair_baseline, for_any_size
from chartscan_lab.study._trained import TrainedStudy

MANY_TREES = "xgboost-folds"
POOLED_SHARES = (0.8, 0.1, 0.1)


class LearningCurve(TrainedStudy, frozen=True):
    """Which recipes, and how many train stays: of the dataset's own split, and of everybody split anew."""

    TITLE: ClassVar[str] = "Learning curves"
    ABOUT: ClassVar[str] = (
        "Train stays are drawn by seed; a smaller number is part of the larger ones, and tuning stays are "
        "cut in proportion. All rows of one table are asked about the same held-out stays, and each is "
        "compared with the trees at the same number; a blend, whose members are trained on tuning stays too, "
        "with trees trained alike. The pooled rows split all subjects anew "
        "(80 / 10 / 10 %), which leaves more to learn from."
    )
    BASELINE: ClassVar[str] = "xgboost-summary"

    recipes: tuple[str, ...] = ("xgboost-summary", "hymate", "xgboost-folds", "hymate-blend")
    sizes: tuple[int, ...] = (500, 1000, 2000, 3200)
    pooled_sizes: tuple[int, ...] = (3200, 6400)

    def rows(self, facts: Facts) -> list[Row]:
        """One row a recipe and size; sizes beyond the split have no row."""
        most = round(sum(facts.subjects.values()) * POOLED_SHARES[0])
        own = [(size, False) for size in self.sizes if size <= facts.subjects["train"]]
        pooled = [(size, True) for size in self.pooled_sizes if size <= most]
        return [self._row(recipe, *which) for recipe in self.recipes for which in own + pooled]

    def _row(self, recipe: str, size: int, pooled: bool) -> Row:
        what = f"{size:,} stays{', pooled' if pooled else ''}"
        return Row(
            name=f"{recipe}, {what}",
            recipe=recipe,
            settings=for_any_size(recipe),
            train_subjects=size,
            pooled=pooled,
            shares=POOLED_SHARES,
            against=f"{fair_baseline(recipe, MANY_TREES) or self.BASELINE}, {what}",
        )


STUDY = LearningCurve()
