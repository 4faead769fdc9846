"""Stays -> batches of series models: a store of triplets and its rows.

The carried state is made from the events of each batch, or kept where an epoch will ask for it again. Every
batch is a pure function of the store, seed, epoch and its indices.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import torch

from chartscan.batch import ForecastWindow, SeriesBatch
from chartscan.inputs.hourly import CHANNELS, Stay, Variables, carried_grid, steps_of

Needs = Literal["triplets", "carried"]

FIRST_CUT_HOURS = 12.0  # STraTS: pretraining shows at least 720 minutes,
FORECAST_HOURS = 2.0  # and asks for what comes in the next 120
POOL = 16  # batches
KEPT_BYTES = 2 << 30  # 2 GiB: 15,000 stays of 48 h with 37 variables
_ROUNDING_HOURS = 1e-4  # hours are float32: a window's end includes the instant itself


@dataclass(frozen=True)
class SeriesStore:
    """The scaled triplets of n stays, N in all; about 10 bytes an event.

    `kept` holds the carried state of all stays, or is None. Made for each batch it costs 0.75 s of one core
    an epoch of 4,000 stays of 48 h with 37 variables; kept as float32 0.03 s and 570 MB; kept as float16
    0.3 s, and what a live record gives would then differ from what was trained on.
    """

    bounds: np.ndarray  # (n + 1,) int64, where each stay's events begin
    hours: np.ndarray  # (N,) float32
    variables: np.ndarray  # (N,) int16, 1 .. V
    values: np.ndarray  # (N,) float32, scaled
    statics: np.ndarray  # (n, S) float32
    ends: np.ndarray  # (n,) float64 hours
    labels: np.ndarray  # (n, T) float32, NaN where not known
    n_variables: int
    window_hours: float
    max_events: int
    kept: np.ndarray | None = None  # (n, H, V, C) float32

    @classmethod
    def build(cls, stays: Sequence[Stay], labels: np.ndarray, variables: Variables) -> "SeriesStore":
        """A store of `stays` and their `labels` (n, T), in this order."""
        lengths = np.array([len(stay.hours) for stay in stays], dtype=np.int64)
        numbers = _joined([stay.variables for stay in stays], np.int16)
        values = _joined([stay.values for stay in stays], np.float32)
        statics = np.array([stay.statics for stay in stays], dtype=np.float32)
        return cls(
            bounds=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            hours=_joined([stay.hours for stay in stays], np.float32),
            variables=numbers,
            values=variables.scaled(numbers, values),
            statics=statics.reshape(len(stays), variables.n_statics),
            ends=np.array([stay.end_hours for stay in stays], dtype=np.float64),
            labels=np.asarray(labels, dtype=np.float32),
            n_variables=variables.n_variables,
            window_hours=variables.config.window_hours,
            max_events=variables.config.max_events,
        )

    def __len__(self) -> int:
        return len(self.ends)

    def keep_carried(self, limit_bytes: int = KEPT_BYTES) -> "SeriesStore":
        """Return the store with its carried state kept, unless it is over the limit."""
        steps = int(self.lengths("carried").max(initial=1))
        shape = len(self), steps, self.n_variables, len(CHANNELS)
        if self.kept is not None or math.prod(shape) * 4 > limit_bytes:
            return self
        kept = np.zeros(shape, dtype=np.float32)
        for part in _pieces(np.arange(len(self)), 64):
            grid = _grid(self, _whole(self, part))
            kept[part, : grid.shape[1]] = grid
        return replace(self, kept=kept)

    def lengths(self, needs: Needs) -> np.ndarray:
        """Return the cost of each stay's row (n,): its steps or events shown."""
        if needs == "carried":
            return np.minimum(steps_of(self.ends), math.ceil(self.window_hours))
        return np.minimum(np.diff(self.bounds), self.max_events)

    def cut(self, needs: Needs) -> np.ndarray:
        """Whether each stay (n,) is longer than its row, without its oldest events."""
        if needs == "carried":
            return self.ends > self.window_hours
        return np.diff(self.bounds) > self.max_events


