"""Answers of a row's seeds -> numbers, with two kinds of uncertainty kept apart.

The spread over seeds says how far training wanders; the interval says how far other patients would move the
number. It belongs to the seeds' ensemble (mean of the log odds), or, where every seed has a split of its own,
to the mean over the splits. Patients are drawn as wholes and the same for every row, so differences are
paired. The statistics are those of `evaluation`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from chartscan.errors import DataError
from chartscan.evaluation import PredictionSet
from chartscan.evaluation.bootstrap import (
    Answers,
    Floats,
    Samples,
    Statistic,
    bootstrap,
    number,
    ranked_statistics,
    summed_statistics,
    values,
)
from chartscan.evaluation.compare import Keys, Resampled, answers, paired_difference
from chartscan.evaluation.evaluation import Sampling
from chartscan.evaluation.reported import built_in, compared
from chartscan.evaluation.result import Difference, Estimate
from chartscan.metrics import Metric, log_odds, sigmoid
from chartscan_lab.study._facts import made_with
from chartscan_lab.study._made_with import Code, distinct


class Repeat(NamedTuple):
    """What one seed of a row said, rows sorted by subject and time."""

    seed: int
    keys: Keys
    answers: Answers
    run: Mapping[str, Any]


class Spread(msgspec.Struct, frozen=True):
    """A metric over seeds."""

    mean: float | None
    sd: float | None  # with n - 1; None for one seed
    values: list[float | None]


class RowScore(msgspec.Struct, frozen=True):
    """One row of a table."""

    name: str
    recipe: str
    settings: list[str]
    seeds: list[int]
    predictions: int  # of one seed
    events: int
    spread: dict[str, Spread]  # by metric, over seeds
    together: dict[str, Estimate]  # of the seeds' ensemble; of the mean over splits where they differ
    baseline: str | None  # the row that `differences` are to
    differences: list[Difference]
    parameters: int | None
    seconds_per_epoch: dict[str, float]  # by phase, median of seeds
    tokens_per_epoch: dict[str, float]  # likewise, padding included; of sequence models
    training_seconds: float | None  # median of seeds
    versions: dict[str, str]
    made_with: list[Code]  # of any seed


class Answered(NamedTuple):
    """A row with what its seeds said."""

    name: str
    recipe: str
    settings: list[str]
    pooled: bool  # every seed has a split of its own
    repeats: list[Repeat]


def repeat_of(seed: int, predictions: PredictionSet) -> Repeat:
    """The answers of one cell."""
    keys, said = answers(predictions)
    return Repeat(seed, keys, said, predictions.run or {})


def score(row: Answered, baseline: Answered | None, sampling: Sampling) -> RowScore:
    """The numbers of a row with answers, and its differences to `baseline` unless that is the row itself.

    DataError where rows or seeds that are to be compared were asked about different stays.
    """
    other = baseline if baseline and baseline.name != row.name else None
    found = resampled(joined(row), sampling)
    first = row.repeats[0]
    return RowScore(
        name=row.name,
        recipe=row.recipe,
        settings=row.settings,
        seeds=[one.seed for one in row.repeats],
        predictions=len(first.keys),
        events=int(first.answers.labels.sum()),
        spread={one.name: spread(one.function, row.repeats) for one in scored()},
        together={one.name: found.estimate(one.name) for one in scored()},
        baseline=other.name if other else None,
        differences=differences(row, other, sampling) if other else [],
        parameters=first.run.get("parameters"),
        seconds_per_epoch=_by_phase(row.repeats, "seconds_per_epoch"),
        tokens_per_epoch=_by_phase(row.repeats, "tokens_per_epoch"),
        training_seconds=_median([one.run.get("training_seconds") for one in row.repeats]),
        versions=dict(first.run.get("versions", {})),
        made_with=distinct([code for one in row.repeats for code in made_with(one.run)]),
    )


def scored() -> tuple[Metric, ...]:
    """The metrics of a study: those whose differences reports show, too."""
    return compared(built_in())


def spread(metric: Any, repeats: Sequence[Repeat]) -> Spread:
    """A metric of each seed by itself, its mean and standard deviation over seeds."""
    found = [float(metric(one.answers.labels, one.answers.probabilities)) for one in repeats]
    sd = float(np.std(found, ddof=1)) if len(found) > 1 else np.nan
    return Spread(number(float(np.mean(found))), number(sd), [number(value) for value in found])


def joined(row: Answered) -> list[Repeat]:
    """What is resampled of a row: the ensemble of its seeds, or each split by itself."""
    return row.repeats if row.pooled else [ensemble(row.name, row.repeats)]


def ensemble(name: str, repeats: Sequence[Repeat]) -> Repeat:
    """Answers with the mean of the seeds' log odds; DataError where they were asked about different rows."""
    first = repeats[0]
    for other in repeats[1:]:
        check_paired(name, first, name, other)
    mean = np.mean([log_odds(one.answers.probabilities) for one in repeats], axis=0)
    return first._replace(answers=Answers(first.answers.labels, sigmoid(mean), None))


