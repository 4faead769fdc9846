"""BiLSTM for a demonstration or a test: 1 layer of 32 units each way, a model a task."""

from chartscan.inputs.tokens import SequenceConfig
from chartscan.learn.neural.sequence import BilstmRecipe
from chartscan.models import bilstm
from chartscan.training import TrainConfig

RECIPE = BilstmRecipe(
    model=bilstm.Config(d_model=64, n_layers=1, time_dim=8),
    sequence=SequenceConfig(context=256),
    pretrain=None,
    finetune=TrainConfig(learning_rate=2e-3, epochs=6, patience=2, betas=(0.9, 0.98)),
    tokens_per_batch=4096,
    together=False,
)
