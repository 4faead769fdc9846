"""BigBird at the paper's size: 6 layers of width 768, rows of 2048 tokens, a model a task. Wants a GPU.

Settings of Fallahpour et al. 2024, Table 4, for one device.
"""

from chartscan.inputs.tokens import SequenceConfig
from chartscan.learn.neural.sequence import BigbirdRecipe
from chartscan.models import bigbird
from chartscan.training import TrainConfig

RECIPE = BigbirdRecipe(
    model=bigbird.Config(d_model=768, n_layers=6, n_heads=12, d_ffn=3072, context=2048, block=64, n_random=3),
    sequence=SequenceConfig(context=2048),
    pretrain=TrainConfig(learning_rate=5e-5, epochs=15, precision="auto", patience=3),
    finetune=TrainConfig(learning_rate=5e-5, epochs=3, precision="auto", patience=2),
    tokens_per_batch=32 * 2048,
    together=False,
)
