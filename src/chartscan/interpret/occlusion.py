"""Occlusion: how the log odds change when events were never there.

Events are removed, not set to zero, so that the model sees a shorter record of a kind that it knows. For
models of triplets; a carried state would have to be made anew from what is left.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from chartscan.batch import PAD, SeriesBatch
from chartscan.errors import ConfigError

Score = Callable[[SeriesBatch], Tensor]  # log odds (B,) of one task
Progress = Callable[[int, int | None], None]
POSITIONS = 1 << 16  # in one pass


def real_events(batch: SeriesBatch) -> Tensor:
    """(B, L) bool: not padding."""
    return torch.arange(batch.hours.shape[1], device=batch.hours.device) < batch.lengths.unsqueeze(1)


def without(batch: SeriesBatch, removed: Tensor) -> SeriesBatch:
    """The batch without the events where `removed` (B, L) is true; the others keep their order."""
    if batch.carried is not None:
        raise ConfigError("Events can be removed from triplets only; this batch holds a carried state.")
    kept = real_events(batch) & ~removed
    lengths = kept.sum(1)
    order = _kept_first(kept, lengths)
    real = torch.arange(order.shape[1], device=order.device) < lengths.unsqueeze(1)
    return replace(
        batch,
        hours=batch.hours.gather(1, order).masked_fill(~real, 0.0),
        variables=batch.variables.gather(1, order).masked_fill(~real, PAD),
        values=batch.values.gather(1, order).masked_fill(~real, 0.0),
        lengths=lengths,
    )


def rows_of(batch: SeriesBatch, rows: Tensor) -> SeriesBatch:
    """The stays at `rows`, which may repeat; without carried state and forecast."""
    return SeriesBatch(
        hours=batch.hours[rows],
        variables=batch.variables[rows],
        values=batch.values[rows],
        lengths=batch.lengths[rows],
        statics=batch.statics[rows],
        ends=batch.ends[rows],
        labels=batch.labels[rows],
    )


@torch.no_grad()
def occlusion(score: Score, batch: SeriesBatch, groups: Tensor, progress: Progress | None = None) -> Tensor:
    """Log odds of each stay less those without the events of a group, (B, G); 0 where a stay has none.

    `groups` (B, L) numbers the events' groups 0 .. G - 1; events of one group are removed together.
    """
    real = real_events(batch)
    n_groups = int(groups[real].max()) + 1 if bool(real.any()) else 0
    changes = batch.hours.new_zeros(len(batch.lengths), n_groups)
    pairs = _present(groups, real)  # (K, 2) row and group
    whole = score(batch)
    at_once = max(1, POSITIONS // max(batch.hours.shape[1], 1))
    for first in range(0, len(pairs), at_once):
        rows, which = pairs[first : first + at_once].T
        some = rows_of(batch, rows)
        less = score(without(some, groups[rows] == which.unsqueeze(1)))
        changes[rows, which] = whole[rows] - less
        if progress:
            progress(min(first + at_once, len(pairs)), len(pairs))
    return changes


def of_events(score: Score, batch: SeriesBatch, progress: Progress | None = None) -> Tensor:
    """What each event by itself adds, (B, L); 0 at padding."""
    positions = torch.arange(batch.hours.shape[1], device=batch.hours.device)
    found = occlusion(score, batch, positions.expand_as(batch.variables), progress)
    return torch.nn.functional.pad(found, (0, batch.hours.shape[1] - found.shape[1]))


def _present(groups: Tensor, real: Tensor) -> Tensor:
    """(K, 2): the pairs of row and group that occur, sorted."""
    rows = torch.arange(len(groups), device=groups.device).unsqueeze(1).expand_as(groups)
    return torch.stack([rows[real], groups[real]], 1).unique(dim=0)


def _kept_first(kept: Tensor, lengths: Tensor) -> Tensor:
    """Positions of the kept events in their order, then of others, cut to the most that any row keeps."""
    longest = int(lengths.max()) if len(lengths) else 0
    return torch.argsort((~kept).to(torch.uint8), dim=1, stable=True)[:, :longest]
