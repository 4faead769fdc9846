"""Answers of sequence models: every label as a prompt after the history visible to it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from chartscan.artifact import SequenceArtifact
from chartscan.inputs.batches import Sampler, collate, prompt_rows, samples_in, samples_of
from chartscan.prediction.reading import Records
from chartscan.schema import PREDICTIONS

TOKENS_PER_BATCH = 16384


@torch.no_grad()
def sequence_log_odds(
    artifact: SequenceArtifact,
    records: Records,
    labels: Mapping[str, pa.Table],
    progress: Callable[[int, int | None], None],
) -> dict[str, np.ndarray]:
    """Log odds of every label, by task; computed where the model's weights are."""
    tasks = list(artifact.tasks)
    asked = {t: labels[t] if t in labels else PREDICTIONS.empty_table() for t in tasks}
    samples = samples_of(asked, tasks)
    store = records.tokens_of(artifact.vocabulary, artifact.bins).store
    model: Any = artifact.model
    rows = prompt_rows(store, samples, artifact.vocabulary, tasks, apart=not model.CAUSAL)
    device = next(model.parameters()).device
    log_odds = np.zeros(len(samples.tasks))
    batches = Sampler(rows.lengths, TOKENS_PER_BATCH).in_order()
    for number, indices in enumerate(batches):
        batch = collate(store, rows, indices).to(device)
        answers: Any = artifact.answering.predict(model, batch)  # type: ignore[union-attr,operator]
        log_odds[samples_in(rows, indices)] = answers.double().cpu().numpy()
        progress(number + 1, len(batches))
    return {t: log_odds[samples.tasks == tasks.index(t)] for t in labels}
