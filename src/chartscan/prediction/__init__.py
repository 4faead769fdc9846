"""ARTIFACT + EVENTS + LABELS -> PREDICTIONS, for every family of models and for their ensembles.

Each prediction sees what was known at its prediction time, and nothing else.
"""

from chartscan.prediction.answers import Answered, answer, log_odds, predict, predictions
from chartscan.prediction.findings import Findings, cut_note
from chartscan.prediction.reading import Tables
from chartscan.prediction.stays import series_coverage, summary_features
from chartscan.prediction.tabular import logit, token_features
from chartscan.prediction.tokens import encode

__all__ = [
    "Answered",
    "Findings",
    "Tables",
    "answer",
    "cut_note",
    "encode",
    "log_odds",
    "logit",
    "predict",
    "predictions",
    "series_coverage",
    "summary_features",
    "token_features",
]
