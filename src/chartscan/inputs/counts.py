"""Feature matrices: token counts and ages, and summaries of time series.

Knows no vocabulary, scaling or code: callers give tokens as numbers, and values in the unit of the source.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from chartscan.errors import DataError

# Token counts and ages for tabular models. The caller gives tokens as numbers; no vocabulary is needed.

AGES = ("age at first visit", "age at last visit", "visits")  # the last columns, in this order
_DAYS_PER_YEAR = 365.25
_TIME = "datetime64[us]"


@dataclass(frozen=True)
class SubjectTokens:
    """One subject's whole record as T tokens, in any order.

    The matrix cuts it. A `known` time of NaT means always known.
    """

    tokens: NDArray[np.int64]  # (T,) token ids
    known: NDArray[np.datetime64]  # (T,) when each token became known
    visit_starts: NDArray[np.datetime64]  # (visits,), any order
    birth: np.datetime64 | None = None  # None or NaT: unknown


@dataclass(frozen=True)
class Features:
    """A feature `matrix`: one row per label, in order, one column per name.

    Ages are years; a missing age is NaN, and a visit before birth counts as age 0.
    """

    matrix: csr_matrix  # (labels, V + 3) float32
    names: tuple[str, ...]


def count_matrix(
    subjects: Iterable[tuple[int, SubjectTokens]], labels: pa.Table, token_names: Sequence[str]
) -> Features:
    """Return counts of each of V tokens known at the prediction time, and `AGES`.

    "At" includes the prediction time itself. `token_names` names token ids 0..V-1; columns of tokens to leave
    out simply stay empty if the caller gives no such tokens. Subjects without labels are skipped. DataError
    if a label's subject is not given.
    """
    rows_of = _rows_of(labels)
    times = labels["prediction_time"].to_numpy().astype(_TIME).view(np.int64)
    width = len(token_names)
    rows: list[tuple[NDArray[np.int64], NDArray[np.float32]] | None] = [None] * len(times)
    for subject_id, subject in subjects:
        at = rows_of.pop(subject_id, None)
        if at is not None:
            for row, content in zip(at, _subject_rows(subject, times[at], width), strict=True):
                rows[row] = content
    if rows_of:
        raise DataError(
            f"{len(rows_of)} subjects of the labels are not in the data. Label this dataset again."
        )
    return Features(_stacked([r for r in rows if r is not None], width), (*token_names, *AGES))


def _rows_of(labels: pa.Table) -> dict[int, NDArray[np.int64]]:
    """Row numbers of each subject's labels."""
    ids = labels["subject_id"].to_numpy()
    order = np.argsort(ids, kind="stable")
    unique, starts = np.unique(ids[order], return_index=True)
    parts = np.split(order, starts[1:]) if len(unique) else []
    return dict(zip(unique.tolist(), parts, strict=True))


def _subject_rows(
    subject: SubjectTokens, times: NDArray[np.int64], width: int
) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """(columns, values) of one subject at each of `times`; columns ascend."""
    known = subject.known.astype(_TIME).view(np.int64)  # NaT is the smallest number: known from the start
    order = np.argsort(known, kind="stable")
    tokens, known = subject.tokens[order], known[order]
    visits = np.sort(subject.visit_starts.astype(_TIME)).view(np.int64)
    dense = np.arange(width, width + len(AGES))
    rows = []
    for time, end in zip(times, np.searchsorted(known, times, side="right"), strict=True):
        columns, counts = np.unique(tokens[:end], return_counts=True)
        values = np.concatenate([counts, _ages(visits[visits <= time], subject.birth)])
        rows.append((np.concatenate([columns, dense]), values.astype(np.float32)))
    return rows


def _ages(visits: NDArray[np.int64], birth: np.datetime64 | None) -> NDArray[np.float64]:
    """Values of `AGES`, from the visits that had started, in order."""
    if birth is None or np.isnat(birth) or not len(visits):
        return np.array([np.nan, np.nan, len(visits)])
    born = birth.astype(_TIME).astype(np.int64)
    ages = (visits[[0, -1]] - born) / (_DAYS_PER_YEAR * 86_400e6)
    return np.array([*np.maximum(ages, 0.0), len(visits)])


def _stacked(rows: list[tuple[NDArray[np.int64], NDArray[np.float32]]], width: int) -> csr_matrix:
    lengths = [len(columns) for columns, _ in rows]
    pointers = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    columns = np.concatenate([c for c, _ in rows]) if rows else np.empty(0, np.int64)
    values = np.concatenate([v for _, v in rows]) if rows else np.empty(0, np.float32)
    return csr_matrix((values, columns, pointers), shape=(len(rows), width + len(AGES)))


# Summaries of time series for tabular models. Values are in the source's unit; missing values are NaN.

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
    """A `matrix` (n, features) float32: stays by names, NaN where missing."""

    matrix: NDArray[np.float32]
    names: tuple[str, ...]


def summary_matrix(stays: Sequence[Measured], names: Sequence[str], fact_names: Sequence[str]) -> Summary:
    """Return features of each stay: per variable, static facts, number of events.

    `PER_VARIABLE` lists the features of each of the V variables `names`. Quarters part (0, end_hours] into
    four, time zero in the first; the last hours are (end - 24, end]. SD is that of the population; the change
    is last - first. Where nothing was measured, counts are 0 and all else NaN.
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
