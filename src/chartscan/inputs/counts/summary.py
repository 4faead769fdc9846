"""Summary features of irregular time series: the matrix for trees and logistic regression.

Per variable: how many, how large, how they moved and when, over the whole stay, its quarters and its last
day. Knows neither scaling nor codes; values come in the unit of the source, what is missing is NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

LAST_HOURS = 24.0
QUARTERS = 4
PER_VARIABLE = (
    *("count", "mean", "min", "max", "sd", "sum", "first", "last", "first hour", "last hour", "change"),
    *(f"mean of quarter {quarter + 1}" for quarter in range(QUARTERS)),
    *(f"min of the last {LAST_HOURS:.0f} h", f"max of the last {LAST_HOURS:.0f} h"),
)
EVENTS = "observations"


class Measured(Protocol):
    """A stay: n triplets in order of time, `end_hours` long."""

    @property
    def end_hours(self) -> float: ...
    @property
    def hours(self) -> np.ndarray: ...  # (n,)
    @property
    def variables(self) -> np.ndarray: ...  # (n,) 1 .. V
    @property
    def values(self) -> np.ndarray: ...  # (n,)
    @property
    def facts(self) -> np.ndarray: ...  # (F,)


@dataclass(frozen=True)
class Summary:
    """`matrix` (n, features) float32 has a row a stay, NaN where missing, and a column a name."""

    matrix: NDArray[np.float32]
    names: tuple[str, ...]


def summary_matrix(stays: Sequence[Measured], names: Sequence[str], fact_names: Sequence[str]) -> Summary:
    """Features of each stay: `PER_VARIABLE` of each of the V variables `names`, facts, number of events.

    Quarters part (0, end_hours] into four, time zero in the first; the last hours are (end - 24, end].
    SD is that of the population; the change is last - first. Where nothing was measured, counts are 0 and
    all else NaN.
    """
    events = _Events.of(stays, len(names))
    whole = events.columns()
    change = whole["last"] - whole["first"]
    quarters = [_only(events, events.quarter == q).mean() for q in range(QUARTERS)]
    day = _only(events, events.hours > events.ends - LAST_HOURS)
    columns = [*whole.values(), change, *quarters, *day.extremes()]
    width = len(names) * len(PER_VARIABLE)
    per_variable = np.stack(columns, axis=-1).reshape(len(stays), width)
    facts = np.array([stay.facts for stay in stays], dtype=np.float32).reshape(len(stays), len(fact_names))
    counts = np.array([len(stay.hours) for stay in stays], dtype=np.float32)
    matrix = np.concatenate([per_variable, facts, counts[:, None]], axis=1)
    all_names = (*(f"{name}: {kind}" for name in names for kind in PER_VARIABLE), *fact_names, EVENTS)
    return Summary(matrix.astype(np.float32), all_names)


@dataclass(frozen=True)
class _Events:
    """Events of n stays sorted by stay, variable and time, N in all."""

    shape: tuple[int, int]  # n, V
    keys: np.ndarray  # (N,) stay * V + variable - 1
    hours: np.ndarray  # (N,)
    values: np.ndarray  # (N,) float64
    ends: np.ndarray  # (N,) end_hours of the stay

    @classmethod
    def of(cls, stays: Sequence[Measured], n_variables: int) -> "_Events":
        lengths = np.array([len(stay.hours) for stay in stays], dtype=np.int64)
        rows = np.repeat(np.arange(len(stays)), lengths)
        ends = np.array([stay.end_hours for stay in stays], dtype=np.float64)[rows]
        keys = rows * n_variables + _joined([stay.variables for stay in stays]).astype(np.int64) - 1
        order = np.argsort(keys, kind="stable")
        hours = _joined([stay.hours for stay in stays])[order]
        values = _joined([stay.values for stay in stays])[order]
        return cls((len(stays), n_variables), keys[order], hours, values, ends[order])

    @property
    def quarter(self) -> np.ndarray:
        """The quarter of its stay in which each event lies, 0 .. 3 (N,)."""
        share = self.hours / np.where(self.ends > 0, self.ends, 1.0)
        return np.clip(np.ceil(share * QUARTERS) - 1, 0, QUARTERS - 1)

    def columns(self) -> dict[str, np.ndarray]:
        """The features of all events that are not of a part (n, V each), in their order."""
        starts, counts = self._parts
        lasts = starts + counts - 1
        sums = self._sums(self.values)
        deviations = self.values - np.repeat(sums / counts, counts)
        spread = np.sqrt(self._sums(deviations * deviations) / counts)
        low, high = self.extremes()
        number = np.zeros(self.shape[0] * self.shape[1])
        number[self.keys[starts]] = counts
        return {
            "count": number.reshape(self.shape),
            "mean": self.mean(),
            "min": low,
            "max": high,
            "sd": self._placed(spread),
            "sum": self._placed(sums),
            "first": self._placed(self.values[starts]),
            "last": self._placed(self.values[lasts]),
            "first hour": self._placed(self.hours[starts]),
            "last hour": self._placed(self.hours[lasts]),
        }

    def mean(self) -> np.ndarray:
        """Mean of each stay and variable (n, V)."""
        return self._placed(self._sums(self.values) / self._parts[1])

    def extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest value (n, V each)."""
        starts, _ = self._parts
        if not len(starts):
            return self._placed(starts), self._placed(starts)
        low, high = np.minimum.reduceat(self.values, starts), np.maximum.reduceat(self.values, starts)
        return self._placed(low), self._placed(high)

    @property
    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        """First event and number of events of each stay and variable that has any."""
        starts = np.flatnonzero(np.diff(self.keys, prepend=-1))
        return starts, np.diff(starts, append=len(self.keys))

    def _sums(self, values: np.ndarray) -> np.ndarray:
        starts, _ = self._parts
        return np.add.reduceat(values, starts) if len(starts) else np.zeros(0)

    def _placed(self, found: np.ndarray) -> np.ndarray:
        """One number a part -> (n, V), NaN elsewhere."""
        whole = np.full(self.shape[0] * self.shape[1], np.nan)
        whole[self.keys[self._parts[0]]] = found
        return whole.reshape(self.shape)


def _only(events: _Events, kept: np.ndarray) -> _Events:
    arrays = (events.keys, events.hours, events.values, events.ends)
    return _Events(events.shape, *(array[kept] for array in arrays))


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts).astype(np.float64) if parts else np.zeros(0)
