"""Weights of an ensemble's members: non-negative logistic stacking of their log odds.

Stacked generalisation (Wolpert 1992; non-negative after Breiman 1996, Machine Learning 24:49).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

RIDGE = 1e-6  # on the mean log loss: members that say the same share their weight evenly


@dataclass(frozen=True)
class Blend:
    """Log odds = intercept + members' log odds @ weights."""

    weights: NDArray[np.float64]  # (M,), none negative
    intercept: float = 0.0

    def log_odds(self, members: NDArray[np.float64]) -> NDArray[np.float64]:
        """Blended log odds (n,) of the members' (n, M)."""
        return self.intercept + members @ self.weights


def equal(members: int) -> Blend:
    """The mean of the members' log odds."""
    return Blend(np.full(members, 1 / members))


def stacked(log_odds: NDArray[np.float64], labels: NDArray[np.bool_]) -> Blend:
    """The blend of least log loss on rows (n, M) that taught no member.

    Where every weight would be 0 (no member knows anything about these rows) all count the same.
    """
    members = log_odds.shape[1]
    start = np.append(equal(members).weights, 0.0)
    bounds = [(0.0, None)] * members + [(None, None)]
    found = minimize(
        _loss,
        start,
        (log_odds, labels.astype(np.float64)),
        method="L-BFGS-B",
        jac=True,
        bounds=bounds,
        options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 10_000},
    )
    weights = np.asarray(found.x[:-1], np.float64)
    return Blend(weights, float(found.x[-1])) if weights.any() else equal(members)


def _loss(
    x: NDArray[np.float64], log_odds: NDArray[np.float64], labels: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Mean log loss with the ridge, and its gradient, of weights and intercept `x` (M + 1,)."""
    weights = x[:-1]
    z = log_odds @ weights + x[-1]
    residual = np.exp(-np.logaddexp(0.0, -z)) - labels
    loss = np.mean(np.logaddexp(0.0, z) - labels * z) + RIDGE * weights @ weights
    gradient = np.append(log_odds.T @ residual / len(labels) + 2 * RIDGE * weights, residual.mean())
    return float(loss), gradient
