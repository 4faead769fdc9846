"""ARTIFACT + EVENTS + LABELS -> PREDICTIONS, for every kind of model and for their ensembles.

Each prediction sees what was known at its prediction time, and nothing else.
"""

from chartscan.prediction.answers import (
    Answered,
    Findings,
    Tables,
    answer,
    cut_note,
    log_odds,
    predict,
    predictions,
)

__all__ = [
    "Answered",
    "Findings",
    "Tables",
    "answer",
    "cut_note",
    "log_odds",
    "predict",
    "predictions",
]
