"""Logistic regression: the simple baseline, and the one whose weights can be read.

Counts enter as logarithms, scaled but not centred, so that the matrix stays sparse; dense features as their
logarithms, as they are, or as normal quantiles of their ranks, all centred and scaled, a missing value (NaN)
at the mean of its column, beside a flag where wanted.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.linear_model import LogisticRegression

from chartscan import files
from chartscan.errors import ConfigError, DataError
from chartscan.tabular._checks import Matrix, check_config, check_training, check_width
from chartscan.tabular._columns import GREATEST, Columns, Scale, columns_from, fit_columns


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
    """The regression whose L2 penalty gives the best log loss on `tuning` (if it has rows).

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


def _log_loss(probability: NDArray[np.float64], y: NDArray[np.bool_]) -> float:
    clipped = np.clip(probability, 1e-12, 1 - 1e-12)
    return float(-np.mean(np.where(y, np.log(clipped), np.log1p(-clipped))))
