"""Occlusion: how the log odds change when events were never there.

Events are removed, not set to zero, so that the model sees a shorter record of a kind that it knows.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from chartscan.interpret.events import AnyBatch, Score, candidates, longest, rows_of, without

Progress = Callable[[int, int | None], None]
POSITIONS = 1 << 16  # in one pass


@torch.no_grad()
def occlusion(
    score: Score[AnyBatch], batch: AnyBatch, groups: Tensor, progress: Progress | None = None
) -> Tensor:
    """Log odds of each row less those without the events of a group, (B, G); 0 where a row has none.

    `groups` (B, L) numbers the events' groups 0 .. G - 1; events of one group are removed together.
    """
    real = candidates(batch)
    n_groups = int(groups[real].max()) + 1 if bool(real.any()) else 0
    changes = torch.zeros(len(batch.lengths), n_groups, device=groups.device)
    pairs = _present(groups, real)  # (K, 2) row and group
    whole = score(batch)
    at_once = max(1, POSITIONS // max(longest(batch), 1))
    for first in range(0, len(pairs), at_once):
        rows, which = pairs[first : first + at_once].T
        some = rows_of(batch, rows)
        less = score(without(some, groups[rows] == which.unsqueeze(1)))
        changes[rows, which] = (whole[rows] - less).to(changes.dtype)
        if progress:
            progress(min(first + at_once, len(pairs)), len(pairs))
    return changes


def of_events(score: Score[AnyBatch], batch: AnyBatch, progress: Progress | None = None) -> Tensor:
    """What each event by itself adds, (B, L); 0 at padding."""
    size = longest(batch)
    positions = torch.arange(size, device=batch.lengths.device).expand(len(batch.lengths), size)
    found = occlusion(score, batch, positions, progress)
    return torch.nn.functional.pad(found, (0, size - found.shape[1]))


def _present(groups: Tensor, real: Tensor) -> Tensor:
    """(K, 2): the pairs of row and group that occur, sorted."""
    rows = torch.arange(len(groups), device=groups.device).unsqueeze(1).expand_as(groups)
    return torch.stack([rows[real], groups[real]], 1).unique(dim=0)
