"""Bootstrap over subjects: how far a number would move with other subjects of the same kind.

Whole subjects are drawn with replacement, because rows of one subject are not independent. A resample is
kept as multiplicities (how often each subject was drawn), so a statistic sorts its rows once and is then
evaluated on many resamples at a time. The same seed and subjects give the same resamples, whichever model
is looked at: differences between models are paired. Efron and Tibshirani 1993, ch. 13.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from chartscan.evaluation.result import Estimate

Floats = NDArray[np.float64]
Samples = dict[str, Floats]  # name of a statistic -> its value in each resample
Statistic = Callable[[Floats], Samples]  # multiplicities (R, S) of S subjects -> values (R,) by name

BATCH_BYTES = 1 << 25  # multiplicities held at a time
LEVEL = 0.95


def multiplicities(
    subjects: int, replicates: int, seed: int, batch_bytes: int = BATCH_BYTES
) -> Iterator[Floats]:
    """Resamples in batches (R, S): how often each of `subjects` was drawn; every row sums to `subjects`.

    The resamples depend on `seed` alone, not on the size of the batches.
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
    """The middle `level` of the resampled values; (nan, nan) where fewer than half of them are defined.

    A resample may miss a class altogether and then has no AUROC; the interval is that of the others.
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
    """Two-sided share of resamples on the other side of 0, at least 1 / (B + 1); read like a p-value.

    nan where fewer than half of the resamples are defined.
    """
    defined = differences[np.isfinite(differences)]
    if len(differences) == 0 or 2 * len(defined) < len(differences):
        return np.nan
    fewer = min(np.count_nonzero(defined <= 0), np.count_nonzero(defined >= 0))
    return float(min(1.0, 2 * (fewer + 1) / (len(defined) + 1)))
