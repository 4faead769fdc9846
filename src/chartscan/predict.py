"""ARTIFACT + EVENTS + LABELS -> PREDICTIONS, for sequence models and for trees on counts alike.

Each prediction sees what was known at its prediction time, and nothing else.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from chartscan.artifact import Artifact, Calibration, SequenceArtifact, TabularArtifact
from chartscan.batches import Sampler, TokenStore, collate, prompt_rows, samples_in, samples_of
from chartscan.errors import ConfigError
from chartscan.features.counts import Features, SubjectTokens, count_matrix
from chartscan.schema import PREDICTIONS, check
from chartscan.sequences import Encoded, Encoder, Vocabulary, check_coverage, coverage
from chartscan.sequences import types as T

Progress = Callable[[int, int | None], None]
Tables = Callable[[], Iterable[pa.Table]]  # EVENTS of whole subjects, shard by shard; may be asked twice

TOKENS_PER_BATCH = 16384


def predict(
    artifact: Artifact,
    tables: Tables,
    labels: Mapping[str, pa.Table],
    progress: Progress | None = None,
) -> dict[str, pa.Table]:
    """PREDICTIONS by task, rows as in `labels` (LABELS by task).

    ConfigError for a task the artifact has not learned; DataError where more than a fifth of the events are
    unknown to its vocabulary, or a labelled subject has no events.
    """
    strangers = sorted(set(labels) - set(artifact.tasks))
    if strangers:
        known = ", ".join(artifact.tasks)
        raise ConfigError(f"This model has not learned {', '.join(strangers)}. It knows: {known}.")
    asked = np.unique(np.concatenate([t["subject_id"].to_numpy() for t in labels.values()]))
    encoder = Encoder(artifact.vocabulary, artifact.bins)
    check_coverage(coverage(encoder, _of_subjects(tables(), asked)), "events")
    encoded, births = encode(encoder, _of_subjects(tables(), asked))
    if isinstance(artifact, SequenceArtifact):
        log_odds = _sequence_log_odds(artifact, TokenStore.build(encoded), labels, progress)
    else:
        log_odds = _tabular_log_odds(artifact, encoded, births, labels, progress)
    return {t: predictions(labels[t], log_odds[t], artifact.calibration.get(t)) for t in labels}


def encode(
    encoder: Encoder, tables: Iterable[pa.Table]
) -> tuple[list[tuple[int, Encoded]], dict[int, np.datetime64]]:
    """Tokens and birth (where known) of every subject."""
    encoded: list[tuple[int, Encoded]] = []
    births: dict[int, np.datetime64] = {}
    for table in tables:
        if table.num_rows:
            encoded += encoder.encode_shard(table)
        rows = table.filter(pc.equal(table["event_type"], "birth"))
        births |= dict(zip(rows["subject_id"].to_pylist(), rows["time"].to_numpy(), strict=True))
    return encoded, births


def token_features(
    encoded: Iterable[tuple[int, Encoded]],
    births: Mapping[int, np.datetime64],
    labels: pa.Table,
    vocabulary: Vocabulary,
) -> Features:
    """Counts of the tokens that sequence models see, the structural ones left out, with ages and visits."""
    subjects = ((subject, _subject_tokens(e, births.get(subject))) for subject, e in encoded)
    return count_matrix(subjects, labels, vocabulary.tokens)


def _subject_tokens(encoded: Encoded, birth: np.datetime64 | None) -> SubjectTokens:
    counted = ~np.isin(encoded.types, (T.PAD, T.CLS, T.VS, T.VE, T.REG))
    return SubjectTokens(
        tokens=encoded.codes[counted].astype(np.int64),
        known=encoded.known[counted],
        visit_starts=encoded.known[encoded.types == T.VS],
        birth=birth,
    )


def _of_subjects(tables: Iterable[pa.Table], subject_ids: np.ndarray) -> Iterator[pa.Table]:
    for table in tables:
        yield table.filter(pa.array(np.isin(table["subject_id"].to_numpy(), subject_ids)))


@torch.no_grad()
def _sequence_log_odds(
    artifact: SequenceArtifact, store: TokenStore, labels: Mapping[str, pa.Table], progress: Progress | None
) -> dict[str, np.ndarray]:
    """Log odds of every label, by task."""
    tasks = list(artifact.tasks)
    asked = {t: labels[t] if t in labels else PREDICTIONS.empty_table() for t in tasks}
    samples = samples_of(asked, tasks)
    rows = prompt_rows(store, samples, artifact.vocabulary, tasks)
    log_odds = np.zeros(len(samples.tasks))
    batches = Sampler(rows.lengths, TOKENS_PER_BATCH).in_order()
    for number, indices in enumerate(batches):
        batch = collate(store, rows, indices)
        assert artifact.head is not None
        answers: Any = artifact.head.predict(artifact.model, batch)  # type: ignore[operator]
        log_odds[samples_in(rows, indices)] = answers.double().numpy()
        if progress:
            progress(number + 1, len(batches))
    return {t: log_odds[samples.tasks == i] for i, t in enumerate(tasks)}


def _tabular_log_odds(
    artifact: TabularArtifact,
    encoded: list[tuple[int, Encoded]],
    births: Mapping[int, np.datetime64],
    labels: Mapping[str, pa.Table],
    progress: Progress | None,
) -> dict[str, np.ndarray]:
    """Log odds of every label, by task."""
    found = {}
    for number, (task, table) in enumerate(labels.items()):
        features = token_features(encoded, births, table, artifact.vocabulary)
        found[task] = logit(artifact.models[task].predict_proba(features.matrix))
        if progress:
            progress(number + 1, len(labels))
    return found


def logit(probability: np.ndarray) -> np.ndarray:
    """Log odds, finite: probabilities are kept 1e-7 away from 0 and 1."""
    p = np.clip(probability, 1e-7, 1 - 1e-7)
    return np.log(p / (1 - p))


def predictions(labels: pa.Table, log_odds: np.ndarray, calibration: Calibration | None) -> pa.Table:
    """PREDICTIONS: calibrated probabilities, and decisions by the threshold chosen on tuning rows."""
    calibration = calibration or Calibration()
    probability = calibration.probability(log_odds)
    table = labels.append_column("predicted_boolean_value", pa.array(probability >= calibration.threshold))
    column = pa.array(probability.astype(np.float32))
    return check(table.append_column("predicted_boolean_probability", column), PREDICTIONS, "predictions")
