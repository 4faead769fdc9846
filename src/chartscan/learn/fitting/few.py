"""Few labels: which ones, the same for every model; and when there are too few to choose or calibrate by."""

import zlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chartscan.notes import Note
from chartscan.runs.job import Job
from chartscan.schema import TRAIN

LEAST_EVENTS = 10  # of either class
FEW_EVENTS = 20  # of either class among train labels: below, what a model learns is mostly chance
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


def few_train_events(job: Job, limit: int | None, seed: int) -> list[Note]:
    """A note on each task with fewer than FEW_EVENTS train labels of either class."""
    found = []
    for task in job.tasks:
        labels = limited(job.labels_of(task, TRAIN), task, TRAIN, limit, seed)
        positives = int(pc.sum(labels["boolean_value"]).as_py() or 0)
        rarer, word = min((positives, "events"), (labels.num_rows - positives, "non-events"))
        if rarer < FEW_EVENTS:
            text = (
                f"{rarer:,} {word} among {labels.num_rows:,} train labels. Fewer than {FEW_EVENTS} teach a "
                "model little. Label more subjects, or longer follow-up."
            )
            found.append(Note("few_train_events", text, task))
    return found


def enough(answers: np.ndarray) -> bool:
    """Whether there are LEAST_EVENTS answers of either class."""
    positives = int(np.sum(answers > 0.5))
    return min(positives, len(answers) - positives) >= LEAST_EVENTS
