"""Gradient-boosted trees on counts: the baseline every sequence model has to beat.

Tuned to be strong: small steps, many trees, stopped where the tuning split says so. Classes are not
reweighted, so that probabilities stay calibrated (the published baseline reweights and does not stop).
An entry that is not stored in the sparse matrix is a missing value for XGBoost, in fitting and predicting
alike; as counts store no zeros, "missing" means "none".
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import xgboost as xgb
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from chartscan.errors import DataError
from chartscan.tabular._checks import check_training, check_width


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the trees; defaults do well from some hundred to some ten thousand rows."""

    max_trees: int = 3000  # with a tuning split, stopped early
    trees: int = 200  # without one
    patience: int = 50  # trees without a better tuning log loss
    learning_rate: float = 0.05
    max_depth: int = 6
    min_child_weight: float = 2.0
    subsample: float = 0.8
    column_sample: float = 0.5  # of the columns, per tree
    l2: float = 1.0


DEFAULT = Config()


@dataclass(frozen=True)
class Model:
    """A fitted ensemble."""

    booster: xgb.Booster

    @property
    def trees(self) -> int:
        """Trees in use: up to the best one of the tuning split."""
        return self.booster.num_boosted_rounds()

    def predict_proba(self, matrix: csr_matrix) -> NDArray[np.float64]:
        """Probability of the positive class, (rows,). DataError if the columns are not those fitted on."""
        check_width(matrix, self.booster.num_features())
        if not matrix.shape[0]:
            return np.empty(0)
        return self.booster.predict(_matrix(matrix)).astype(np.float64)

    def save(self, path: Path) -> None:
        """Write the model as XGBoost's own JSON."""
        path.write_bytes(self.booster.save_raw("json"))


def fit(
    matrix: csr_matrix,
    y: NDArray[np.bool_],
    *,
    tuning: tuple[csr_matrix, NDArray[np.bool_]] | None = None,
    config: Config = DEFAULT,
    seed: int = 0,
    threads: int = 1,
) -> Model:
    """Trees fitted on `matrix`, as many as minimise the log loss of `tuning` (if it has rows).

    Same data, settings and seed give the same model for every number of threads on one machine kind.
    DataError if `y` has one class.
    """
    check_training(matrix, y)
    train = _matrix(matrix, y, threads)
    parameters = _parameters(config, seed, threads)
    if tuning is None or not tuning[0].shape[0]:
        return Model(xgb.train(parameters, train, num_boost_round=config.trees))
    booster = xgb.train(
        parameters,
        train,
        num_boost_round=config.max_trees,
        evals=[(_matrix(*tuning, threads), "tuning")],
        early_stopping_rounds=config.patience,
        verbose_eval=False,
    )
    return Model(booster[: booster.best_iteration + 1])


def load(path: Path) -> Model:
    """The model that `Model.save` wrote. DataError if the file is none."""
    booster = xgb.Booster()
    try:
        booster.load_model(bytearray(path.read_bytes()))
    except (OSError, xgb.core.XGBoostError) as err:
        raise DataError(f"{path}: not a saved XGBoost model. Train it again.") from err
    return Model(booster)


def _parameters(config: Config, seed: int, threads: int) -> dict[str, object]:
    return {
        "objective": "binary:logistic",
        "eval_metric": "logloss",
        "tree_method": "hist",
        "learning_rate": config.learning_rate,
        "max_depth": config.max_depth,
        "min_child_weight": config.min_child_weight,
        "subsample": config.subsample,
        "colsample_bytree": config.column_sample,
        "reg_lambda": config.l2,
        "seed": seed,
        "nthread": threads,
    }


def _matrix(matrix: csr_matrix, y: NDArray[np.bool_] | None = None, threads: int = 1) -> xgb.DMatrix:
    label = None if y is None else np.asarray(y, np.float32)
    return xgb.DMatrix(csr_matrix(matrix), label=label, nthread=threads)
