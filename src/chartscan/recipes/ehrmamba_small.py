"""EHRMamba for a CPU: 2 blocks of width 128, about 400,000 parameters."""

from chartscan.inputs.tokens import SequenceConfig
from chartscan.learn.neural.sequence import EhrmambaRecipe
from chartscan.models import ehrmamba
from chartscan.training import TrainConfig

RECIPE = EhrmambaRecipe(
    model=ehrmamba.Config(d_model=128, n_layers=2, d_state=16, d_conv=4, time_dim=16),
    sequence=SequenceConfig(context=2048),
    pretrain=TrainConfig(learning_rate=2e-3, epochs=3, betas=(0.9, 0.98), precision="auto"),
    finetune=TrainConfig(learning_rate=2e-3, epochs=5, patience=2, betas=(0.9, 0.98), precision="auto"),
    tokens_per_batch=8192,
)
