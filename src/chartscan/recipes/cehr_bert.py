"""CEHR-BERT at the paper's size: 6 layers of width 768, rows of 512 tokens, a model a task. Wants a GPU.

Settings of Fallahpour et al. 2024, Table 4, for one device.
"""

from chartscan.inputs.tokens import SequenceConfig
from chartscan.learn.neural.sequence import CehrBertRecipe
from chartscan.models import cehr_bert
from chartscan.training import TrainConfig

RECIPE = CehrBertRecipe(
    model=cehr_bert.Config(d_model=768, n_layers=6, n_heads=8, d_ffn=3072, context=512),
    sequence=SequenceConfig(context=512),
    pretrain=TrainConfig(learning_rate=5e-5, epochs=15, precision="auto", patience=3),
    finetune=TrainConfig(learning_rate=5e-5, epochs=5, precision="auto", patience=2),
    tokens_per_batch=32 * 512,
    together=False,
)
