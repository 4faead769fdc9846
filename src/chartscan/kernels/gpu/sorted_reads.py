"""States asked for, in the order in which the backward kernel meets them."""

from typing import NamedTuple

import torch
from torch import Tensor


class SortedReads(NamedTuple):
    """`offsets` (B + 1) cut positions and places (R,) by row; a place is an index into the result."""

    offsets: Tensor
    positions: Tensor
    places: Tensor


def sorted_reads(rows: Tensor, positions: Tensor, batch: int, steps: int) -> SortedReads:
    """Sorted by row, position and place."""
    order = torch.argsort(rows.long() * steps + positions, stable=True)
    offsets = torch.searchsorted(rows.long()[order], torch.arange(batch + 1, device=rows.device))
    return SortedReads(offsets, positions.long()[order], order)


def check_reads(rows: Tensor, positions: Tensor, lengths: Tensor | None, batch: int, steps: int) -> None:
    """Raises IndexError where a row or a position does not exist (one wait for the device)."""
    ends = torch.full_like(rows, steps) if lengths is None else lengths[rows.clamp(0, batch - 1)]
    right = (rows >= 0) & (rows < batch) & (positions >= 0) & (positions < ends)
    if not bool(right.all()):
        raise IndexError(f"a state is asked of a row outside 0 to {batch - 1}, or at a step outside its row")
