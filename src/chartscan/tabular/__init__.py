"""Models of a feature matrix: a file holds Config, fit(matrix, y, ...), and load(path).

A fitted model has predict_proba(matrix) and save(path). Files are JSON, never pickle. Here stand the checks
of the data that every model is fitted on.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from chartscan.errors import DataError, check_settings

# Counts are sparse; other features are dense, with NaN where a value is missing.
Matrix: TypeAlias = csr_matrix | NDArray[np.floating]


def check_training(matrix: Matrix, y: NDArray[np.bool_]) -> None:
    """DataError unless there is one label per row and both classes occur."""
    if matrix.shape[0] != len(y):
        raise DataError(f"expected one label per row, found {len(y)} labels for {matrix.shape[0]} rows.")
    if len(np.unique(y)) < 2:
        raise DataError(
            f"{len(y)} training labels are all of one class; nothing can be learned. Use more subjects."
        )


def check_width(matrix: Matrix, width: int) -> None:
    """DataError unless the matrix has the columns that the model was fitted on."""
    if matrix.shape[1] != width:
        raise DataError(f"the model expects {width} feature columns, found {matrix.shape[1]}.")


def check_config(**sound: bool) -> None:
    """ConfigError naming the settings of the model that are not sound."""
    check_settings({f"model.{name}": holds for name, holds in sound.items()})
