"""HyMaTE over the carried state of every variable: causal, and taught by the labels alone.

What it changes of the paper, and what each change is worth, stands in docs/physionet2012.md.
"""

from chartscan.inputs.hourly import SeriesConfig
from chartscan.learn.neural.series import CarriedRecipe
from chartscan.training import TrainConfig

RECIPE = CarriedRecipe(
    series=SeriesConfig(scaling="rank_gauss", derived=True),
    pretrain=None,
    finetune=TrainConfig(
        learning_rate=5e-4,
        faster={"model.": 1.5, "head.sequence": 1.5, "head.forecast": 3.0, "head.wide": 2.0},
        epochs=10,
        clip_norm=10.0,  # the readouts' gradients differ in size: under a tighter bound one rules all
        average_decay=0.98,
        weight_decay=0.05,
        keep="last",
    ),
    batch_size=64,
    refit=True,  # nothing is chosen on tuning subjects but how answers are read, so they may teach
)
