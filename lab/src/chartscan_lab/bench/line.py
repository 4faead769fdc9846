"""A straight line through a few measurements, and how far it reaches: what a given memory would hold.

The line is honest about itself: its largest residual, and what it would say without each of its points.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Line(NamedTuple):
    """cost = start + slope x size."""

    start: float
    slope: float

    def at(self, size: float) -> float:
        return self.start + self.slope * size

    def largest(self, limit: float) -> int:
        """The largest whole size whose cost is at most `limit`; 0 where there is none."""
        return max(int((limit - self.start) / self.slope + 1e-9), 0) if self.slope > 0 else 0


class Reach(NamedTuple):
    """The largest size within a limit, and its range with each point left out (None: of two points)."""

    largest: int
    least: int | None
    most: int | None
    extrapolated: bool  # beyond what was measured


def through(sizes: Sequence[float], costs: Sequence[float]) -> Line:
    """The line of least squares; two or more different sizes."""
    slope, start = np.polyfit(sizes, costs, 1)
    return Line(float(start), float(slope))


def error(line: Line, sizes: Sequence[float], costs: Sequence[float]) -> float | None:
    """The largest residual, relative to the cost there; None of two points, which any line meets."""
    if len(sizes) < 3:
        return None
    return max(abs(line.at(size) / cost - 1) for size, cost in zip(sizes, costs, strict=True))


def reach(sizes: Sequence[float], costs: Sequence[float], limit: float) -> Reach:
    """How large a size may be whose cost stays within `limit`."""
    left_out = [
        through([*sizes[:i], *sizes[i + 1 :]], [*costs[:i], *costs[i + 1 :]]).largest(limit)
        for i in range(len(sizes))
        if len(sizes) > 2
    ]
    largest = through(sizes, costs).largest(limit)
    least, most = (end([largest, *left_out]) if left_out else None for end in (min, max))
    return Reach(largest, least, most, largest > max(sizes))
