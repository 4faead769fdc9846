"""Durations as models see them; scalars and arrays of int64 microseconds alike."""

from typing import TypeVar

import numpy as np

DAY_US = 86_400_000_000
HOUR_US = 3_600_000_000

Duration = TypeVar("Duration", int, np.ndarray)


def weeks(duration_us: Duration):
    """Weeks in a duration."""
    return duration_us / (7 * DAY_US)


def age_years(since_birth_us: Duration):
    """Years of 365.25 days since birth; 0 before it."""
    return np.maximum(since_birth_us, 0) / (365.25 * DAY_US)
