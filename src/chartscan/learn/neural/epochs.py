"""Epochs of training and evaluation, of token rows and of time series."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import nn

from chartscan.batch import Batch, Loss, SeriesBatch
from chartscan.inputs.batches import Rows, Sampler, TokenStore, collate, samples_in
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

# A model with its head, and what both say about rows of tokens or stays.


class InOrder(Protocol):
    """Batches that show every sample once, each with the places of its samples."""

    def in_order(self) -> Iterator[tuple[np.ndarray, Any]]: ...


class Trainee(nn.Module):
    """A model with the head of one objective: called on a batch, it returns the loss."""

    model: Any
    head: Any

    def __init__(self, model: nn.Module, head: nn.Module):
        super().__init__()
        self.model, self.head = model, head

    def forward(self, batch: Any) -> Loss:
        """The loss of the head's objective on a batch."""
        found: Loss = self.head.loss(self.model, batch)
        return found


def mean_loss(module: nn.Module, data: InOrder) -> float:
    """Mean loss over all samples of a module that returns the loss of a batch."""
    total, weight = 0.0, 0.0
    for _, batch in data.in_order():
        loss: Loss = module(batch.to(device_of(module)))
        total, weight = total + float(loss.total), weight + float(loss.weight)
    return total / max(weight, 1.0)


@torch.no_grad()
def logits_of(trainee: Any, data: InOrder, *shape: int) -> np.ndarray:
    """Logits of all samples, in their order: (n,), or (n, T) where a sample has an answer to each task."""
    trainee.eval()
    logits = np.zeros(shape)
    for samples, batch in data.in_order():
        answers = trainee.head.predict(trainee.model, batch.to(device_of(trainee)))
        logits[samples] = answers.double().cpu().numpy()
    return logits


def device_of(module: nn.Module) -> torch.device:
    """Where the weights are."""
    return next(module.parameters()).device


# Rows of a token store as training batches: a pure function of (epoch, index), as exact resume wants it.


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


# Stays as training batches: with their answers, or cut short with what came next.
# Each batch is a pure function of (epoch, index), as exact resume wants it.

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
