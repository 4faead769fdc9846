"""Rows of a token store as training batches: a pure function of (epoch, index), as exact resume wants it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from chartscan.batch import Batch
from chartscan.inputs.batches import Rows, Sampler, TokenStore, collate, samples_in


@dataclass(frozen=True)
class Epochs:
    """Rows of a store as training batches; a pure function of (epoch, index)."""

    store: TokenStore
    rows: Rows
    sampler: Sampler

    @cached_property
    def _cache(self) -> dict[int, list[np.ndarray]]:
        return {}

    def _batches(self, epoch: int) -> list[np.ndarray]:
        if epoch not in self._cache:
            self._cache[epoch] = self.sampler.epoch(epoch)
        return self._cache[epoch]

    def n_batches(self, epoch: int) -> int:
        return len(self._batches(epoch))

    @property
    def tokens(self) -> int:
        """Of all batches of the first epoch, padding included; others are packed a little otherwise."""
        return sum(len(rows) * int(self.rows.lengths[rows].max()) for rows in self._batches(0))

    def batch(self, epoch: int, index: int) -> Batch:
        return collate(self.store, self.rows, self._batches(epoch)[index])

    def in_order(self) -> Iterator[tuple[np.ndarray, Batch]]:
        """Every row once, shortest first, with the samples that its prompts answer."""
        for indices in self.sampler.in_order():
            yield samples_in(self.rows, indices), collate(self.store, self.rows, indices)
