"""CEHR-BERT for a demonstration or a test: 2 layers of width 64, a model a task, minutes on a laptop."""

from chartscan.inputs.tokens import SequenceConfig
from chartscan.learn.neural.sequence import CehrBertRecipe
from chartscan.models import cehr_bert
from chartscan.training import TrainConfig

RECIPE = CehrBertRecipe(
    model=cehr_bert.Config(d_model=64, n_layers=2, n_heads=4, d_ffn=256, context=256, time_dim=8),
    sequence=SequenceConfig(context=256),
    pretrain=TrainConfig(learning_rate=2e-3, epochs=6, betas=(0.9, 0.98)),
    finetune=TrainConfig(learning_rate=1e-3, epochs=6, patience=2, betas=(0.9, 0.98)),
    tokens_per_batch=4096,
    together=False,
)
