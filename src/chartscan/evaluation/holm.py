"""Holm's correction: p-values of several tests, so that one false finding among all of them is rare."""

from collections.abc import Sequence

import numpy as np


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values, in order: those at most alpha are found with a family-wise error of at most alpha.

    The k-th smallest (from 0) of n is multiplied by n - k, never below a smaller one's result, at most 1.
    Holm 1979, Scandinavian Journal of Statistics 6:65.
    """
    order = np.argsort(p, kind="stable")
    found = np.asarray(p, dtype=np.float64)[order] * (len(p) - np.arange(len(p)))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(found), 1)
    return adjusted.tolist()
