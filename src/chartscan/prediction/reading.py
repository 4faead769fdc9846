"""One pass over EVENTS for all the models of an artifact: tokens and stays of the subjects asked about.

Members of an ensemble that read records the same way share what was read.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa

from chartscan.artifact import (
    Artifact,
    EnsembleArtifact,
    SequenceArtifact,
    SeriesArtifact,
    SummaryArtifact,
    TabularArtifact,
)
from chartscan.inputs.hourly import Variables
from chartscan.inputs.tokens import NumericBins, Vocabulary
from chartscan.prediction.stays import StayReader, Stays
from chartscan.prediction.tokens import TokenReader, Tokens

Tables = Callable[[], Iterable[pa.Table]]  # EVENTS of whole subjects, shard by shard

TokenKey = tuple[str, bytes]


@dataclass(frozen=True)
class Questions:
    """The distinct (subject, prediction time) of the labels, sorted: n of them."""

    table: pa.Table  # subject_id, prediction_time
    rows: Mapping[str, np.ndarray]  # by task, which question each label asks (labels,)

    @classmethod
    def of(cls, labels: Mapping[str, pa.Table]) -> "Questions":
        """Those of LABELS by task."""
        keys = [np.stack([t["subject_id"].to_numpy(), _microseconds(t)], axis=1) for t in labels.values()]
        distinct, rows = np.unique(np.concatenate(keys), axis=0, return_inverse=True)
        ends = np.cumsum([len(key) for key in keys])[:-1]
        times = pa.array(distinct[:, 1]).cast(pa.timestamp("us"))
        table = pa.table({"subject_id": distinct[:, 0], "prediction_time": times})
        return cls(table, dict(zip(labels, np.split(rows.ravel(), ends), strict=True)))

    @property
    def subject_ids(self) -> np.ndarray:
        """Subjects asked about, ascending."""
        return np.unique(self.table["subject_id"].to_numpy())


@dataclass(frozen=True)
class Records:
    """What models see of the subjects asked about, by what they read records with."""

    questions: Questions
    tokens: Mapping[TokenKey, Tokens]
    stays: Mapping[str, Stays]  # by hash of the variables

    def tokens_of(self, vocabulary: Vocabulary, bins: NumericBins) -> Tokens:
        """Tokens of all subjects."""
        return self.tokens[_token_key(vocabulary, bins)]

    def stays_of(self, variables: Variables) -> Stays:
        """The stay of each question."""
        return self.stays[variables.hash]


def read_records(artifact: Artifact, tables: Tables, labels: Mapping[str, pa.Table]) -> Records:
    """All that the artifact and its members need to answer `labels`.

    DataError where more than a fifth of the events are unknown to a vocabulary or to variables, or where
    subjects of time series have no events.
    """
    questions = Questions.of(labels)
    tokens, stays = _readers(artifact, questions)
    for table in _of_subjects(tables(), questions.subject_ids):
        readers: list[TokenReader | StayReader] = [*tokens.values(), *stays.values()]
        for reader in readers:
            reader.read(table)
    return Records(
        questions,
        {key: reader.tokens() for key, reader in tokens.items()},
        {key: reader.stays() for key, reader in stays.items()},
    )


def _readers(
    artifact: Artifact, questions: Questions
) -> tuple[dict[TokenKey, TokenReader], dict[str, StayReader]]:
    tokens: dict[TokenKey, TokenReader] = {}
    stays: dict[str, StayReader] = {}
    for one in _models(artifact):
        if isinstance(one, SequenceArtifact | TabularArtifact):
            key = _token_key(one.vocabulary, one.bins)
            tokens.setdefault(key, TokenReader(one.vocabulary, one.bins))
        else:
            stays.setdefault(one.variables.hash, StayReader(one.variables, questions.table))
    return tokens, stays


def _models(
    artifact: Artifact,
) -> Iterator[SequenceArtifact | SeriesArtifact | TabularArtifact | SummaryArtifact]:
    """The artifact itself, or every model of an ensemble."""
    if isinstance(artifact, EnsembleArtifact):
        for member in artifact.members:
            yield from _models(member)
    else:
        yield artifact


def _of_subjects(tables: Iterable[pa.Table], subject_ids: np.ndarray) -> Iterator[pa.Table]:
    for table in tables:
        found = table.filter(pa.array(np.isin(table["subject_id"].to_numpy(), subject_ids)))
        if found.num_rows:
            yield found


def _token_key(vocabulary: Vocabulary, bins: NumericBins) -> TokenKey:
    return vocabulary.hash, msgspec.json.encode(bins)


def _microseconds(labels: pa.Table) -> np.ndarray:
    return labels["prediction_time"].cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
