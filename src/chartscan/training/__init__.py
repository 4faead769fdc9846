"""Training: `fit` a module to batches, with exact resume; no clinical knowledge."""

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
