"""The paper's ablations: what self-attention, pretraining and the embeddings of value and time are worth."""

from typing import ClassVar

from chartscan.commands.train import recipe_of
from chartscan.errors import ConfigError
from chartscan.models import hymate
from chartscan_lab.study._rows import Facts, Row
from chartscan_lab.study._trained import TrainedStudy

WHOLE, MORE_MAMBA = "whole model", "without self-attention, more Mamba"
REMOVED: dict[str, tuple[str, ...]] = {
    "without self-attention": ("model.n_attention=0",),
    MORE_MAMBA: ("model.n_attention=0",),  # and a Mamba block for each attention layer
    "without pretraining": ("pretrain=null",),
    "without value embedding": ("model.use_value=false",),
    "without time embedding": ("model.use_time=false",),
}


class Ablations(TrainedStudy, frozen=True):
    """Which recipe parts are taken from."""

    TITLE: ClassVar[str] = "Ablations"
    ABOUT: ClassVar[str] = (
        "One part is taken away at a time, everything else stays as it is. Without self-attention there are "
        "fewer parameters too; the row with more Mamba blocks has about as many as the whole model."
    )
    BASELINE: ClassVar[str] = WHOLE

    recipe: str = "hymate-paper"

    def rows(self, facts: Facts) -> list[Row]:
        """The whole model, then one row for each part taken away."""
        whole = Row(name=WHOLE, recipe=self.recipe)
        removed = REMOVED | {MORE_MAMBA: (*REMOVED[MORE_MAMBA], f"model.n_layers={self._more_blocks()}")}
        return [whole, *(Row(name=n, recipe=self.recipe, settings=s) for n, s in removed.items())]

    def _more_blocks(self) -> int:
        """The number of Mamba blocks with about the parameters of the model's blocks and attention layers."""
        model = getattr(recipe_of(self.recipe, []), "model", None)
        if not isinstance(model, hymate.Config):
            raise ConfigError(f"recipe={self.recipe} has no self-attention to take away. Name a hymate one.")
        return model.n_layers + model.n_attention


STUDY = Ablations()
