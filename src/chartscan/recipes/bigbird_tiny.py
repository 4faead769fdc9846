"""BigBird for a demonstration or a test: 2 layers of width 64, blocks of 32 tokens, a model a task."""

from chartscan.inputs.tokens import SequenceConfig
from chartscan.learn.neural.sequence import BigbirdRecipe
from chartscan.models import bigbird
from chartscan.training import TrainConfig

RECIPE = BigbirdRecipe(
    model=bigbird.Config(
        d_model=64, n_layers=2, n_heads=4, d_ffn=256, context=1024, block=32, n_random=3, time_dim=8
    ),
    sequence=SequenceConfig(context=1024),
    pretrain=TrainConfig(learning_rate=2e-3, epochs=6, betas=(0.9, 0.98)),
    finetune=TrainConfig(learning_rate=1e-3, epochs=6, patience=2, betas=(0.9, 0.98)),
    tokens_per_batch=4096,
    together=False,
)
