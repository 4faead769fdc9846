"""Answers of models of time series: each stay as it was known at its own prediction time."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from chartscan.artifact import SeriesArtifact
from chartscan.inputs.batches import Sampler
from chartscan.inputs.batches.series import Needs, SeriesStore, collate_series
from chartscan.inputs.hourly import CHANNELS
from chartscan.prediction.reading import Records

EVENTS_PER_BATCH = 16384
NUMBERS_PER_BATCH = 2**24  # of the carried state: 64 MiB


@torch.no_grad()
def series_log_odds(
    artifact: SeriesArtifact,
    records: Records,
    labels: Mapping[str, pa.Table],
    progress: Callable[[int, int | None], None],
) -> dict[str, np.ndarray]:
    """Log odds of every label, by task; stays of like length go together. Computed where the weights are."""
    assert artifact.head is not None
    store = records.stays_of(artifact.variables).store
    needs: Needs = artifact.model.INPUT  # type: ignore[assignment]
    device = next(artifact.model.parameters()).device
    log_odds = np.zeros((len(store), len(artifact.tasks)))
    batches = series_batches(store, needs)
    for number, indices in enumerate(batches):
        batch = collate_series(store, indices, needs).to(device)
        answers: Any = artifact.head.predict(artifact.model, batch)  # type: ignore[operator]
        log_odds[indices] = answers.double().cpu().numpy()
        progress(number + 1, len(batches))
    columns = {task: log_odds[:, i] for i, task in enumerate(artifact.tasks)}
    return {task: columns[task][records.questions.rows[task]] for task in labels}


def series_batches(store: SeriesStore, needs: Needs) -> list[np.ndarray]:
    """Indices of the stays of each batch, from the shortest to the longest; bounded in memory."""
    steps = NUMBERS_PER_BATCH // (store.n_variables * len(CHANNELS))
    budget = EVENTS_PER_BATCH if needs == "triplets" else max(1, min(EVENTS_PER_BATCH, steps))
    return Sampler(np.maximum(store.lengths(needs), 1), budget).in_order()
