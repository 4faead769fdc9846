"""EHRMamba at the paper's size: 32 blocks of width 768, about 120 million parameters. Wants a GPU.

Settings of Fallahpour et al. 2024, Table 4 and section A.6 of the paper, for one device.
"""

from chartscan.inputs.tokens import SequenceConfig
from chartscan.learn.neural.sequence import EhrmambaRecipe
from chartscan.models import ehrmamba
from chartscan.training import TrainConfig

RECIPE = EhrmambaRecipe(
    model=ehrmamba.Config(d_model=768, n_layers=32, d_state=16, d_conv=4),
    sequence=SequenceConfig(context=2048),
    pretrain=TrainConfig(learning_rate=5e-5, epochs=15, precision="auto", patience=3),
    finetune=TrainConfig(learning_rate=5e-5, epochs=6, precision="auto", patience=2),
    tokens_per_batch=44 * 2048,
)
