"""How good log odds are on tuning labels: what decides which weights a training keeps."""

import numpy as np

from chartscan.metrics.auroc import auroc
from chartscan.metrics.average_precision import average_precision

DIRECTIONS = {"loss": "min", "auroc": "max", "average_precision": "max"}  # which way each is better


def scores(labels: np.ndarray, log_odds: np.ndarray) -> dict[str, float]:
    """Mean log loss, AUROC and average precision of one task's rows; what is not defined is left out."""
    y = np.asarray(labels, bool)
    if not len(y):
        return {}
    loss = float(np.mean(np.logaddexp(0, log_odds) - y * log_odds))
    ranks = {"auroc": auroc(y, log_odds), "average_precision": average_precision(y, log_odds)}
    return {"loss": loss} | {name: value for name, value in ranks.items() if np.isfinite(value)}


def mean_scores(answers: np.ndarray, log_odds: np.ndarray) -> dict[str, float]:
    """The mean over tasks of each score, of answers and log odds (n, T); unknown answers are NaN.

    The loss weighs every answer the same, whatever its task. A score that no task defines is NaN.
    """
    known = ~np.isnan(answers)
    tasks = [scores(y[k] > 0.5, z[k]) for y, z, k in zip(answers.T, log_odds.T, known.T, strict=True)]
    ranks = {name: [task[name] for task in tasks if name in task] for name in DIRECTIONS if name != "loss"}
    loss = scores(answers[known] > 0.5, log_odds[known]).get("loss", np.nan)
    return {"loss": loss} | {name: float(np.mean(v)) if v else np.nan for name, v in ranks.items()}
