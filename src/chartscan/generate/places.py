"""Where in their distributions the draws of a future fall: random numbers of one history and one sample.

Each future by itself is drawn like any other. But the futures of one history share out the places of their
first tokens (a randomly shifted Halton sequence; Cranley and Patterson 1976, SIAM J. Numer. Anal. 13:904):
a share of them is known more closely than the same number of independent ones would tell it.
"""

import numpy as np

_BASES = (2, 3, 5)  # of the sequence, for the first token, the second, the third
_NO_SAMPLE = 2**64 - 1  # the random numbers of a history, not of one of its samples
_CODES = 0  # the column of places among codes; the other one is among durations


class Places:
    """The places (steps, 2) in [0, 1) of one future, block by block."""

    def __init__(self, seed: int, subject: int, now: int, sample: int):
        history = [seed, subject % 2**64, now % 2**64]
        self._random = np.random.default_rng([*history, sample])
        shifts = np.random.default_rng([*history, _NO_SAMPLE]).random(len(_BASES))
        self._first = [(_mirrored(sample, b) + s) % 1.0 for b, s in zip(_BASES, shifts, strict=True)]

    def next(self, steps: int) -> np.ndarray:
        """Those of the next `steps` tokens, among codes and among durations."""
        found = self._random.random((steps, 2))
        n = min(len(self._first), steps)
        found[:n, _CODES], self._first = self._first[:n], self._first[n:]
        return found


def _mirrored(number: int, base: int) -> float:
    """The digits of `number` in `base`, mirrored at the point: the first n numbers lie evenly in [0, 1)."""
    found, size = 0.0, 1.0
    while number:
        number, digit = divmod(number, base)
        size /= base
        found += digit * size
    return found
