"""One task: every model on the same rows and resamples, beside the best that is possible."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from chartscan.errors import DataError
from chartscan.evaluation import curves
from chartscan.evaluation.bootstrap import (
    DECIDED,
    RANKED,
    THRESHOLDS,
    Answers,
    Floats,
    Samples,
    bootstrap,
    called_statistics,
    estimate,
    ranked_statistics,
    summed_statistics,
    values,
)
from chartscan.evaluation.compare import (
    Keys,
    Resampled,
    paired_difference,
    restricted,
    same_rows,
    share_of_ceiling,
)
from chartscan.evaluation.groups import group_results
from chartscan.evaluation.predictions import PredictionSet
from chartscan.evaluation.reported import built_in, compared
from chartscan.evaluation.result import (
    CalibrationBin,
    Difference,
    ModelResult,
    OperatingPoint,
    TaskResult,
    few_events,
)
from chartscan.metrics import Metric
from chartscan.metrics.calibration import BINS, reliability_curve


class Scored(NamedTuple):
    """One model's predictions, its answers in the common row order, and its resampled statistics."""

    predictions: PredictionSet
    answers: Answers
    resampled: Resampled


class Sampling(NamedTuple):
    """How resamples are drawn."""

    replicates: int
    seed: int


def evaluate_task(
    models: list[PredictionSet],
    ceiling: PredictionSet | None,
    attributes: pa.Table | None,
    sampling: Sampling,
    metrics: Sequence[Metric],
) -> TaskResult:
    """Everything about one task; the first of `models` is under study, the others are its baselines.

    Raises DataError where the sets differ in rows or outcomes, or two share a name.
    """
    sets = [*models, restricted(ceiling, models[0])] if ceiling else models
    _check_names(sets)
    keys, answers = same_rows(sets)
    if len(keys) == 0:
        raise DataError(f"{models[0].task}: there are no predictions. Label subjects of this split first.")
    scored = [
        Scored(one, said, resample(keys, said, sampling, metrics))
        for one, said in zip(sets, answers, strict=True)
    ]
    best = scored.pop() if ceiling else None
    thresholds = curves.decision_thresholds(answers)
    study = scored[0]
    groups = (
        group_results(attributes, keys, study.answers, study.resampled, sampling.seed) if attributes else []
    )
    return TaskResult(
        **_facts(keys, models[0], study),
        models=[_model_result(one, best, thresholds, metrics) for one in scored],
        ceiling=_model_result(best, None, thresholds, metrics) if best else None,
        differences=_differences(scored, metrics),
        groups=groups,
        treat_all=curves.treat_all(study.answers.labels, thresholds),
    )


def resample(
    keys: Keys, answers: Answers, sampling: Sampling, metrics: Sequence[Metric] | None = None
) -> Resampled:
    """All statistics of one model's answers, on the data and on every resample of the subjects.

    `metrics` default to those that are built in.
    """
    metrics = built_in() if metrics is None else metrics
    ids, subjects = np.unique(keys[:, 0], return_inverse=True)
    called = [one for one in metrics if one.row_sums is None and one.name not in RANKED]
    parts = (
        ranked_statistics(answers.labels, answers.probabilities, subjects),
        summed_statistics(answers, subjects, len(ids), metrics),
        called_statistics(answers, subjects, called),
    )

    def statistic(multiplicities: Floats) -> Samples:
        return {name: value for part in parts for name, value in part(multiplicities).items()}

    return Resampled(
        values(statistic, len(ids)), bootstrap(statistic, len(ids), sampling.replicates, sampling.seed)
    )


def _facts(keys: Keys, predictions: PredictionSet, study: Scored) -> dict[str, Any]:
    times = keys[:, 1].astype("datetime64[us]").astype("datetime64[s]")
    return {
        "task": predictions.task,
        "subjects": len(np.unique(keys[:, 0])),
        "predictions": len(keys),
        "events": int(study.answers.labels.sum()),
        "first_prediction": str(times.min()),
        "last_prediction": str(times.max()),
        "undefined_resamples": int(np.count_nonzero(~np.isfinite(study.resampled.samples["auroc"]))),
        "cohort": predictions.cohort,
        "few": few_events(int(study.answers.labels.sum()), len(keys)),
    }


def _model_result(
    one: Scored, best: Scored | None, thresholds: Floats, metrics: Sequence[Metric]
) -> ModelResult:
    run = one.predictions.run or {}
    return ModelResult(
        model=one.predictions.model,
        estimates={metric.name: one.resampled.estimate(metric.name) for metric in metrics},
        share_of_ceiling=share_of_ceiling(one.resampled, best.resampled) if best else None,
        roc=curves.roc(one.answers),
        precision_recall=curves.precision_recall(one.answers),
        calibration=_calibration(one),
        histogram=curves.histogram(one.answers),
        decision_curve=curves.decision_curve(one.answers, thresholds),
        operating_points=_operating_points(one),
        calibrated=str(run["calibration"]) if run.get("calibration") is not None else None,
        threshold=float(run["threshold"]) if isinstance(run.get("threshold"), int | float) else None,
        run=run,
    )


def _calibration(one: Scored) -> list[CalibrationBin]:
    """The reliability curve with an interval for each bin that holds rows."""
    curve = reliability_curve(one.answers.labels, one.answers.probabilities)
    names = [name for k in range(BINS) if np.isfinite(one.resampled.values[name := f"observed_in_bin_{k}"])]
    return [
        CalibrationBin(float(predicted), estimate(float(observed), one.resampled.samples[name]), int(weight))
        for predicted, observed, weight, name in zip(*curve, names, strict=True)
    ]


def _operating_points(one: Scored) -> list[OperatingPoint]:
    names: list[tuple[float | None, str]] = [(t, str(t)) for t in THRESHOLDS]
    if one.answers.decisions is not None:
        names.insert(0, (None, DECIDED))
    return [
        OperatingPoint(
            threshold,
            *(
                one.resampled.estimate(f"{rate}_at_{name}")
                for rate in ("sensitivity", "specificity", "ppv", "alerts_per_100")
            ),
        )
        for threshold, name in names
    ]


def _differences(scored: list[Scored], metrics: Sequence[Metric]) -> list[Difference]:
    study, *baselines = scored
    names = [(study.predictions.model, other.predictions.model) for other in baselines]
    return [
        paired_difference(*pair, metric.name, study.resampled, other.resampled, str(metric.direction))
        for pair, other in zip(names, baselines, strict=True)
        for metric in compared(metrics)
    ]


def _check_names(sets: list[PredictionSet]) -> None:
    names = [one.model for one in sets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f"{sets[0].task}: more than one set of predictions by {', '.join(twice)}. "
            "Give each model a name of its own."
        )
