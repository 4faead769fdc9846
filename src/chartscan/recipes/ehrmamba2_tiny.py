"""EHRMamba-2 for a demonstration or a test: as `ehrmamba-tiny`, on Mamba-2 blocks of 4 heads."""

from chartscan.inputs.tokens import SequenceConfig
from chartscan.learn.neural.sequence import Ehrmamba2Recipe
from chartscan.models import ehrmamba2
from chartscan.training import TrainConfig

RECIPE = Ehrmamba2Recipe(
    model=ehrmamba2.Config(d_model=64, n_layers=2, d_state=16, d_head=32, d_conv=4, chunk=32, time_dim=8),
    sequence=SequenceConfig(context=1024),
    pretrain=TrainConfig(learning_rate=3e-3, epochs=3, betas=(0.9, 0.98)),
    finetune=TrainConfig(learning_rate=2e-3, epochs=6, patience=2, betas=(0.9, 0.98)),
    tokens_per_batch=4096,
)
