"""EHRMamba for a demonstration or a test: 2 blocks of width 64, minutes on a laptop."""

from chartscan.inputs.tokens import SequenceConfig
from chartscan.learn.neural.sequence import EhrmambaRecipe
from chartscan.models import ehrmamba
from chartscan.training import TrainConfig

RECIPE = EhrmambaRecipe(
    model=ehrmamba.Config(d_model=64, n_layers=2, d_state=8, d_conv=4, time_dim=8),
    sequence=SequenceConfig(context=1024),
    pretrain=TrainConfig(learning_rate=3e-3, epochs=3, betas=(0.9, 0.98)),
    finetune=TrainConfig(learning_rate=2e-3, epochs=6, patience=2, betas=(0.9, 0.98)),
    tokens_per_batch=4096,
)
