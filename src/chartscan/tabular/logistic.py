"""Logistic regression: the simple baseline, and the one whose weights can be read.

Counts enter as logarithms, scaled but not centred, so that the matrix stays sparse; dense features as their
logarithms, as they are, or as normal quantiles of their ranks, all centred and scaled, a missing value (NaN)
at the mean of its column, beside a flag where wanted. All of that is learned on the training rows.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse
from scipy.special import ndtri
from sklearn.linear_model import LogisticRegression

from chartscan import files
from chartscan.errors import ConfigError, DataError
from chartscan.tabular import Matrix, check_config, check_training, check_width

Floats = NDArray[np.float64]
Scale = Literal["log", "standard", "rank"]
QUANTILES = 65  # of each column that ranks are read from
GREATEST = 1e30  # of a number that was learned: its products are finite
_TAIL = 0.001  # the extremes of a column stand at the normal quantiles of this share
_SHARES = np.linspace(0, 1, QUANTILES)


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`strengths` are tried on the tuning split; without one, `strength` is used."""

    strengths: tuple[float, ...] = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)  # inverse L2 penalty
    strength: float = 0.01
    max_iterations: int = 2000
    scaling: Scale = "log"  # of dense features; counts are always logarithms
    missing_flags: bool = False  # beside dense features; columns that miss together share one

    def __post_init__(self) -> None:
        check_config(
            strengths=bool(self.strengths) and min(self.strengths) > 0,
            strength=self.strength > 0,
            max_iterations=self.max_iterations >= 1,
        )


DEFAULT = Config()


@dataclass(frozen=True)
class CountColumns:
    """sign(x) log(1 + |x|) scaled to unit deviation, uncentred so it stays sparse."""

    fill: Floats  # (columns,) for missing values, before the logarithm
    scale: Floats  # (columns,) of the logarithms

    @classmethod
    def fit(cls, matrix: Matrix) -> "CountColumns":
        """Fit on training counts."""
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
        """Fit on training rows. Columns that always miss together share one flag."""
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


@dataclass(frozen=True)
class Model:
    """log-odds = features(x) @ weights + intercept."""

    columns: Columns
    weights: NDArray[np.float64]  # (features,) per unit of deviation
    intercept: float

    def predict_proba(self, matrix: Matrix) -> NDArray[np.float64]:
        """Probability of the positive class, (rows,). DataError if the columns are not those fitted on."""
        check_width(matrix, self.columns.width)
        return self._probabilities(self.columns.features(matrix))

    def _probabilities(self, features: Any) -> NDArray[np.float64]:
        return np.exp(-np.logaddexp(0.0, -(features @ self.weights + self.intercept)))

    def save(self, path: Path) -> None:
        """Write the model as JSON; numbers keep all their digits."""
        fields = asdict(self.columns) | {"weights": self.weights, "intercept": self.intercept}
        plain = {name: np.asarray(value).tolist() for name, value in fields.items()}
        files.write_bytes(path, msgspec.json.encode(plain))


def fit(
    matrix: Matrix,
    y: NDArray[np.bool_],
    *,
    tuning: tuple[Matrix, NDArray[np.bool_]] | None = None,
    config: Config = DEFAULT,
    seed: int = 0,
    threads: int = 1,
) -> Model:
    """Fit the regression whose L2 penalty minimises log loss on `tuning`, if any.

    The optimum is unique: `seed` and `threads` change nothing, they are here because every tabular model
    takes them. DataError if `y` has one class; ConfigError for settings of dense features with counts.
    """
    check_training(matrix, y)
    if issparse(matrix) and (config.scaling != "log" or config.missing_flags):
        raise ConfigError("model.scaling and missing_flags are for dense features; counts have neither.")
    columns = fit_columns(matrix, config.scaling, config.missing_flags)
    features = columns.features(matrix)
    has_tuning = tuning is not None and tuning[0].shape[0] > 0
    models = []
    regression = LogisticRegression(max_iter=config.max_iterations, warm_start=True)  # weak penalties last
    for strength in sorted(config.strengths) if has_tuning else (config.strength,):
        regression.set_params(C=strength).fit(features, y)
        models.append(Model(columns, regression.coef_[0].copy(), float(regression.intercept_[0])))
    if tuning is None or not has_tuning:
        return models[0]
    shown = columns.features(tuning[0])
    return min(models, key=lambda model: _log_loss(model._probabilities(shown), tuning[1]))


def load(path: Path) -> Model:
    """The model that `Model.save` wrote. DataError if the file is none."""
    try:
        plain = files.read_json(path, dict[str, Any], "a saved logistic regression")
        columns, weights = columns_from(plain), np.asarray(plain["weights"], np.float64)
        intercept = np.asarray(plain["intercept"], np.float64)
        if weights.shape != (columns.n_features,) or intercept.shape != ():
            raise ValueError("not one weight a feature")
        if not (np.abs([*weights, intercept]) <= GREATEST).all():
            raise ValueError("a weight that is not finite")
        return Model(columns, weights, float(intercept))
    except (OSError, KeyError, TypeError, ValueError, OverflowError) as err:
        raise DataError(f"{path}: not a saved logistic regression. Train it again.") from err


def fit_columns(matrix: Matrix, scaling: Scale, flags: bool) -> Columns:
    """Fit the columns of a matrix: counts are sparse, other features dense."""
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


def _log_loss(probability: NDArray[np.float64], y: NDArray[np.bool_]) -> float:
    clipped = np.clip(probability, 1e-12, 1 - 1e-12)
    return float(-np.mean(np.where(y, np.log(clipped), np.log1p(-clipped))))