def differences(row: Answered, baseline: Answered, sampling: Sampling) -> list[Difference]:
    """Each metric of `row` less that of `baseline`, paired by patient; on common splits where seeds split."""
    if row.pooled:
        row, baseline = _on_common_seeds(row, baseline), _on_common_seeds(baseline, row)
        if not row.repeats:
            return []
    mine, theirs = joined(row), joined(baseline)
    for one, other in zip(mine, theirs, strict=True):
        check_paired(row.name, one, baseline.name, other)
    ours, reference = resampled(mine, sampling), resampled(theirs, sampling)
    return [
        paired_difference(row.name, baseline.name, one.name, ours, reference, str(one.direction))
        for one in scored()
    ]


def resampled(repeats: Sequence[Repeat], sampling: Sampling) -> Resampled:
    """The mean over `repeats` of each metric, on the data and on resamples of all their subjects."""
    ids = np.unique(np.concatenate([one.keys[:, 0] for one in repeats]))
    if not len(ids):
        raise DataError("No labels for held-out subjects. Label more of them.")
    parts = [_statistic(one, ids) for one in repeats]

    def statistic(multiplicities: Floats) -> Samples:
        found = [part(multiplicities) for part in parts]
        return {one.name: np.mean([samples[one.name] for samples in found], axis=0) for one in scored()}

    return Resampled(
        values(statistic, len(ids)), bootstrap(statistic, len(ids), sampling.replicates, sampling.seed)
    )


def _statistic(one: Repeat, ids: NDArray[np.int64]) -> Statistic:
    subjects = np.searchsorted(ids, one.keys[:, 0])
    ranked = ranked_statistics(one.answers.labels, one.answers.probabilities, subjects)
    summed = summed_statistics(one.answers, subjects, len(ids))
    return lambda multiplicities: ranked(multiplicities) | summed(multiplicities)


def _on_common_seeds(row: Answered, other: Answered) -> Answered:
    seeds = {one.seed for one in other.repeats}
    return row._replace(repeats=[one for one in row.repeats if one.seed in seeds])


def check_paired(name: str, one: Repeat, other_name: str, other: Repeat) -> None:
    """Same subjects and outcomes, row by row. Prediction times may differ: the same stay at another hour."""
    same = np.array_equal(one.keys[:, 0], other.keys[:, 0])
    if not same or not np.array_equal(one.answers.labels, other.answers.labels):
        raise DataError(
            f"'{name}', seed {one.seed}, and '{other_name}', seed {other.seed}, were not asked about the "
            f"same stays and outcomes ({len(one.keys)} and {len(other.keys)} rows). Begin in a new --out."
        )


def _by_phase(repeats: Sequence[Repeat], name: str) -> dict[str, float]:
    phases = sorted({phase for one in repeats for phase in one.run.get(name, {})})
    found = {p: _median([one.run.get(name, {}).get(p) for one in repeats]) for p in phases}
    return {phase: value for phase, value in found.items() if value is not None}


def _median(found: list[float | None]) -> float | None:
    known = [value for value in found if value is not None]
    return float(np.median(known)) if known else None