def collate_series(store: SeriesStore, indices: np.ndarray, needs: Needs) -> SeriesBatch:
    """The stays `indices` as one batch, each up to its end."""
    return _batch(store, _whole(store, indices), needs, None)


@dataclass(frozen=True)
class Windows:
    """W pretraining rows: a stay up to a cut, and each variable's next hours."""

    stays: np.ndarray  # (W,) int64, index into the store
    cuts: np.ndarray  # (W,) float32 hours; events at the cut are seen
    ends: np.ndarray  # (W,) int64, index into the store's events just after the last one seen
    lengths: np.ndarray  # (W,) int64, events shown

    def __len__(self) -> int:
        return len(self.stays)


def forecast_windows(
    store: SeriesStore, seed: int, epoch: int, first_cut_hours: float = FIRST_CUT_HOURS
) -> Windows:
    """One window of each stay, its cut drawn anew in every epoch.

    STraTS (Tipirneni & Reddy 2022) and HyMaTE: the cut is uniform among the distinct times of the stay from
    `first_cut_hours` on, the last one left out; a stay without any has no window.
    """
    owners = _owners(store)
    starts = np.flatnonzero(
        (np.diff(owners, prepend=-1) != 0) | (np.diff(store.hours, prepend=np.float32(-1)) != 0)
    )
    owners = owners[starts]  # (distinct times,)
    last_of_stay = np.diff(owners, append=-1) != 0
    allowed = (store.hours[starts] >= first_cut_hours - _ROUNDING_HOURS) & ~last_of_stay
    starts, owners = starts[allowed], owners[allowed]
    stays, begins, counts = np.unique(owners, return_index=True, return_counts=True)
    draws = np.random.default_rng([seed, epoch]).random(len(store))[stays]
    cuts = store.hours[starts[begins + (draws * counts).astype(np.int64)]]
    ends = _seen(store, stays, cuts)
    return Windows(stays, cuts, ends, np.minimum(ends - store.bounds[stays], store.max_events))


def tuning_windows(store: SeriesStore, seed: int, draws: int = 3) -> Windows:
    """Windows to evaluate pretraining on: `draws` of each stay, always the same."""
    return _concatenated([forecast_windows(store, seed, epoch) for epoch in range(draws)])


def collate_windows(
    store: SeriesStore,
    windows: Windows,
    indices: np.ndarray,
    needs: Needs,
    forecast_hours: float = FORECAST_HOURS,
) -> SeriesBatch:
    """Return the windows `indices` as one batch.

    Its ends are the cuts; its labels are those of the stays. The target of a variable is its first value in
    (cut, cut + forecast_hours].
    """
    stays, cuts, ends = windows.stays[indices], windows.cuts[indices], windows.ends[indices]
    targets = np.zeros((len(stays), store.n_variables), dtype=np.float32)
    observed = np.zeros(targets.shape, dtype=np.bool_)
    until = _seen(store, stays, cuts + np.float32(forecast_hours))
    rows, events = _ranges(ends, until)
    rows, events = rows[::-1], events[::-1]  # the first value of a variable is written last, and stays
    targets[rows, store.variables[events] - 1] = store.values[events]
    observed[rows, store.variables[events] - 1] = True
    forecast = ForecastWindow(torch.from_numpy(targets), torch.from_numpy(observed))
    return _batch(store, _Shown(stays, ends, cuts.astype(np.float64)), needs, forecast)


@dataclass(frozen=True)
class SeriesSampler:
    """Batches of `batch_size` rows, shuffled; of `POOL` batches the rows of like length go together."""

    lengths: np.ndarray  # (R,) int64
    batch_size: int
    seed: int = 0

    def epoch(self, number: int) -> list[np.ndarray]:
        """Row indices of each batch of an epoch; every row once."""
        random = np.random.default_rng([self.seed, number])
        order = random.permutation(len(self.lengths))
        pools = _pieces(order, self.batch_size * POOL)
        sorted_pools = [pool[np.argsort(self.lengths[pool], kind="stable")] for pool in pools]
        batches = [batch for pool in sorted_pools for batch in _pieces(pool, self.batch_size)]
        return [batches[i] for i in random.permutation(len(batches))]

    def in_order(self) -> list[np.ndarray]:
        """Batches from the shortest rows to the longest, for prediction."""
        return _pieces(np.argsort(self.lengths, kind="stable"), self.batch_size)


