"""Random numbers of one subject, drawn in blocks. Knows nothing of medicine.

Each subject has its own counter-based generator keyed by (seed, subject index), so subject 17 is the same
person whether 20 or 2,000,000 are simulated.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import log

import numpy as np

_BLOCK = 512


class Draws:
    """The stream of random numbers of one subject."""

    __slots__ = ("_generator", "_normals", "_uniforms")

    def __init__(self, seed: int, index: int):
        key = np.array([seed & (2**64 - 1), index], dtype=np.uint64)
        self._generator = np.random.Generator(np.random.Philox(key=key))
        self._uniforms: list[float] = []
        self._normals: list[float] = []

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number in [low, high)."""
        if not self._uniforms:
            self._uniforms = self._generator.random(_BLOCK).tolist()
        return low + (high - low) * self._uniforms.pop()

    def normal(self, mean: float = 0.0, sd: float = 1.0) -> float:
        """A Gaussian number."""
        if not self._normals:
            self._normals = self._generator.standard_normal(_BLOCK).tolist()
        return mean + sd * self._normals.pop()

    def exponential(self) -> float:
        """A waiting time of mean 1."""
        return -log(1.0 - self.uniform())

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.uniform() < probability

    def sign(self, probability: float) -> int:
        """+1 with the given probability, else -1."""
        return 1 if self.uniform() < probability else -1

    def below(self, n: int) -> int:
        """A whole number in 0..n-1."""
        return int(self.uniform() * n)

    def index(self, cumulative: Sequence[float]) -> int:
        """Index drawn from cumulative weights (see `cumulative`)."""
        return bisect_right(cumulative, self.uniform() * cumulative[-1], 0, len(cumulative) - 1)


def cumulative(weights: Sequence[float]) -> tuple[float, ...]:
    """Running sums of `weights`, for `Draws.index`."""
    return tuple(accumulate(weights))
