"""How the regression sees its columns: counts as sparse logarithms, dense features centred and scaled.

Everything is learned on the training rows. A missing value (NaN) takes the mean of its column.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse
from scipy.special import ndtri

from chartscan.tabular._checks import Matrix

Floats = NDArray[np.float64]
Scale = Literal["log", "standard", "rank"]

QUANTILES = 65  # of each column that ranks are read from
GREATEST = 1e30  # of a number that was learned: its products are finite
_TAIL = 0.001  # the extremes of a column stand at the normal quantiles of this share
_SHARES = np.linspace(0, 1, QUANTILES)


@dataclass(frozen=True)
class CountColumns:
    """sign(x) log(1 + |x|) scaled to unit deviation, but not centred, so that the matrix stays sparse."""

    fill: Floats  # (columns,) for missing values, before the logarithm
    scale: Floats  # (columns,) of the logarithms

    @classmethod
    def fit(cls, matrix: Matrix) -> "CountColumns":
        """Those of training counts."""
        fill = _column_means(csr_matrix(matrix))
        return cls(fill, _deviations(cls(fill, np.ones(matrix.shape[1])).features(matrix)))

    @property
    def width(self) -> int:
        """Columns of the matrix."""
        return len(self.fill)

    @property
    def n_features(self) -> int:
        """Columns of the features."""
        return len(self.scale)

    def features(self, matrix: Matrix) -> csr_matrix:
        """(rows, columns)."""
        result = csr_matrix(matrix, dtype=np.float64, copy=True)
        values = np.where(np.isnan(result.data), self.fill[result.indices], result.data)
        result.data = _logarithm(values) / self.scale[result.indices]
        return result


@dataclass(frozen=True)
class DenseColumns:
    """Columns of mean 0 and deviation 1, and flags of what is missing, scaled likewise."""

    scaling: Scale
    quantiles: Floats  # (columns, QUANTILES) of the training values; (columns, 0) unless ranks are read
    flagged: NDArray[np.int64]  # (flags,) columns with a flag of where they miss
    centre: Floats  # (columns + flags,)
    scale: Floats  # (columns + flags,)

    @classmethod
    def fit(cls, matrix: Matrix, scaling: Scale, flags: bool) -> "DenseColumns":
        """Those of training rows. Columns that always miss together share one flag."""
        values = _dense(matrix)
        missing = np.isnan(values)
        quantiles = _quantiles(values) if scaling == "rank" else np.empty((values.shape[1], 0))
        flagged = _distinct(missing) if flags else np.empty(0, np.int64)
        raw = cls(scaling, quantiles, flagged, np.zeros(1), np.ones(1))._raw(values)
        centre = _present_mean(raw)
        scale = np.sqrt(_present_mean((raw - centre) ** 2))
        return cls(scaling, quantiles, flagged, centre, np.where(scale > 1e-9, scale, 1.0))

    @property
    def width(self) -> int:
        """Columns of the matrix."""
        return len(self.quantiles)

    @property
    def n_features(self) -> int:
        """Columns of the features."""
        return len(self.scale)

    def features(self, matrix: Matrix) -> Floats:
        """(rows, columns + flags)."""
        return np.nan_to_num((self._raw(_dense(matrix)) - self.centre) / self.scale)

    def _raw(self, values: Floats) -> Floats:
        """Before centring; NaN where missing."""
        return np.hstack([self._scaled(values), np.isnan(values[:, self.flagged])])

    def _scaled(self, values: Floats) -> Floats:
        if self.scaling == "log":
            return _logarithm(values)
        if self.scaling == "standard" or not values.size:
            return values
        columns = [_rank_normal(v, q) for v, q in zip(values.T, self.quantiles, strict=True)]
        return np.stack(columns, axis=1)


Columns = CountColumns | DenseColumns


def fit_columns(matrix: Matrix, scaling: Scale, flags: bool) -> Columns:
    """What fits the matrix: counts are sparse and other features dense."""
    return CountColumns.fit(matrix) if issparse(matrix) else DenseColumns.fit(matrix, scaling, flags)


def columns_from(plain: Mapping[str, Any]) -> Columns:
    """The columns whose fields are saved in `plain`; KeyError, TypeError or ValueError if none are."""
    scale = _numbers(plain["scale"])
    if not (scale > 0).all():
        raise ValueError("a deviation that is not positive")
    if "scaling" not in plain:
        return CountColumns(_numbers(plain["fill"], len(scale)), scale)
    if plain["scaling"] not in get_args(Scale):
        raise ValueError("no such scaling")
    flagged = np.asarray(plain["flagged"], np.int64)
    width = len(scale) - len(flagged)
    if flagged.ndim != 1 or not (np.diff(flagged) > 0).all() or not np.isin(flagged, np.arange(width)).all():
        raise ValueError("flags of columns that there are not")
    n_quantiles = QUANTILES if plain["scaling"] == "rank" else 0
    quantiles = np.asarray(plain["quantiles"], np.float64).reshape(width, n_quantiles)
    if not np.isfinite(quantiles).all() or not (np.diff(quantiles, axis=1) >= 0).all():
        raise ValueError("quantiles that do not ascend")
    return DenseColumns(plain["scaling"], quantiles, flagged, _numbers(plain["centre"], len(scale)), scale)


def _numbers(given: Any, length: int | None = None) -> Floats:
    """A column of finite numbers, of `length` where it is known; ValueError if they are anything else."""
    found = np.asarray(given, np.float64)
    if found.ndim != 1 or not (np.abs(found) <= GREATEST).all() or length not in (None, len(found)):
        raise ValueError("not one finite number a column")
    return found


def _dense(matrix: Matrix) -> Floats:
    return np.asarray(matrix.toarray() if issparse(matrix) else matrix, np.float64)  # type: ignore[union-attr]


def _logarithm(values: Floats) -> Floats:
    return np.sign(values) * np.log1p(np.abs(values))


def _present_mean(values: Floats) -> Floats:
    """Mean of each column's values that are present; 0 where there is none."""
    present = ~np.isnan(values)
    return np.nan_to_num(values).sum(axis=0) / np.maximum(present.sum(axis=0), 1)