@dataclass(frozen=True)
class _Shown:
    """What a batch shows of B stays."""

    stays: np.ndarray  # (B,) int64
    ends: np.ndarray  # (B,) int64, index just after the last event seen
    hours: np.ndarray  # (B,) float64, end of what is shown
    whole: bool = False  # all of each stay


def _whole(store: SeriesStore, indices: np.ndarray) -> _Shown:
    return _Shown(indices, store.bounds[indices + 1], store.ends[indices], whole=True)


def _batch(store: SeriesStore, shown: _Shown, needs: Needs, forecast: ForecastWindow | None) -> SeriesBatch:
    begins = np.maximum(store.bounds[shown.stays], shown.ends - store.max_events)
    lengths = shown.ends - begins if needs == "triplets" else np.zeros_like(begins)
    inside = np.arange(lengths.max(initial=0)) < lengths[:, None]  # (B, L)
    _, events = _ranges(begins, begins + lengths)
    grid, steps = _carried(store, shown) if needs == "carried" else (None, None)
    return SeriesBatch(
        hours=_padded(store.hours[events], inside, np.float32),
        variables=_padded(store.variables[events], inside, np.int64),
        values=_padded(store.values[events], inside, np.float32),
        lengths=torch.from_numpy(lengths),
        statics=torch.from_numpy(store.statics[shown.stays]),
        ends=torch.from_numpy(shown.hours.astype(np.float32)),
        labels=torch.from_numpy(store.labels[shown.stays]),
        carried=grid,
        steps=steps,
        forecast=forecast,
    )


def _carried(store: SeriesStore, shown: _Shown) -> tuple[torch.Tensor, torch.Tensor]:
    """Carried state (B, H, V, C) and its steps (B,)."""
    steps = np.minimum(steps_of(shown.hours), math.ceil(store.window_hours))
    if store.kept is not None and shown.whole:
        grid = store.kept[shown.stays][:, : steps.max(initial=1)]
    else:
        grid = _grid(store, shown)
    return torch.from_numpy(np.ascontiguousarray(grid)), torch.from_numpy(steps)


def _grid(store: SeriesStore, shown: _Shown) -> np.ndarray:
    rows, events = _ranges(store.bounds[shown.stays], shown.ends)
    return carried_grid(
        rows,
        store.hours[events],
        store.variables[events],
        store.values[events],
        steps_of(shown.hours),
        store.n_variables,
        math.ceil(store.window_hours),
    )


def _padded(values: np.ndarray, inside: np.ndarray, dtype: type) -> torch.Tensor:
    """Values row after row (N,) -> (B, L), zeros where not `inside`."""
    found: np.ndarray = np.zeros(inside.shape, dtype=dtype)
    found[inside] = values
    return torch.from_numpy(found)


def _ranges(begins: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All integers of the ranges begin..end (N,), and which range each is of (N,)."""
    counts = ends - begins
    rows = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return rows, np.repeat(begins, counts) + within


def _owners(store: SeriesStore) -> np.ndarray:
    """The stay of each event (N,)."""
    return np.repeat(np.arange(len(store)), np.diff(store.bounds))


def _seen(store: SeriesStore, stays: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """Index just after the last event of each stay up to and including its cut (W,)."""
    begins, ends = store.bounds[stays].tolist(), store.bounds[stays + 1].tolist()
    limits = (cuts + np.float32(_ROUNDING_HOURS)).tolist()
    found = [
        begin + int(np.searchsorted(store.hours[begin:end], limit, side="right"))
        for begin, end, limit in zip(begins, ends, limits, strict=True)
    ]
    return np.array(found, dtype=np.int64)


def _concatenated(windows: Sequence[Windows]) -> Windows:
    return Windows(*(np.concatenate([getattr(w, f.name) for w in windows]) for f in fields(Windows)))


def _joined(parts: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate(parts).astype(dtype) if parts else np.zeros(0, dtype=dtype)


def _pieces(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """`rows` in pieces of `size`, the last perhaps smaller."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]
