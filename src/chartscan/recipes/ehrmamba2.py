"""EHRMamba-2 at the released size: 32 blocks of width 768, 24 heads. Wants a GPU.

Of the released settings (ODYSSEY, EHRMamba2) the model's and the batch of 24; the rest is as for `ehrmamba`,
beside which it stands.
"""

from chartscan.inputs.tokens import SequenceConfig
from chartscan.learn.neural.sequence import Ehrmamba2Recipe
from chartscan.models import ehrmamba2
from chartscan.training import TrainConfig

RECIPE = Ehrmamba2Recipe(
    model=ehrmamba2.Config(d_model=768, n_layers=32, d_state=64, d_head=64, d_conv=4, chunk=256),
    sequence=SequenceConfig(context=2048),
    pretrain=TrainConfig(learning_rate=5e-5, epochs=15, precision="auto", patience=3),
    finetune=TrainConfig(learning_rate=5e-5, epochs=6, precision="auto", patience=2),
    tokens_per_batch=24 * 2048,
)
