"""AUROC as a stay goes on: one trained model asked every six hours from time zero to the end."""

from typing import ClassVar

from chartscan_lab.study._rows import Facts, Row
from chartscan_lab.study._trained import TrainedStudy


class Hours(TrainedStudy, frozen=True):
    """Which recipe is asked when; the last hour is the baseline of its differences."""

    TITLE: ClassVar[str] = "One model asked as the stay goes on"
    ABOUT: ClassVar[str] = (
        "The model is trained once a seed on the questions of the labels (a recipe may add earlier hours of "
        "its own, as hymate does), and asked at each hour with "
        "what was known by then. The stays and outcomes are the same in every row, those included whose "
        "record ends earlier."
    )
    BASELINE: ClassVar[str] = "48 h"

    recipe: str = "hymate"
    tuning_share: float = 0.1  # as in `published`, whose models these are
    hours: tuple[float, ...] = (6, 12, 18, 24, 30, 36, 42, 48)

    def rows(self, facts: Facts) -> list[Row]:
        """One row an hour, of the same training."""
        last = f"{max(self.hours):g} h"
        return [
            Row(
                name=f"{hours:g} h",
                recipe=self.recipe,
                tuning_share=self.tuning_share,
                hours=hours,
                against=last,
            )
            for hours in self.hours
        ]


STUDY = Hours()
