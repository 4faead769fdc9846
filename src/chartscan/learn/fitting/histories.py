"""Train histories that are longer than what a network sees at once."""

from collections.abc import Sequence

import numpy as np

from chartscan.notes import Note
from chartscan.prediction import cut_note


def cut_notes(tasks: Sequence[str], task_of: np.ndarray, cut: np.ndarray) -> list[Note]:
    """A note on each task with train histories that are `cut` (S,); `task_of` (S,) is their task."""
    found = []
    for index, task in enumerate(tasks):
        rows = cut[task_of == index]
        if rows.any():
            found.append(cut_note(task, int(rows.sum()), len(rows), "train histories"))
    return found
