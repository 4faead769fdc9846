"""Models compared on the same rows, with Holm's correction."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from chartscan.errors import DataError
from chartscan.evaluation.bootstrap import Answers, Floats, Samples, estimate, number, share_beyond_zero
from chartscan.evaluation.predictions import PredictionSet
from chartscan.evaluation.result import Difference, Estimate


def holm(p: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values, in order.

    Rejecting those at most alpha keeps the family-wise error at most alpha. The k-th smallest (from 0) of n
    is multiplied by n - k, never below a smaller one's result, at most 1. Holm 1979, Scandinavian Journal of
    Statistics 6:65.
    """
    order = np.argsort(p, kind="stable")
    found = np.asarray(p, dtype=np.float64)[order] * (len(p) - np.arange(len(p)))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(found), 1)
    return adjusted.tolist()


ROUNDING = 1e-12  # differences of resamples closer than this are the same

Keys = NDArray[np.int64]  # (n, 2) subject and prediction time in microseconds, sorted


def answers(predictions: PredictionSet) -> tuple[Keys, Answers]:
    """Return a model's answers by subject and time; DataError for a repeated row."""
    table = predictions.table
    keys = np.stack(
        [table["subject_id"].to_numpy(), table["prediction_time"].cast(pa.int64()).to_numpy()], axis=1
    )
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    keys = keys[order]
    twice = int(np.count_nonzero((keys[1:] == keys[:-1]).all(axis=1)))
    if twice:
        raise DataError(
            f"{predictions.task}, {predictions.model}: {twice} rows repeat the subject and prediction time "
            "of another. Give each prediction once."
        )
    decided = table["predicted_boolean_value"]
    return keys, Answers(
        labels=_booleans(table["boolean_value"])[order],
        probabilities=table["predicted_boolean_probability"].to_numpy().astype(np.float64)[order],
        decisions=_booleans(decided)[order] if decided.null_count == 0 else None,
    )


def same_rows(sets: list[PredictionSet]) -> tuple[Keys, list[Answers]]:
    """The answers of models to one task, row by row beside each other.

    DataError where the models answered different questions or hold different outcomes for one question: a
    table over different test sets compares nothing.
    """
    found = [answers(one) for one in sets]
    keys, first = found[0]
    for other, (other_keys, other_answers) in zip(sets[1:], found[1:], strict=True):
        _check_same(sets[0], keys, other, other_keys)
        differ = int(np.count_nonzero(first.labels != other_answers.labels))
        if differ:
            raise DataError(
                f"{other.task}: '{sets[0].model}' and '{other.model}' have different outcomes in {differ} of "
                f"{len(keys)} rows. Predict with both from the same labels file."
            )
    return keys, [one for _, one in found]


def restricted(predictions: PredictionSet, wanted: PredictionSet) -> PredictionSet:
    """Return `predictions` for the rows of `wanted` alone (a ceiling may cover every split)."""
    keys = ["subject_id", "prediction_time"]
    table = predictions.table.join(wanted.table.select(keys), keys, join_type="left semi", use_threads=False)
    return PredictionSet(predictions.task, predictions.model, table, predictions.cohort, predictions.run)


class Resampled(NamedTuple):
    """The statistics of one model: on the data, and on every resample."""

    values: dict[str, float]
    samples: Samples

    def estimate(self, name: str) -> Estimate:
        """The statistic with its interval."""
        return estimate(self.values[name], self.samples[name])


def paired_difference(
    model: str, baseline: str, metric: str, mine: Resampled, theirs: Resampled, direction: str = "max"
) -> Difference:
    """`metric` of `model` less that of `baseline`; both with the same resamples.

    `direction` is "max" or "min": which values of the metric are better.
    """
    samples = mine.samples[metric] - theirs.samples[metric]
    found = estimate(mine.values[metric] - theirs.values[metric], samples)
    why = not_estimable(found, samples)
    return Difference(model, baseline, metric, found, number(share_beyond_zero(samples)), why, direction)


def not_estimable(difference: Estimate, samples: Floats) -> str | None:
    """Return why a difference has no useful interval; None where it has one."""
    if difference.value is None:
        return "one class only"
    if difference.low is None or difference.high is None:
        return "fewer than half of the resamples have both classes"
    if np.ptp(samples[np.isfinite(samples)]) < ROUNDING:
        return "every resample gives the same difference"
    return None


def share_of_ceiling(model: Resampled, ceiling: Resampled) -> Estimate:
    """Return (AUROC - 0.5) as a share of the ceiling's, with its paired interval.

    None where the ceiling is itself not above 0.5.
    """
    samples = _share(model.samples["auroc"], ceiling.samples["auroc"])
    value = _share(np.array([model.values["auroc"]]), np.array([ceiling.values["auroc"]]))[0]
    return estimate(float(value), samples)


def _share(auroc: Floats, best: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(best > 0.5, (auroc - 0.5) / (best - 0.5), np.nan)


def _check_same(one: PredictionSet, keys: Keys, other: PredictionSet, other_keys: Keys) -> None:
    if np.array_equal(keys, other_keys):
        return
    mine, theirs = set(map(tuple, keys.tolist())), set(map(tuple, other_keys.tolist()))
    raise DataError(
        f"{one.task}: '{one.model}' and '{other.model}' do not predict the same rows: "
        f"{len(mine - theirs)} rows (subject and prediction time) only in the first, {len(theirs - mine)} "
        f"only in the second, {len(mine & theirs)} in both. Predict with both from the same labels file."
    )


def _booleans(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(column.to_numpy(), dtype=bool)
