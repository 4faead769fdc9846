"""Answers of tabular models on counts of the tokens that sequence models see."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pyarrow as pa

from chartscan.artifact import TabularArtifact
from chartscan.inputs.counts.counts import Features, SubjectTokens, count_matrix
from chartscan.inputs.tokens import Encoded, Vocabulary
from chartscan.inputs.tokens import types as T
from chartscan.prediction.reading import Records


def tabular_log_odds(
    artifact: TabularArtifact,
    records: Records,
    labels: Mapping[str, pa.Table],
    progress: Callable[[int, int | None], None],
) -> dict[str, np.ndarray]:
    """Log odds of every label, by task."""
    tokens = records.tokens_of(artifact.vocabulary, artifact.bins)
    found = {}
    for number, (task, table) in enumerate(labels.items()):
        features = token_features(tokens.encoded, tokens.births, table, artifact.vocabulary)
        found[task] = logit(artifact.models[task].predict_proba(features.matrix))
        progress(number + 1, len(labels))
    return found


def token_features(
    encoded: Iterable[tuple[int, Encoded]],
    births: Mapping[int, np.datetime64],
    labels: pa.Table,
    vocabulary: Vocabulary,
) -> Features:
    """Counts of the tokens that sequence models see, the structural ones left out, with ages and visits."""
    subjects = ((subject, _subject_tokens(e, births.get(subject))) for subject, e in encoded)
    return count_matrix(subjects, labels, vocabulary.tokens)


def logit(probability: np.ndarray) -> np.ndarray:
    """Log odds, finite: probabilities are kept 1e-7 away from 0 and 1."""
    p = np.clip(probability, 1e-7, 1 - 1e-7)
    return np.log(p / (1 - p))


def _subject_tokens(encoded: Encoded, birth: np.datetime64 | None) -> SubjectTokens:
    counted = ~np.isin(encoded.types, (T.PAD, T.CLS, T.VS, T.VE, T.REG))
    return SubjectTokens(
        tokens=encoded.codes[counted].astype(np.int64),
        known=encoded.known[counted],
        visit_starts=encoded.known[encoded.types == T.VS],
        birth=birth,
    )
