"""Training: `fit` a module to batches, with exact resume. Knows models, data and losses as arguments only."""

from chartscan.training.config import TrainConfig
from chartscan.training.loop import Evaluation, FitResult, fit
from chartscan.training.plan import Batches
from chartscan.training.record import Reporter, StepRecord
from chartscan.training.update import NonFinite

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
