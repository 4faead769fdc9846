"""Which rows form which batch: rows of like length together, in an order that seed and epoch determine.

The batches of an epoch are a pure function, so (epoch, number of the batch) is all that a resumed run needs.
"""

from dataclasses import dataclass

import numpy as np

JITTER = 0.05  # lengths are sorted up to this much, so that epochs mix rows differently
PADDING = 0.1  # a batch whose padding would exceed this share of it ends early,
LEAST = 0.25  # once it has this share of its tokens: few rows of unlike length fill no batch well


@dataclass(frozen=True)
class Sampler:
    """Batches of at most `tokens_per_batch` tokens, padding included (a longer row is a batch of its own)."""

    lengths: np.ndarray  # (R,) int64
    tokens_per_batch: int
    seed: int = 0

    def epoch(self, number: int) -> list[np.ndarray]:
        """Row indices of each batch of an epoch; every row once."""
        random = np.random.default_rng([self.seed, number])
        blurred = self.lengths * (1 + JITTER * random.random(len(self.lengths)))
        batches = self._packed(np.argsort(blurred, kind="stable"))
        return [batches[i] for i in random.permutation(len(batches))]

    def in_order(self) -> list[np.ndarray]:
        """Batches from the shortest rows to the longest, for prediction."""
        return self._packed(np.argsort(self.lengths, kind="stable"))

    def _packed(self, order: np.ndarray) -> list[np.ndarray]:
        """`order` cut into batches, each as many rows as fit and are of like length."""
        cuts, start, longest, filled = [], 0, 0, 0
        for place, length in enumerate(self.lengths[order].tolist()):
            positions = max(longest, length) * (place - start + 1)
            enough = longest * (place - start) >= LEAST * self.tokens_per_batch
            unlike = enough and filled + length < (1 - PADDING) * positions
            if place > start and (positions > self.tokens_per_batch or unlike):
                cuts.append(place)
                start, longest, filled = place, 0, 0
            longest, filled = max(longest, length), filled + length
        return np.split(order, cuts) if len(order) else []


def padding_share(lengths: np.ndarray, batches: list[np.ndarray]) -> float:
    """Share of the positions of `batches` that is padding."""
    filled = sum(int(lengths[batch].sum()) for batch in batches)
    positions = sum(len(batch) * int(lengths[batch].max()) for batch in batches)
    return 1 - filled / positions if positions else 0.0
