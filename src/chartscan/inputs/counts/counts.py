"""Token counts and ages at each prediction time: the matrix for the tabular models.

Knows no vocabulary: whoever calls gives each subject's tokens as numbers, the same tokens that the
sequence models see, with the time at which each became known.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from chartscan.errors import DataError

AGES = ("age at first visit", "age at last visit", "visits")  # the last columns, in this order
_DAYS_PER_YEAR = 365.25
_TIME = "datetime64[us]"


@dataclass(frozen=True)
class SubjectTokens:
    """One subject's record as tokens, whole; the matrix cuts it. T tokens, any order; NaT known = always."""

    tokens: NDArray[np.int64]  # (T,) token ids
    known: NDArray[np.datetime64]  # (T,) when each token became known
    visit_starts: NDArray[np.datetime64]  # (visits,), any order
    birth: np.datetime64 | None = None  # None or NaT: unknown


@dataclass(frozen=True)
class Features:
    """`matrix` has one row per label, in the order of the labels, and one column per name.

    Ages are years; a missing age is NaN, and a visit before birth counts as age 0.
    """

    matrix: csr_matrix  # (labels, V + 3) float32
    names: tuple[str, ...]


def count_matrix(
    subjects: Iterable[tuple[int, SubjectTokens]], labels: pa.Table, token_names: Sequence[str]
) -> Features:
    """Counts of each of the V tokens known up to and including the prediction time, and `AGES`.

    `token_names` names token ids 0..V-1; columns of tokens to leave out simply stay empty if the caller
    gives no such tokens. Subjects without labels are skipped. DataError if a label's subject is not given.
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
