"""Simulated long records with a planted signal, whose best possible AUROC is known for every context.

Each record has N events of common variables that mean nothing, and something rare at a place drawn anywhere:
an episode in which a variable that is measured at no other time is high or low, or (harder) two rare events
of which one came last. That decides the risk of the outcome. A model that sees the latest C events knows the
risk if the last rare event is among them, however far back; else it can only know the base rate. So a longer
context is worth something, and how much is known.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from chartscan.batch import SeriesBatch
from chartscan.errors import ConfigError
from chartscan.metrics.discrimination import auroc

HOURS = 48.0
RARE = 2  # variables 1 and 2; the common ones follow
EVERY = 4  # events of an episode for each one of the rare variable


class LongConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the records are like."""

    events: int = 32_768  # of a whole record
    common: int = 30  # variables without meaning
    signal: Literal["episode", "order"] = "episode"
    episode: float = 0.02  # share of the record that an episode lasts
    low: float = 0.1  # risk after a low episode, or where variable 1 came last
    high: float = 0.9  # risk after a high episode, or where variable 2 came last

    def __post_init__(self) -> None:
        sound = self.events >= 2 and self.common >= 1 and 0 < self.episode <= 1
        if not sound or not 0 <= self.low < self.high <= 1:
            raise ConfigError(
                "Long records need events >= 2, common >= 1, 0 < episode <= 1 and 0 <= low < high <= 1."
            )

    @property
    def n_variables(self) -> int:
        """Common and rare ones."""
        return self.common + RARE

    @property
    def episode_events(self) -> int:
        """Events of an episode, rare and common."""
        return max(1, round(self.events * self.episode))


class Planted(NamedTuple):
    """What decides the outcome of R records."""

    last: NDArray[np.int64]  # (R,) place of the last rare event, 0 .. N - 1
    high: NDArray[np.bool_]  # (R,) the risk is the high one
    labels: NDArray[np.bool_]  # (R,)


class _Rare(NamedTuple):
    """The rare events of one record."""

    places: NDArray[np.int64]  # ascending
    variables: NDArray[np.int64]
    values: NDArray[np.float32] | None  # None: they mean nothing
    high: bool


@dataclass(frozen=True)
class LongRecords:
    """Records `first` .. `first` + `count` - 1 of a seed; record i is the same in any number of them."""

    config: LongConfig
    seed: int
    first: int
    count: int

    def planted(self) -> Planted:
        """What decides the outcomes."""
        drawn = [self._drawn(i) for i in range(self.count)]
        last, high, labels = zip(*((rare.places[-1], rare.high, y) for rare, y in drawn), strict=True)
        return Planted(np.array(last), np.array(high), np.array(labels))

    def batch(self, rows: NDArray[np.int64], context: int) -> SeriesBatch:
        """The latest `context` events of the records at `rows`, values and times as models want them."""
        records = [self._record(int(row), context) for row in rows]
        hours, variables, values, labels = (np.stack(column) for column in zip(*records, strict=True))
        n = len(rows)
        return SeriesBatch(
            hours=torch.from_numpy(hours),
            variables=torch.from_numpy(variables),
            values=torch.from_numpy(values),
            lengths=torch.full((n,), hours.shape[1], dtype=torch.int64),
            statics=torch.zeros(n, 1),
            ends=torch.full((n,), HOURS),
            labels=torch.from_numpy(labels).float().unsqueeze(1),
        )

    def _drawn(self, row: int) -> tuple[_Rare, bool]:
        """The rare events, and the outcome."""
        random = np.random.default_rng([self.seed, self.first + row, 0])
        rare = (_episode if self.config.signal == "episode" else _order)(self.config, random)
        risk = self.config.high if rare.high else self.config.low
        return rare, bool(random.random() < risk)

    def _record(self, row: int, context: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.bool_]:
        c = self.config
        rare, label = self._drawn(row)
        random = np.random.default_rng([self.seed, self.first + row, 1])
        variables = random.integers(RARE + 1, c.n_variables + 1, c.events)
        values = random.standard_normal(c.events).astype(np.float32)
        hours = np.sort(random.uniform(0, HOURS, c.events)).astype(np.float32)
        variables[rare.places] = rare.variables
        if rare.values is not None:
            values[rare.places] = rare.values
        seen = slice(max(c.events - context, 0), None)
        return hours[seen], variables[seen], values[seen], np.bool_(label)


def _episode(config: LongConfig, random: np.random.Generator) -> _Rare:
    n = config.episode_events
    start = int(random.integers(0, config.events - n + 1))
    places = np.unique(np.append(np.arange(start, start + n, EVERY), start + n - 1))
    high = bool(random.random() < 0.5)
    level = np.float32(1 if high else -1)
    return _Rare(places, np.ones(len(places), np.int64), np.full(len(places), level), high)


def _order(config: LongConfig, random: np.random.Generator) -> _Rare:
    places = np.sort(random.choice(config.events, 2, replace=False))
    high = bool(random.random() < 0.5)
    return _Rare(places, np.array([1, 2] if high else [2, 1]), None, high)


def best_risks(planted: Planted, config: LongConfig, context: int) -> NDArray[np.float64]:
    """The risk of each record given its latest `context` events: what the best possible model would say.

    High and low are equally likely wherever the last rare event is, so that not seeing it says nothing.
    """
    seen = planted.last >= config.events - context
    known = np.where(planted.high, config.high, config.low)
    return np.where(seen, known, (config.low + config.high) / 2)


def ceiling(records: LongRecords, context: int) -> float:
    """AUROC of the best possible model on these very records."""
    planted = records.planted()
    return auroc(planted.labels, best_risks(planted, records.config, context))


def expected_ceiling(config: LongConfig, context: int) -> float:
    """The same for endless records.

    A positive and a negative are ranked right, tied or wrong by their risks high, middle and low.
    """
    unseen = 1 - share_seen(config, context)
    shares = np.array([(1 - unseen) / 2, unseen, (1 - unseen) / 2])
    risks = np.array([config.low, (config.low + config.high) / 2, config.high])
    positive, negative = shares * risks, shares * (1 - risks)
    positive, negative = positive / positive.sum(), negative / negative.sum()
    below = np.cumsum(negative) - negative
    return float(positive @ (below + negative / 2))


def share_seen(config: LongConfig, context: int) -> float:
    """Probability that the last rare event is among the latest `context` events."""
    n, c = config.events, min(context, config.events)
    if config.signal == "order":
        return 1 - (n - c) * (n - c - 1) / (n * (n - 1))
    starts = n - config.episode_events + 1  # equally likely
    return min(c, starts) / starts
