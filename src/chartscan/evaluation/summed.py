"""Statistics that are functions of sums over rows: metrics with `row_sums`, threshold rates, bins.

Rows are summed by subject once; a resample is then one matrix product. Bins are those of the whole set.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chartscan.errors import ConfigError
from chartscan.evaluation.bootstrap import Floats, Samples, Statistic
from chartscan.evaluation.reported import built_in
from chartscan.metrics import Metric, OfSums, ratio
from chartscan.metrics._arrays import Rows
from chartscan.metrics.reliability_curve import BINS, equal_mass_bins

THRESHOLDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)  # fixed, so that none is chosen on the rows reported
DECIDED = "decided"  # stands for the decision that came with the prediction


class Answers(NamedTuple):
    """What one model said about rows (n,)."""

    labels: NDArray[np.bool_]
    probabilities: Floats
    decisions: NDArray[np.bool_] | None  # None: the model gave probabilities only


def scores_of(metric: Metric, answers: Answers) -> Floats | None:
    """What a metric reads: probabilities, or decisions as 0 and 1; None where the model decided nothing."""
    if metric.reads == "probabilities":
        return answers.probabilities
    return None if answers.decisions is None else answers.decisions.astype(np.float64)


def summed_statistics(
    answers: Answers, subjects: NDArray[np.int64], count: int, metrics: Sequence[Metric] | None = None
) -> Statistic:
    """The statistics of rows whose subjects are numbered 0..`count`-1 by `subjects` (n,).

    `metrics` are those whose `row_sums` are wanted; default: all that are built in. A metric of decisions is
    nan where the model decided nothing.
    """
    labels = answers.labels.astype(np.float64)
    columns = {
        "rows": np.ones(len(labels)),
        "positive": labels,
        **_bin_columns(Rows(labels, answers.probabilities, np.ones(len(labels)))),
        **_flag_columns(answers),
    }
    names = {name: k for k, name in enumerate(columns)}
    parts = [np.stack(list(columns.values()), axis=1)]
    forms: dict[str, tuple[OfSums, slice]] = {}
    undecided: list[str] = []
    for metric in built_in() if metrics is None else metrics:
        scores = scores_of(metric, answers)
        if metric.row_sums is None:
            continue
        if scores is None:
            undecided.append(metric.name)
            continue
        of_rows, form = metric.row_sums(labels, scores)
        first = sum(part.shape[1] for part in parts)
        forms[metric.name] = form, slice(first, first + of_rows.shape[1])
        parts.append(of_rows)
    sums = _by_subject(np.concatenate(parts, axis=1), subjects, count)

    def statistic(multiplicities: Floats) -> Samples:
        totals = (multiplicities @ sums).T
        total = {name: totals[k] for name, k in names.items()}
        of_metrics = {name: form(totals[place]) for name, (form, place) in forms.items()}
        nothing = dict.fromkeys(undecided, np.full(len(multiplicities), np.nan))
        return of_metrics | nothing | _observed(total) | _flagged(total, answers.decisions is not None)

    return statistic


def called_statistics(answers: Answers, subjects: NDArray[np.int64], metrics: Sequence[Metric]) -> Statistic:
    """The statistics of `metrics` by their functions, called on each resample with rows weighted.

    ConfigError that names the metric whose function fails.
    """
    labels = answers.labels.astype(np.float64)

    def statistic(multiplicities: Floats) -> Samples:
        return {
            metric.name: np.array([_called(metric, labels, answers, row[subjects]) for row in multiplicities])
            for metric in metrics
        }

    return statistic


def _called(metric: Metric, labels: Floats, answers: Answers, weights: Floats) -> float:
    scores = scores_of(metric, answers)
    if scores is None:
        return np.nan
    try:
        with np.errstate(all="ignore"):
            return float(metric.function(labels, scores, weights=weights))
    except Exception as err:
        what = f"The metric {metric.name} failed on {len(labels)} rows ({type(err).__name__}: {err})."
        raise ConfigError(
            f"{what} Where it is not defined, such as with one class, it must give nan."
        ) from err


def _by_subject(columns: Floats, subjects: NDArray[np.int64], count: int) -> Floats:
    """Sums (count, K) of the columns (n, K) over the rows of each subject."""
    return np.stack([np.bincount(subjects, column, minlength=count) for column in columns.T], axis=1)


def _bin_columns(rows: Rows) -> dict[str, Floats]:
    bin_of = equal_mass_bins(rows, BINS)
    columns: dict[str, Floats] = {}
    for k in range(BINS):
        inside = (bin_of == k).astype(np.float64)
        columns[f"bin_{k}_rows"] = inside
        columns[f"bin_{k}_positive"] = inside * rows.labels
    return columns


def _observed(total: Samples) -> Samples:
    """Share of events in each bin, nan where it is empty."""
    return {
        f"observed_in_bin_{k}": ratio(total[f"bin_{k}_positive"], total[f"bin_{k}_rows"]) for k in range(BINS)
    }


def _flag_columns(answers: Answers) -> dict[str, Floats]:
    flags = {str(t): answers.probabilities >= t for t in THRESHOLDS}
    if answers.decisions is not None:
        flags[DECIDED] = answers.decisions
    columns: dict[str, Floats] = {}
    for name, flag in flags.items():
        columns[f"true_{name}"] = (flag & answers.labels).astype(np.float64)
        columns[f"false_{name}"] = (flag & ~answers.labels).astype(np.float64)
    return columns


def _flagged(total: Samples, decided: bool) -> Samples:
    samples: Samples = {}
    positive, negative = total["positive"], total["rows"] - total["positive"]
    for name in [*map(str, THRESHOLDS), *([DECIDED] if decided else [])]:
        true, false = total[f"true_{name}"], total[f"false_{name}"]
        samples[f"sensitivity_at_{name}"] = ratio(true, positive)
        samples[f"specificity_at_{name}"] = ratio(negative - false, negative)
        samples[f"ppv_at_{name}"] = ratio(true, true + false)
        samples[f"alerts_per_100_at_{name}"] = 100 * (true + false) / total["rows"]
    return samples
