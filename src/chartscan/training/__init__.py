"""Training: `fit` a module to batches, with exact resume. Knows models, data and losses as arguments only."""

from chartscan.training.loop import Evaluation, FitResult, fit
from chartscan.training.optimiser import NonFinite
from chartscan.training.plan import Batches, TrainConfig
from chartscan.training.record import Reporter, StepRecord

__all__ = [
    "Batches",
    "Evaluation",
    "FitResult",
    "NonFinite",
    "Reporter",
    "StepRecord",
    "TrainConfig",
    "fit",
]
