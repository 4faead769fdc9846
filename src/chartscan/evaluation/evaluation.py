"""From predictions to everything a report says: tasks one by one, each with all its models."""

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from chartscan.errors import ConfigError, DataError
from chartscan.evaluation.findings import notes_on
from chartscan.evaluation.per_task import Sampling, evaluate_task
from chartscan.evaluation.predictions import PredictionSet
from chartscan.evaluation.reported import reported
from chartscan.evaluation.result import Evaluation, MetricFacts
from chartscan.metrics import Metric

Progress = Callable[[int, int | None], None]


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
    """The evaluation of one or more models on one or more tasks, each number with its interval.

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
    """DataError for predictions of questions, whose outcomes nobody knows."""
    for one in predictions:
        unknown = one.table["boolean_value"].null_count
        if unknown:
            raise DataError(
                f"{one.task}, {one.model}: {unknown} of {one.table.num_rows} predictions have no outcome "
                "(boolean_value is null), so nothing can be measured. Predict for labels, not for questions."
            )
