"""What each part of HyMaTE over the carried state is worth: its readouts, layers, inputs and losses."""

from typing import ClassVar

from chartscan_lab.study._rows import Facts, Row
from chartscan_lab.study._trained import TrainedStudy

WHOLE = "whole model"
REMOVED: dict[str, tuple[str, ...]] = {
    "without the wide readout": ("head.wide_weight=0",),
    "without the network readout": ("head.network_weight=0",),
    "without the sequence readout": ("head.sequence_weight=0", "model.n_layers=0", "model.n_attention=0"),
    "sequence readout alone": ("head.wide_weight=0", "head.network_weight=0"),
    "without Mamba": ("model.n_layers=0",),
    "without self-attention": ("model.n_attention=0",),
    "without forecasting": ("head.forecast_weight=0",),
    "without derived series": ("reader.derived=false",),
    "without questions at earlier hours": ("head.earlier=0",),
}


class Parts(TrainedStudy, frozen=True):
    """Which recipe parts are taken from."""

    TITLE: ClassVar[str] = "Parts of HyMaTE over the carried state"
    ABOUT: ClassVar[str] = (
        "One part is taken away at a time, everything else stays as it is: the schedule is not tuned anew "
        "for what is left. No row is refitted by tuning stays."
    )
    BASELINE: ClassVar[str] = WHOLE

    recipe: str = "hymate"

    def rows(self, facts: Facts) -> list[Row]:
        """The whole model, then one row for each part taken away."""
        rows = {WHOLE: (), **REMOVED}
        return [Row(name=n, recipe=self.recipe, settings=(*s, "refit=false")) for n, s in rows.items()]


STUDY = Parts()
