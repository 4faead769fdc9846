"""Evaluates predictions: metrics with intervals, models compared on the same rows, the report.

Knows PREDICTIONS, not who predicted. No torch.
"""

from chartscan.evaluation.evaluation import evaluate
from chartscan.evaluation.forecast_report import write_forecast_report
from chartscan.evaluation.forecasts import ForecastEvaluation, ForecastSet, NextTokens, evaluate_forecasts
from chartscan.evaluation.predictions import (
    PredictionSet,
    read_predictions,
    stored_predictions,
    write_predictions,
)
from chartscan.evaluation.report import read_metrics, write_report
from chartscan.evaluation.result import Evaluation
from chartscan.evaluation.sections import DatasetFacts, ReportSections, TrainingCurve
from chartscan.evaluation.text import text_table

__all__ = [
    "DatasetFacts",
    "Evaluation",
    "ForecastEvaluation",
    "ForecastSet",
    "NextTokens",
    "PredictionSet",
    "ReportSections",
    "TrainingCurve",
    "evaluate",
    "evaluate_forecasts",
    "read_metrics",
    "read_predictions",
    "stored_predictions",
    "text_table",
    "write_forecast_report",
    "write_predictions",
    "write_report",
]
