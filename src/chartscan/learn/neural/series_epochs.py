"""Stays as training batches: with their answers, or cut short with what came next.

Each batch is a pure function of (epoch, index), as exact resume wants it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from chartscan.batch import SeriesBatch
from chartscan.inputs.batches.series import (
    Needs,
    SeriesSampler,
    SeriesStore,
    Windows,
    collate_series,
    collate_windows,
    forecast_windows,
    tuning_windows,
)

TUNING_DRAWS = 3  # windows of each tuning stay, the same at every evaluation (STraTS)


@dataclass(frozen=True)
class Answered:
    """The stays `indices` of a store, for fine-tuning."""

    store: SeriesStore
    indices: np.ndarray  # (n,)
    needs: Needs
    batch_size: int
    seed: int

    @cached_property
    def _sampler(self) -> SeriesSampler:
        return SeriesSampler(self.store.lengths(self.needs)[self.indices], self.batch_size, self.seed)

    @cached_property
    def _cache(self) -> dict[int, list[np.ndarray]]:
        return {}

    def _batches(self, epoch: int) -> list[np.ndarray]:
        if epoch not in self._cache:
            self._cache[epoch] = self._sampler.epoch(epoch)
        return self._cache[epoch]

    def n_batches(self, epoch: int) -> int:
        return len(self._batches(epoch))

    def batch(self, epoch: int, index: int) -> SeriesBatch:
        return self._collated(self._batches(epoch)[index])

    def in_order(self) -> Iterator[tuple[np.ndarray, SeriesBatch]]:
        """Every stay once, shortest first, with its place in `indices`."""
        for places in self._sampler.in_order():
            yield places, self._collated(places)

    def _collated(self, places: np.ndarray) -> SeriesBatch:
        return collate_series(self.store, self.indices[places], self.needs)


class Drawn(NamedTuple):
    """The windows of one epoch and which go together."""

    windows: Windows
    batches: list[np.ndarray]


@dataclass(frozen=True)
class Forecasts:
    """The stays of a store cut at random times, for pretraining; other cuts in every epoch."""

    store: SeriesStore
    needs: Needs
    batch_size: int
    seed: int

    @cached_property
    def _latest(self) -> dict[int, Drawn]:
        return {}

    def _drawn(self, epoch: int) -> Drawn:
        if epoch not in self._latest:
            windows = forecast_windows(self.store, self.seed, epoch)
            self._latest.clear()
            self._latest[epoch] = Drawn(windows, self._sampler(windows).epoch(epoch))
        return self._latest[epoch]

    def _sampler(self, windows: Windows) -> SeriesSampler:
        return SeriesSampler(windows.lengths, self.batch_size, self.seed)

    @cached_property
    def _n_batches(self) -> int:
        return len(self._drawn(0).batches)

    def n_batches(self, epoch: int) -> int:
        """The same in every epoch: a stay has one window or none, wherever it is cut."""
        return self._n_batches

    def batch(self, epoch: int, index: int) -> SeriesBatch:
        windows, batches = self._drawn(epoch)
        return collate_windows(self.store, windows, batches[index], self.needs)

    def in_order(self) -> Iterator[tuple[np.ndarray, SeriesBatch]]:
        """A few fixed windows of every stay, shortest first: for judging."""
        windows = tuning_windows(self.store, self.seed, TUNING_DRAWS)
        for indices in self._sampler(windows).in_order():
            yield indices, collate_windows(self.store, windows, indices, self.needs)
