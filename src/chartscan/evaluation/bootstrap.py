"""Resamples of subjects, and metrics computed on all of them at once."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chartscan.errors import ConfigError
from chartscan.evaluation.reported import built_in
from chartscan.evaluation.result import Estimate
from chartscan.metrics import Metric, OfSums, Rows, ratio
from chartscan.metrics.calibration import BINS, equal_mass_bins

# Bootstrap over subjects: they are drawn whole, since rows of one subject are not independent. The same seed
# and subjects give the same resamples for every model, so differences between models are paired. Efron and
# Tibshirani 1993, ch. 13.

Floats = NDArray[np.float64]
Samples = dict[str, Floats]  # name of a statistic -> its value in each resample
Statistic = Callable[[Floats], Samples]  # multiplicities (R, S) of S subjects -> values (R,) by name

BATCH_BYTES = 1 << 25  # multiplicities held at a time
LEVEL = 0.95


def multiplicities(
    subjects: int, replicates: int, seed: int, batch_bytes: int = BATCH_BYTES
) -> Iterator[Floats]:
    """Yield resamples in batches (R, S): how often each of `subjects` was drawn.

    Every row sums to `subjects`. The resamples depend on `seed` alone, not on the size of the batches.
    """
    generator = np.random.default_rng(seed)
    batch = max(1, batch_bytes // (8 * max(subjects, 1)))
    for first in range(0, replicates, batch):
        rows = min(batch, replicates - first)
        drawn = np.stack([generator.integers(0, subjects, subjects) for _ in range(rows)])
        drawn += np.arange(rows)[:, None] * subjects
        counts = np.bincount(drawn.ravel(), minlength=rows * subjects)
        yield counts.reshape(rows, subjects).astype(np.float64)


def bootstrap(statistic: Statistic, subjects: int, replicates: int, seed: int) -> Samples:
    """The values (B,) of every statistic on `replicates` resamples of `subjects` subjects."""
    batches = [statistic(drawn) for drawn in multiplicities(subjects, replicates, seed)]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def values(statistic: Statistic, subjects: int) -> dict[str, float]:
    """The statistics of the data as they are: every subject once."""
    return {name: float(value[0]) for name, value in statistic(np.ones((1, subjects))).items()}


def percentile_interval(samples: Floats, level: float = LEVEL) -> tuple[float, float]:
    """Return the middle `level` of the resampled values.

    (nan, nan) where fewer than half of them are defined. A resample may miss a class altogether and then has
    no AUROC; the interval is that of the others.
    """
    defined = samples[np.isfinite(samples)]
    if len(samples) == 0 or 2 * len(defined) < len(samples):
        return np.nan, np.nan
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def estimate(value: float, samples: Floats) -> Estimate:
    """A statistic with its interval; None in place of what is not defined."""
    low, high = percentile_interval(samples)
    return Estimate(number(value), number(low), number(high))


def number(value: float) -> float | None:
    """A plain float, or None where it is not defined."""
    return float(value) if np.isfinite(value) else None


def share_beyond_zero(differences: Floats) -> float:
    """Return the two-sided share of resamples beyond 0; read it like a p-value.

    It is at least 1 / (B + 1). nan where fewer than half of the resamples are defined.
    """
    defined = differences[np.isfinite(differences)]
    if len(differences) == 0 or 2 * len(defined) < len(differences):
        return np.nan
    fewer = min(np.count_nonzero(defined <= 0), np.count_nonzero(defined >= 0))
    return float(min(1.0, 2 * (fewer + 1) / (len(defined) + 1)))


# AUROC and average precision of many resamples: rows are sorted once, resamples only re-weight them.

RANKED = ("auroc", "average_precision")  # the metrics whose form for the bootstrap is here
WORKING_BYTES = 1 << 24  # weights of rows held at a time; measured: larger is slower (cache)


def ranked_statistics(labels: NDArray[np.bool_], scores: Floats, subjects: NDArray[np.int64]) -> Statistic:
    """The statistic `auroc`, `average_precision` of rows (n,); `subjects` numbers each row's subject."""
    positive, negative = _descending(scores, labels), _descending(scores, ~labels)
    ordered = -scores[negative]
    above = np.searchsorted(ordered, -scores[positive], side="left")  # negatives that score higher
    not_below = np.searchsorted(ordered, -scores[positive], side="right")  # negatives that score as high
    last_tied = np.searchsorted(-scores[positive], -scores[positive], side="right")
    rows = max(1, WORKING_BYTES // (8 * max(len(labels), 1)))

    def statistic(multiplicities: Floats) -> Samples:
        parts = [
            _both(part[:, subjects[positive]], part[:, subjects[negative]], above, not_below, last_tied)
            for part in np.array_split(multiplicities, max(1, -(-len(multiplicities) // rows)))
        ]
        auroc, average_precision = (np.concatenate(column) for column in zip(*parts, strict=True))
        return {"auroc": auroc, "average_precision": average_precision}

    return statistic


def _descending(scores: Floats, kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    rows = np.flatnonzero(kept)
    return rows[np.argsort(-scores[rows], kind="stable")]


def _both(positive, negative, above, not_below, last_tied):
    """AUROC and average precision (R,) from weights of positive (R, P) and negative rows (R, N), sorted."""
    false = _cumulative(negative)
    true = _cumulative(positive)
    all_true, all_false = true[:, -1], false[:, -1]
    flagged_false = false[:, not_below]
    with np.errstate(divide="ignore", invalid="ignore"):
        outranked = all_false[:, None] - (false[:, above] + flagged_false) / 2
        auroc = np.einsum("rp,rp->r", positive, outranked) / (all_true * all_false)
        flagged_true = true[:, last_tied]
        precision = flagged_true / np.maximum(flagged_true + flagged_false, 1)
        average_precision = np.einsum("rp,rp->r", positive, precision) / all_true
    return auroc, np.where(all_false > 0, average_precision, np.nan)


def _cumulative(weights: Floats) -> Floats:
    """Sums (R, K + 1) of the first 0, 1, ..., K weights."""
    sums = np.zeros((len(weights), weights.shape[1] + 1))
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums


# Statistics of row sums: summed by subject once, then a resample is one matrix product.

THRESHOLDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)  # fixed, so that none is chosen on the rows reported
DECIDED = "decided"  # stands for the decision that came with the prediction


class Answers(NamedTuple):
    """The answers of one model to rows (n,)."""

    labels: NDArray[np.bool_]
    probabilities: Floats
    decisions: NDArray[np.bool_] | None  # None: the model gave probabilities only


def scores_of(metric: Metric, answers: Answers) -> Floats | None:
    """Return probabilities, or decisions as 0 and 1 (None without any), for a metric."""
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
