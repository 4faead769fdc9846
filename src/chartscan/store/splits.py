"""Which subjects are for training, tuning and the final test, decided for each subject alone.

The split is a keyed hash of the subject id, so adding or removing subjects moves nobody.
"""

import numpy as np

from chartscan.schema import HELD_OUT, TRAIN, TUNING

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def assign_split(subject_ids: np.ndarray, seed: int, fractions: tuple[float, float, float]) -> np.ndarray:
    """Split name of each subject, shape (n,); `fractions` are those of train, tuning and held_out."""
    key = _splitmix64(np.array([seed], np.int64).view(np.uint64))
    hashed = _splitmix64(np.asarray(subject_ids, np.int64).view(np.uint64) ^ key)
    uniform = (hashed >> np.uint64(11)).astype(np.float64) * 2.0**-53  # in [0, 1)
    bounds = np.cumsum(fractions[:2])
    return np.array([TRAIN, TUNING, HELD_OUT])[np.searchsorted(bounds, uniform, side="right")]


def _splitmix64(x: np.ndarray) -> np.ndarray:
    """Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators": a bijective mixer."""
    z = x + _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))
