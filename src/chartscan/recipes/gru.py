"""A gated recurrent unit on the hourly carried state: the plain network every other series model has to beat.

A short schedule whose averaged last weights are kept, because choosing a checkpoint on few tuning stays
chooses noise.
"""

from chartscan.inputs.hourly import CHANNELS, SeriesConfig
from chartscan.learn.neural.series import GruRecipe
from chartscan.models import gru
from chartscan.objectives import classification
from chartscan.training import TrainConfig

RECIPE = GruRecipe(
    model=gru.Config(d_model=64, channels=len(CHANNELS), dropout=0.3),
    series=SeriesConfig(scaling="rank_gauss"),
    head=classification.Config(hidden=0, dropout=0.3),
    finetune=TrainConfig(learning_rate=2e-3, epochs=5, weight_decay=0.05, average_decay=0.98, keep="last"),
    batch_size=64,
)
