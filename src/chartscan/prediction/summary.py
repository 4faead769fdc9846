"""Answers of tabular models on summary features of stays."""

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa

from chartscan.artifact import SummaryArtifact
from chartscan.prediction.reading import Records
from chartscan.prediction.tabular import logit


def summary_log_odds(
    artifact: SummaryArtifact,
    records: Records,
    labels: Mapping[str, pa.Table],
    progress: Callable[[int, int | None], None],
) -> dict[str, np.ndarray]:
    """Log odds of every label, by task."""
    matrix = records.stays_of(artifact.variables).summary.matrix
    found = {}
    for number, task in enumerate(labels):
        log_odds = logit(artifact.models[task].predict_proba(matrix))
        found[task] = log_odds[records.questions.rows[task]]
        progress(number + 1, len(labels))
    return found
