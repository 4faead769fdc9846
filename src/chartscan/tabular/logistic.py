"""Logistic regression on counts: the simple baseline, and the one whose weights can be read.

Values enter as sign(x) log(1 + |x|), scaled to unit deviation but not centred, so that the matrix stays
sparse. A missing value (NaN) takes the mean of its column in training.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from chartscan.errors import DataError
from chartscan.tabular._checks import check_training, check_width


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`strengths` are tried on the tuning split; without one, `strength` is used."""

    strengths: tuple[float, ...] = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)  # inverse L2 penalty
    strength: float = 0.01
    max_iterations: int = 2000


DEFAULT = Config()


@dataclass(frozen=True)
class Model:
    """log-odds = transformed(x) @ weights + intercept."""

    fill: NDArray[np.float64]  # (columns,) for missing values, before the logarithm
    scale: NDArray[np.float64]  # (columns,) of the logarithms
    weights: NDArray[np.float64]  # (columns,) per unit of deviation
    intercept: float

    def predict_proba(self, matrix: csr_matrix) -> NDArray[np.float64]:
        """Probability of the positive class, (rows,). DataError if the columns are not those fitted on."""
        check_width(matrix, len(self.weights))
        logits = _transformed(matrix, self.fill, self.scale) @ self.weights + self.intercept
        return np.exp(-np.logaddexp(0.0, -logits))

    def save(self, path: Path) -> None:
        """Write the model as JSON; numbers keep all their digits."""
        plain = {name: np.asarray(value).tolist() for name, value in asdict(self).items()}
        path.write_bytes(msgspec.json.encode(plain))


def fit(
    matrix: csr_matrix,
    y: NDArray[np.bool_],
    *,
    tuning: tuple[csr_matrix, NDArray[np.bool_]] | None = None,
    config: Config = DEFAULT,
    seed: int = 0,
    threads: int = 1,
) -> Model:
    """The regression whose L2 penalty gives the best log loss on `tuning` (if it has rows).

    The optimum is unique: `seed` and `threads` change nothing, they are here because every tabular model
    takes them. DataError if `y` has one class.
    """
    check_training(matrix, y)
    fill = _column_means(matrix)
    scale = _deviations(_transformed(matrix, fill, np.ones(matrix.shape[1])))
    features = _transformed(matrix, fill, scale)
    has_tuning = tuning is not None and tuning[0].shape[0] > 0
    models = []
    regression = LogisticRegression(max_iter=config.max_iterations, warm_start=True)  # weak penalties last
    for strength in sorted(config.strengths) if has_tuning else (config.strength,):
        regression.set_params(C=strength).fit(features, y)
        models.append(Model(fill, scale, regression.coef_[0].copy(), float(regression.intercept_[0])))
    if tuning is None or not has_tuning:
        return models[0]
    return min(models, key=lambda model: _log_loss(model.predict_proba(tuning[0]), tuning[1]))


def load(path: Path) -> Model:
    """The model that `Model.save` wrote. DataError if the file is none."""
    try:
        plain = msgspec.json.decode(path.read_bytes(), type=dict[str, list[float] | float])
        fill, scale, weights = (np.asarray(plain[name], np.float64) for name in ("fill", "scale", "weights"))
        return Model(fill, scale, weights, float(plain["intercept"]))  # type: ignore[arg-type]
    except (OSError, KeyError, TypeError, msgspec.DecodeError) as err:
        raise DataError(f"{path}: not a saved logistic regression. Train it again.") from err


def _column_means(matrix: csr_matrix) -> NDArray[np.float64]:
    """Mean of the values that are present; entries that are not stored are zeros."""
    present = csr_matrix(matrix, dtype=np.float64, copy=True)
    missing = np.isnan(present.data)
    present.data[missing] = 0.0
    absences = np.bincount(present.indices[missing], minlength=matrix.shape[1])
    totals = np.asarray(present.sum(axis=0)).ravel()
    return totals / np.maximum(matrix.shape[0] - absences, 1)


def _transformed(matrix: csr_matrix, fill: NDArray[np.float64], scale: NDArray[np.float64]) -> csr_matrix:
    result = csr_matrix(matrix, dtype=np.float64, copy=True)
    values = np.where(np.isnan(result.data), fill[result.indices], result.data)
    result.data = np.sign(values) * np.log1p(np.abs(values)) / scale[result.indices]
    return result


def _deviations(matrix: csr_matrix) -> NDArray[np.float64]:
    """Standard deviation of each column; 1 where it does not vary."""
    mean = np.asarray(matrix.mean(axis=0)).ravel()
    square = np.asarray(matrix.multiply(matrix).mean(axis=0)).ravel()
    deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
    return np.where(deviation > 1e-9, deviation, 1.0)


def _log_loss(probability: NDArray[np.float64], y: NDArray[np.bool_]) -> float:
    clipped = np.clip(probability, 1e-12, 1 - 1e-12)
    return float(-np.mean(np.where(y, np.log(clipped), np.log1p(-clipped))))
