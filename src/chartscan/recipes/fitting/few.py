"""Few labels: which ones, the same for every model; and when there are too few to choose or calibrate by."""

import zlib

import numpy as np
import pyarrow as pa

from chartscan.schema import TRAIN

LEAST_EVENTS = 10  # of either class
TUNING_SHARE = 4  # a tuning label for every so many train labels


def limited(labels: pa.Table, task: str, split: str, limit: int | None, seed: int) -> pa.Table:
    """At most `limit` rows of the train split, and a quarter as many of any other, but one at least.

    Drawn by task and seed.
    """
    if limit is None:
        return labels
    most = limit if split == TRAIN else max(1, limit // TUNING_SHARE)
    random = np.random.default_rng([seed, zlib.crc32(task.encode())])
    return labels.take(np.sort(random.permutation(labels.num_rows)[:most]))


def enough(answers: np.ndarray) -> bool:
    """Whether there are LEAST_EVENTS answers of either class."""
    positives = int(np.sum(answers > 0.5))
    return min(positives, len(answers) - positives) >= LEAST_EVENTS
