"""Synthetic predictions whose truth is known: three models of rising quality and the true risk itself."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from chartscan.evaluation import PredictionSet
from chartscan.schema import PREDICTIONS

DAY = 86_400_000_000


def table(subjects, times, labels, probabilities, decisions=None) -> pa.Table:
    """A PREDICTIONS table."""
    return pa.table(
        {
            "subject_id": pa.array(subjects, pa.int64()),
            "prediction_time": pa.array(times, pa.timestamp("us")),
            "boolean_value": pa.array(labels, pa.bool_()),
            "predicted_boolean_value": pa.array(decisions, pa.bool_())
            if decisions is not None
            else pa.nulls(len(labels), pa.bool_()),
            "predicted_boolean_probability": pa.array(probabilities, pa.float32()),
        },
        schema=PREDICTIONS,
    )


def simulated(n=1500, subjects=600, seed=0, prevalence=0.2):
    """Subjects, times, true risks and outcomes; the risk of a subject's rows is alike."""
    rng = np.random.default_rng(seed)
    subject = np.sort(rng.integers(0, subjects, n))
    z = rng.normal(0, 1, subjects)[subject] + rng.normal(0, 0.6, n) + np.log(prevalence / (1 - prevalence))
    risk = 1 / (1 + np.exp(-z))
    times = np.arange(n) * DAY + 1_577_836_800_000_000
    return subject + 1000, times, risk, rng.random(n) < risk


def noisy(risk, noise, seed, slope=1.0):
    """The true risk seen through noise on its log odds."""
    z = np.log(risk / (1 - risk))
    return 1 / (1 + np.exp(-slope * (z + np.random.default_rng(seed).normal(0, noise, len(z)))))


def models(task="readmission_30d", seed=0, **shape) -> tuple[list[PredictionSet], PredictionSet]:
    """A good model, a worse and over-confident baseline, and the true risk."""
    subject, times, risk, labels = simulated(seed=seed, **shape)
    good, worse = noisy(risk, 0.4, seed + 1), noisy(risk, 1.2, seed + 2, slope=1.3)
    cohort = {"eligible": 2400, "included": len(labels), "excluded: censored": 2400 - len(labels)}
    run = {"calibration": "platt", "threshold": 0.3, "seed": seed}
    return [
        PredictionSet(task, "ehrmamba-small", table(subject, times, labels, good, good > 0.3), cohort, run),
        PredictionSet(task, "xgboost", table(subject, times, labels, worse, worse > 0.3), cohort),
    ], PredictionSet(task, "true risk", table(subject, times, labels, risk))


@pytest.fixture(scope="session")
def make_models() -> Callable[..., tuple[list[PredictionSet], PredictionSet]]:
    """`models` as a fixture."""
    return models


@pytest.fixture(scope="session")
def make_table() -> Callable[..., pa.Table]:
    """`table` as a fixture."""
    return table
