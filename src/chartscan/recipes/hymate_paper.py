"""HyMaTE as its paper describes it: raw triplets, pretraining by masked forecasting, then fine-tuning.

Mottalib et al. 2025, arXiv:2509.24118. The paper names batches of 32 and Adam, and neither sizes nor rates;
gradients are clipped at 0.3 and the weights of the best tuning AUROC kept as in its predecessor STraTS
(arXiv:2107.14293). Rates, and schedules short enough for a processor, were tried on part of set-a of
PhysioNet 2012 (log/). No weight for the positives, since it spoils probabilities.
"""

from chartscan.learn.neural.series import HymateRecipe
from chartscan.models import hymate
from chartscan.objectives import classification
from chartscan.training import TrainConfig

RECIPE = HymateRecipe(
    model=hymate.Config(d_model=64, n_layers=2, n_attention=1, n_heads=4, dropout=0.2),
    head=classification.Config(hidden=0, dropout=0.2),
    pretrain=TrainConfig(learning_rate=1e-3, epochs=8, clip_norm=0.3),
    finetune=TrainConfig(learning_rate=3e-4, epochs=6, clip_norm=0.3, metric="auroc", direction="max"),
    batch_size=32,
)
