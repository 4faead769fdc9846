"""Turns predictions into the report's numbers, with all models on the same resamples.

Curves are thinned to what a figure can show: at most about 200 points, chosen where the curve moves.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from chartscan.errors import ConfigError, DataError
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
from chartscan.evaluation.limitations import notes_on
from chartscan.evaluation.predictions import PredictionSet
from chartscan.evaluation.reported import built_in, compared, reported
from chartscan.evaluation.result import (
    CalibrationBin,
    Curve,
    Difference,
    Evaluation,
    MetricFacts,
    ModelResult,
    OperatingPoint,
    TaskResult,
    few_events,
)
from chartscan.metrics import Metric
from chartscan.metrics.calibration import BINS, reliability_curve
from chartscan.metrics.decisions import net_benefit
from chartscan.metrics.discrimination import precision_recall_curve, roc_curve

MOST_POINTS = 200  # of a curve
DIGITS = 5
BARS = 50  # of a histogram
Progress = Callable[[int, int | None], None]


class Scored(NamedTuple):
    """One model's predictions, its answers in the common row order, and its resampled statistics."""

    predictions: PredictionSet
    answers: Answers
    resampled: Resampled


class Sampling(NamedTuple):
    """How resamples are drawn."""

    replicates: int
    seed: int


def evaluate(
    predictions: Sequence[PredictionSet],
    *,
    ceiling: Mapping[str, PredictionSet] | None = None,
    groups: Mapping[str, pa.Table] | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
    metrics: Sequence[Metric] | None = None,
) -> Evaluation:
    """Evaluate models on tasks, each number with its interval.

    For each task the first set is the model under study and the others are baselines; all must hold the same
    rows (DataError otherwise). `ceiling`, by task, holds the true risks of simulated data; it may cover more
    rows. `groups`, by task, holds subject_id, prediction_time and one column for each attribute. Intervals
    come from `bootstrap` resamples of subjects. `metrics` default to all that are found (`reported`).
    """
    if bootstrap < 1:
        raise ConfigError(f"bootstrap must be at least 1, found {bootstrap}; use 1000 or more for a report.")
    if not predictions:
        raise DataError("There are no predictions to evaluate.")
    _refuse_unanswered(predictions)
    by_task: dict[str, list[PredictionSet]] = {}
    for one in predictions:
        by_task.setdefault(one.task, []).append(one)
    metrics = reported() if metrics is None else metrics
    results = []
    for k, (task, models) in enumerate(by_task.items()):
        best, attributes = (ceiling or {}).get(task), (groups or {}).get(task)
        results.append(evaluate_task(models, best, attributes, Sampling(bootstrap, seed), metrics))
        if progress:
            progress(k + 1, len(by_task))
    facts = [MetricFacts(one.name, one.title, one.direction, one.shown) for one in metrics]
    return Evaluation(seed, bootstrap, results, notes_on(results, bootstrap), facts)


def _refuse_unanswered(predictions: Sequence[PredictionSet]) -> None:
    """DataError for predictions of questions, whose outcomes are not known."""
    for one in predictions:
        unknown = one.table["boolean_value"].null_count
        if unknown:
            raise DataError(
                f"{one.task}, {one.model}: {unknown} of {one.table.num_rows} predictions have no outcome "
                "(boolean_value is null), so nothing can be measured. Predict for labels, not for questions."
            )


def evaluate_task(
    models: list[PredictionSet],
    ceiling: PredictionSet | None,
    attributes: pa.Table | None,
    sampling: Sampling,
    metrics: Sequence[Metric],
) -> TaskResult:
    """Evaluate one task; the first of `models` is under study, others are baselines.

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
    thresholds = _decision_thresholds(answers)
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
        treat_all=_treat_all(study.answers.labels, thresholds),
    )


def resample(
    keys: Keys, answers: Answers, sampling: Sampling, metrics: Sequence[Metric] | None = None
) -> Resampled:
    """Return all statistics of one model, on the data and on every resample.

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
        roc=_roc(one.answers),
        precision_recall=_precision_recall(one.answers),
        calibration=_calibration(one),
        histogram=_histogram(one.answers),
        decision_curve=_decision_curve(one.answers, thresholds),
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


def _roc(answers: Answers) -> Curve:
    """Sensitivity (y) against 1 - specificity (x)."""
    curve = roc_curve(answers.labels, answers.probabilities)
    return _thinned(curve.false_positive_rate, curve.true_positive_rate)


def _precision_recall(answers: Answers) -> Curve:
    """Positive predictive value (y) against sensitivity (x)."""
    curve = precision_recall_curve(answers.labels, answers.probabilities)
    return _thinned(curve.recall, curve.precision)


def _thinned(x: Floats, y: Floats) -> Curve:
    """At most MOST_POINTS of the points, equally spaced along x, with both ends."""
    if len(x) > MOST_POINTS:
        wanted = np.searchsorted(x, np.linspace(x[0], x[-1], MOST_POINTS))
        kept = np.unique(np.concatenate([[0], wanted, [len(x) - 1]]))
        x, y = x[kept], y[kept]
    return Curve(np.round(x, DIGITS).tolist(), np.round(y, DIGITS).tolist())


def _histogram(answers: Answers) -> list[int]:
    """Predictions in BARS equal steps of the probability from 0 to 1."""
    return np.histogram(answers.probabilities, bins=BARS, range=(0, 1))[0].tolist()


def _decision_thresholds(sets: list[Answers]) -> Floats:
    """Thresholds (t,) to draw net benefit at: from 0.01 to where models flag hardly any row."""
    highest = max((float(np.quantile(a.probabilities, 0.995)) for a in sets if len(a.labels)), default=0.5)
    return np.linspace(0.01, min(max(highest, 0.1), 0.95), 60)


def _decision_curve(answers: Answers, thresholds: Floats) -> Curve:
    """Net benefit (y) of acting above each threshold (x)."""
    return _net_benefits(answers.labels, answers.probabilities, thresholds)


def _treat_all(labels: NDArray[np.bool_], thresholds: Floats) -> Curve:
    """Net benefit of acting on every subject."""
    return _net_benefits(labels, np.ones(len(labels)), thresholds)


def _net_benefits(labels: NDArray[np.bool_], scores: Floats, thresholds: Floats) -> Curve:
    benefit = np.array([net_benefit(labels, scores, None, float(t)) for t in thresholds])
    return Curve(np.round(thresholds, DIGITS).tolist(), np.round(benefit, DIGITS).tolist())
