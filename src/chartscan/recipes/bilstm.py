"""BiLSTM at the paper's size: 6 layers, 384 units each way, no pretraining, a model a task. Wants a GPU.

Settings of Fallahpour et al. 2024, Table 4 (LSTM).
"""

from chartscan.inputs.tokens import SequenceConfig
from chartscan.learn.neural.sequence import BilstmRecipe
from chartscan.models import bilstm
from chartscan.training import TrainConfig

RECIPE = BilstmRecipe(
    model=bilstm.Config(d_model=768, n_layers=6),
    sequence=SequenceConfig(context=512),
    pretrain=None,
    finetune=TrainConfig(learning_rate=1e-3, epochs=5, patience=2),
    tokens_per_batch=32 * 512,
    together=False,
)
