"""Random numbers of one subject, and measured quantities as evidence about something hidden.

Each subject has its own counter-based generator keyed by (seed, subject index), so subject 17 is the same
person whether 20 or 2,000,000 are simulated. A mirrored trend has values `level + direction * spread * x +
noise` with positions x from -1 to 1 that sum to zero: the values of a rise and of a fall are the same
multiset in reverse order. Because sum(x) = 0, the evidence about the direction does not depend on the level.
"""

from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from math import exp, log
from typing import NamedTuple

import numpy as np

from chartscan.simulator.catalogue import MEASURES

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


class Channel(NamedTuple):
    """A quantity on its working scale (natural logarithm if `logarithmic`)."""

    measure: str
    logarithmic: bool
    level: float  # mean of the level over stays
    level_sd: float
    spread: float  # half the distance between first and last value
    noise: float  # SD of one reading, rounding included

    def recorded(self, value: float) -> float:
        """`value` of the working scale as the laboratory writes it."""
        return round(exp(value) if self.logarithmic else value, MEASURES[self.measure].digits)

    def read(self, recorded: float) -> float:
        """A written value on the working scale."""
        return log(max(recorded, 0.05)) if self.logarithmic else recorded


@cache
def positions(n: int) -> tuple[float, ...]:
    """n places from -1 to 1 that sum to zero; a single one is 0."""
    return tuple(2.0 * i / (n - 1) - 1.0 for i in range(n)) if n > 1 else (0.0,)


def trend_values(channel: Channel, level: float, signed: float, places: tuple[float, ...], draws: Draws):
    """Written values of a trend; `signed` is the direction, +1 or -1."""
    slope = signed * channel.spread
    return [channel.recorded(level + slope * x + draws.normal(0.0, channel.noise)) for x in places]


def direction_evidence(channel: Channel, places: tuple[float, ...], values: list[float]) -> float:
    """log p(values | rising) - log p(values | falling)."""
    moment = sum(x * channel.read(v) for x, v in zip(places, values, strict=True))
    return 2.0 * channel.spread * moment / channel.noise**2


def log_normal_density(value: float, mean: float, variance: float) -> float:
    """Log density of a Gaussian, without the constant."""
    return -0.5 * ((value - mean) ** 2 / variance + log(variance))


class Level(NamedTuple):
    """What is believed of an unknown level: Gaussian mean and variance."""

    mean: float
    variance: float

    def after(self, reading: float, offset: float, variance: float) -> tuple["Level", float]:
        """Return the belief after a reading of level + offset, and its log density."""
        total = self.variance + variance
        gain = self.variance / total
        surprise = reading - offset - self.mean
        density = -0.5 * (surprise * surprise / total + log(total))
        return Level(self.mean + gain * surprise, self.variance * (1.0 - gain)), density


def logistic(x: float) -> float:
    """1 / (1 + exp(-x)) without overflow."""
    if x >= 0:
        return 1.0 / (1.0 + exp(-x))
    e = exp(x)
    return e / (1.0 + e)


def apparent(evidence: float, prior: float) -> float:
    """Expected direction in [-1, 1] given the evidence and the prior probability of rising."""
    return 2.0 * logistic(evidence + log(prior / (1.0 - prior))) - 1.0
