"""States asked for, in the order in which the kernels meet them."""

from typing import NamedTuple

import torch
from torch import Tensor

from chartscan.kernels.native.checks import pointer


class Reads(NamedTuple):
    """`offsets` (B + 1) cut positions and places (R,) by row; a place is an index into the result."""

    offsets: Tensor
    positions: Tensor
    places: Tensor

    def pointers(self) -> tuple[int, int, int]:
        return pointer(self.offsets), pointer(self.positions), pointer(self.places)


def reads(
    rows: Tensor | None, positions: Tensor | None, lengths: Tensor | None, shape: torch.Size
) -> Reads | None:
    """What `rows`, `positions` (R,) ask of a (B, L, .) sequence, by row and position; None for nothing.

    Raises IndexError where a row or a position does not exist.
    """
    if rows is None or positions is None or len(rows) == 0:
        return None
    if rows.shape != positions.shape:
        raise ValueError(f"{len(rows)} rows and {len(positions)} positions; expected as many of each")
    batch, steps = shape[:2]
    rows, positions = rows.long(), positions.long()
    if rows.min() < 0 or rows.max() >= batch:
        raise IndexError(f"a state is asked of a row outside 0 to {batch - 1}")
    ends = torch.full_like(rows, steps) if lengths is None else lengths[rows]
    if positions.min() < 0 or bool((positions >= ends).any()):
        raise IndexError("a state is asked at a position outside its row")
    order = torch.argsort(rows * steps + positions, stable=True)
    offsets = torch.searchsorted(rows[order], torch.arange(batch + 1))
    return Reads(offsets, positions[order].contiguous(), order)