def _distinct(missing: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Columns (ascending) that miss sometimes, the first of those that miss in the same rows."""
    _, first = np.unique(missing, axis=1, return_index=True)
    share = missing.mean(axis=0)[first]
    return np.sort(first[(share > 0) & (share < 1)])


def _quantiles(values: Floats) -> Floats:
    """Quantiles (columns, QUANTILES) of the values present; zeros where there is none."""
    columns = [column[~np.isnan(column)] for column in values.T]
    found = [np.quantile(c, _SHARES) if len(c) else np.zeros(QUANTILES) for c in columns]
    return np.array(found).reshape(len(columns), QUANTILES)


def _rank_normal(values: Floats, quantiles: Floats) -> Floats:
    """Normal quantiles of the ranks; a value that fills several quantiles has their middle."""
    steps, place, counts = np.unique(quantiles, return_inverse=True, return_counts=True)
    ranks = np.interp(values, steps, np.bincount(place, weights=_SHARES) / counts)
    return ndtri(np.clip(ranks, _TAIL, 1 - _TAIL))


def _column_means(matrix: csr_matrix) -> Floats:
    """Mean of the values that are present; entries that are not stored are zeros."""
    present = csr_matrix(matrix, dtype=np.float64, copy=True)
    missing = np.isnan(present.data)
    present.data[missing] = 0.0
    absences = np.bincount(present.indices[missing], minlength=matrix.shape[1])
    totals = np.asarray(present.sum(axis=0)).ravel()
    return totals / np.maximum(matrix.shape[0] - absences, 1)


def _deviations(matrix: csr_matrix) -> Floats:
    """Standard deviation of each column; 1 where it does not vary."""
    mean = np.asarray(matrix.mean(axis=0)).ravel()
    square = np.asarray(matrix.multiply(matrix).mean(axis=0)).ravel()
    deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
    return np.where(deviation > 1e-9, deviation, 1.0)
