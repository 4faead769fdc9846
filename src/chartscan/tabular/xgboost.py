"""Gradient-boosted trees: the baseline every network has to beat.

Tuned to be strong: small steps, many trees, stopped where the tuning split says so. Classes are not
reweighted, so that probabilities stay calibrated (the published baseline reweights and does not stop).
An entry that is not stored in a sparse matrix is a missing value for XGBoost, in fitting and predicting
alike; as counts store no zeros, "missing" means "none". In a dense matrix only NaN is missing.
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import xgboost as xgb
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from chartscan import files
from chartscan.errors import DataError
from chartscan.tabular import Matrix, check_config, check_training, check_width
from chartscan.tabular._trees import checked_trees


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the trees; defaults do well from some hundred to some ten thousand rows."""

    max_trees: int = 3000  # with a tuning split, stopped early
    trees: int = 200  # without one, or without patience
    patience: int | None = 50  # trees without a better tuning log loss; None: never stop early
    learning_rate: float = 0.05
    max_depth: int = 6  # 0: no limit, where max_leaves is one
    max_leaves: int = 0  # above 0: trees grow where they gain most, up to this many leaves; 0: level by level
    min_child_weight: float = 2.0
    subsample: float = 0.8
    column_sample: float = 0.5  # of the columns, per tree
    column_sample_by_node: float = 1.0  # of a tree's columns, at each split
    min_gain: float = 0.0  # of a split
    l1: float = 0.0
    l2: float = 1.0
    max_bins: int = 256  # of each column

    def __post_init__(self) -> None:
        check_config(
            max_trees=self.max_trees >= 1,
            trees=self.trees >= 1,
            patience=self.patience is None or self.patience >= 1,
            learning_rate=self.learning_rate > 0,
            max_depth=self.max_depth >= (0 if self.max_leaves else 1),
            max_leaves=self.max_leaves == 0 or self.max_leaves >= 2,
            min_child_weight=self.min_child_weight >= 0,
            subsample=0 < self.subsample <= 1,
            column_sample=0 < self.column_sample <= 1,
            column_sample_by_node=0 < self.column_sample_by_node <= 1,
            min_gain=self.min_gain >= 0,
            l1=self.l1 >= 0,
            l2=self.l2 >= 0,
            max_bins=self.max_bins >= 2,
        )


DEFAULT = Config()


@dataclass(frozen=True)
class Model:
    """A fitted ensemble."""

    booster: xgb.Booster

    @property
    def trees(self) -> int:
        """Trees in use: up to the best one of the tuning split."""
        return self.booster.num_boosted_rounds()

    def predict_proba(self, matrix: Matrix) -> NDArray[np.float64]:
        """Probability of the positive class, (rows,). DataError if the columns are not those fitted on."""
        check_width(matrix, self.booster.num_features())
        if not matrix.shape[0]:
            return np.empty(0)
        return self.booster.predict(_matrix(matrix)).astype(np.float64)

    def save(self, path: Path) -> None:
        """Write the model as XGBoost's own JSON."""
        files.write_bytes(path, bytes(self.booster.save_raw("json")))


def fit(
    matrix: Matrix,
    y: NDArray[np.bool_],
    *,
    tuning: tuple[Matrix, NDArray[np.bool_]] | None = None,
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
    if tuning is None or not tuning[0].shape[0] or config.patience is None:
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
        booster.load_model(bytearray(checked_trees(path)))
    except (OSError, ValueError, xgb.core.XGBoostError) as err:
        raise DataError(f"{path}: not a saved XGBoost model. Train it again.") from err
    return Model(booster)


def _parameters(config: Config, seed: int, threads: int) -> dict[str, object]:
    return {
        "objective": "binary:logistic",
        "eval_metric": "logloss",
        "tree_method": "hist",
        "learning_rate": config.learning_rate,
        "max_depth": config.max_depth,
        "grow_policy": "lossguide" if config.max_leaves else "depthwise",
        "max_leaves": config.max_leaves,
        "min_child_weight": config.min_child_weight,
        "subsample": config.subsample,
        "colsample_bytree": config.column_sample,
        "colsample_bynode": config.column_sample_by_node,
        "gamma": config.min_gain,
        "reg_alpha": config.l1,
        "reg_lambda": config.l2,
        "max_bin": config.max_bins,
        "seed": seed,
        "nthread": threads,
    }


def _matrix(matrix: Matrix, y: NDArray[np.bool_] | None = None, threads: int = 1) -> xgb.DMatrix:
    label = None if y is None else np.asarray(y, np.float32)
    data = matrix if isinstance(matrix, np.ndarray) else csr_matrix(matrix)
    return xgb.DMatrix(data, label=label, nthread=threads)
