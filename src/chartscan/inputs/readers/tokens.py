"""The reader of tokens: prompts for a network, or a matrix of counts."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix

from chartscan.batch import Batch
from chartscan.errors import ConfigError, DataError
from chartscan.inputs.batches import (
    Rows,
    Sampler,
    Samples,
    TokenStore,
    collate,
    cut_histories,
    pretraining_windows,
    prompt_rows,
    samples_in,
    samples_of,
)
from chartscan.inputs.counts import Features, SubjectTokens, count_matrix
from chartscan.inputs.readers.questions import Questions
from chartscan.inputs.tokens import (
    Coverage,
    Encoded,
    Encoder,
    NumericBins,
    Pace,
    SequenceConfig,
    Vocabulary,
    coverage,
    fit_bins,
    fit_pace,
    fit_vocabulary,
)
from chartscan.inputs.tokens import types as T

TOKENS_PER_BATCH = 16384  # of a pass that does not train, padding included
_VOCABULARY, _BINS, _PACE = "vocabulary.json", "numeric.json", "pace.json"


@dataclass(frozen=True)
class TokenReader:
    """Reads events as tokens. `vocabulary` and `bins` are fitted on train subjects."""

    NAME: ClassVar[str] = "tokens"
    INPUTS: ClassVar[frozenset[str]] = frozenset({"tokens"})  # of the models that read it
    NOUN, PLACE = "records", "in the vocabulary"  # for messages: what is read, and where it must be known
    COUNTED: ClassVar[str] = "events"  # by coverage
    TITLE: ClassVar[str] = "Tokens"  # for progress
    FITTED: ClassVar[str] = "Vocabulary"  # likewise

    vocabulary: Vocabulary  # with the settings
    bins: NumericBins
    pace: Pace | None = None  # types and times of generated tokens, of a model that forecasts

    @classmethod
    def fit(
        cls,
        tables: Callable[[], Iterable[pa.Table]],
        config: SequenceConfig,
        tasks: Sequence[str],
        fingerprint: str,
        progress: Callable[[int, int], None],
    ) -> "TokenReader":
        """Fit bins and vocabulary on train EVENTS, with a token for each task."""
        bins = fit_bins(tables(), config)
        progress(1, 2)
        vocabulary = fit_vocabulary(tables(), bins, config, tasks, fingerprint)
        progress(2, 2)
        return cls(vocabulary, bins)

    @property
    def config(self) -> SequenceConfig:
        """The settings."""
        return self.vocabulary.config

    @property
    def sizes(self) -> tuple[int]:
        """What a model of tokens must know: V."""
        return (len(self.vocabulary),)

    @cached_property
    def hash(self) -> str:
        """Of what the weights of a network rest on."""
        return self.vocabulary.hash

    @cached_property
    def key(self) -> tuple[str, bytes]:
        """Equal for readers that read alike."""
        return self.hash, msgspec.json.encode(self.bins)

    @cached_property
    def encoder(self) -> Encoder:
        """Turns EVENTS into tokens."""
        return Encoder(self.vocabulary, self.bins)

    @property
    def systems(self) -> set[str]:
        """Code systems that have a token."""
        return {token.partition("//")[0] for token in self.vocabulary.codes}

    def with_tasks(self, tasks: Sequence[str]) -> "TokenReader":
        """The same with tokens for the tasks it lacks."""
        return replace(self, vocabulary=self.vocabulary.with_tasks(tasks))

    def after_training(self, pretraining: str | None, records: "TokenRecords") -> "TokenReader":
        """The reader with the pace of the train `records`, for models that forecast."""
        if pretraining != "next_event":
            return self
        return replace(self, pace=fit_pace([records.store.tokens], len(self.vocabulary)))

    def check_tasks(self, tasks: Sequence[str]) -> None:
        """ConfigError for a task without a token."""
        for task in tasks:
            self.vocabulary.task_token(task)

    def check_model(self, config: Any) -> None:
        """Raise ConfigError where a model's settings, if given, do not fit token types."""
        types, task_type = getattr(config, "n_types", T.N_TYPES), getattr(config, "task_type", T.TASK)
        if types < T.N_TYPES or task_type != T.TASK:
            raise ConfigError(f"not settings of a model that reads tokens of {T.N_TYPES} types.")

    def coverage(self, table: pa.Table) -> dict[str, Coverage]:
        """Events of a table and how many are unknown, by code system."""
        return coverage(self.encoder, [table])

    def reading(self, questions: Questions) -> "TokenReading":
        """A reading of EVENTS table by table; all their subjects are kept."""
        return TokenReading(self)

    def save(self, folder: Path) -> list[str]:
        """Writes vocabulary.json, numeric.json and pace.json; gives their names."""
        self.vocabulary.save(folder / _VOCABULARY)
        self.bins.save(folder / _BINS)
        if self.pace:
            self.pace.save(folder / _PACE)
        return [_VOCABULARY, _BINS, *([_PACE] if self.pace else [])]

    @classmethod
    def files(cls) -> tuple[str, ...]:
        """Files of which each is there, the one with the settings first."""
        return _VOCABULARY, _BINS

    @classmethod
    def load(cls, folder: Path) -> "TokenReader":
        """What `save` wrote; DataError where files are damaged or do not fit each other."""
        vocabulary, bins = Vocabulary.load(folder / _VOCABULARY), NumericBins.load(folder / _BINS)
        if bins.n_bins != vocabulary.config.n_bins:
            raise DataError(
                f"{folder / _BINS} does not fit {_VOCABULARY}: {bins.n_bins} bins of each number."
            )
        pace = Pace.load(folder / _PACE, len(vocabulary)) if (folder / _PACE).exists() else None
        return cls(vocabulary, bins, pace)


@dataclass
class TokenReading:
    """EVENTS being read."""

    reader: TokenReader
    _encoded: list[tuple[int, Encoded]] = field(default_factory=list)
    _births: dict[int, np.datetime64] = field(default_factory=dict)

    def read(self, table: pa.Table) -> None:
        """Takes in whole subjects."""
        encoded, births = encode(self.reader.encoder, [table])
        self._encoded += encoded
        self._births |= births

    def records(self) -> "TokenRecords":
        """All that was read."""
        encoded, self._encoded = self._encoded, []
        return TokenRecords(self.reader, TokenStore.build(encoded), self._births)


@dataclass(frozen=True)
class TokenRecords:
    """Tokens of whole subjects, and births where known."""

    reader: TokenReader
    store: TokenStore
    births: Mapping[int, np.datetime64] = field(default_factory=dict)

    def joined(self, other: "TokenRecords") -> "TokenRecords":
        """The subjects of both."""
        both = [(int(i), r.store[at]) for r in (self, other) for at, i in enumerate(r.store.subject_ids)]
        return replace(self, store=TokenStore.build(both), births={**self.births, **other.births})

    def matrix(self, labels: pa.Table) -> csr_matrix:
        """Counts of tokens, ages and visits at each label (labels, V + 3)."""
        encoded = ((int(i), self.store[at]) for at, i in enumerate(self.store.subject_ids))
        return token_features(encoded, self.births, labels, self.reader.vocabulary).matrix

    def asked(
        self,
        model: Any,
        tasks: Sequence[str],
        labels: Mapping[str, pa.Table],
        batch_size: int | None = None,
        seed: int = 0,
        answers: Mapping[str, np.ndarray] | None = None,
    ) -> "TokenBatches":
        """The labels of `tasks` as prompts, in batches of `batch_size` tokens, padding included.

        A model that is not causal makes a pass for each prompt: each is then a row of its own. `answers`
        (labels,) replace those of a task.
        """
        samples = samples_of({task: _asked_of(task, labels) for task in tasks}, tasks)
        samples = with_answers(samples, tasks, labels, answers)
        vocabulary = self.reader.vocabulary
        rows = prompt_rows(self.store, samples, vocabulary, tasks, apart=not model.CAUSAL)
        sampler = Sampler(rows.lengths, batch_size or TOKENS_PER_BATCH, seed)
        return TokenBatches(self.store, rows, sampler, samples)

    def pretraining(self, model: Any, batch_size: int, seed: int) -> "TokenBatches":
        """Windows that show every token once, in batches of `batch_size` tokens, padding included."""
        rows = pretraining_windows(self.store, self.reader.config.context)
        return TokenBatches(self.store, rows, Sampler(rows.lengths, batch_size, seed))

    def cut(self, model: Any, labels: pa.Table) -> np.ndarray:
        """Whether the history at each label (labels,) is longer than what a network sees."""
        return cut_histories(self.store, samples_of({"": labels}, [""]), self.reader.vocabulary)


@dataclass(frozen=True)
class TokenBatches:
    """Batches of token rows; a pure function of (epoch, index)."""

    store: TokenStore
    rows: Rows
    sampler: Sampler
    samples: Samples = field(default_factory=lambda: samples_of({}, []))

    @cached_property
    def _cache(self) -> dict[int, list[np.ndarray]]:
        return {}

    def _batches(self, epoch: int) -> list[np.ndarray]:
        if epoch not in self._cache:
            self._cache[epoch] = self.sampler.epoch(epoch)
        return self._cache[epoch]

    def n_batches(self, epoch: int) -> int:
        return len(self._batches(epoch))

    def batch(self, epoch: int, index: int) -> Batch:
        return collate(self.store, self.rows, self._batches(epoch)[index])

    @property
    def tokens(self) -> int:
        """Of all batches of the first epoch, padding included; others are packed a little otherwise."""
        return sum(len(rows) * int(self.rows.lengths[rows].max()) for rows in self._batches(0))

    @property
    def shape(self) -> tuple[int, ...]:
        """(S,)"""
        return (len(self.samples.labels),)

    @cached_property
    def passes(self) -> list[np.ndarray]:
        return self.sampler.in_order()

    def in_order(self) -> Iterator[tuple[np.ndarray, Batch]]:
        """Every row once, shortest first, with the samples that its prompts answer."""
        for indices in self.passes:
            yield samples_in(self.rows, indices), collate(self.store, self.rows, indices)

    def of_samples(self, answers: np.ndarray) -> np.ndarray:
        """As they are."""
        return answers


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
    """Counts of tokens (structural ones left out), ages and visits."""
    subjects = ((subject, _subject_tokens(e, births.get(subject))) for subject, e in encoded)
    return count_matrix(subjects, labels, vocabulary.tokens)


def with_answers(
    samples: Samples,
    tasks: Sequence[str],
    labels: Mapping[str, pa.Table],
    answers: Mapping[str, np.ndarray] | None,
) -> Samples:
    """The samples with other answers, such as a teacher's, to some tasks (labels,)."""
    if not answers:
        return samples
    parts = [answers.get(task, samples.labels[samples.tasks == at]) for at, task in enumerate(tasks)]
    return replace(samples, labels=np.concatenate(parts).astype(np.float32))


def _asked_of(task: str, labels: Mapping[str, pa.Table]) -> pa.Table:
    """LABELS of a task; none where it is not asked."""
    return labels[task] if task in labels else next(iter(labels.values())).slice(0, 0)


def _subject_tokens(encoded: Encoded, birth: np.datetime64 | None) -> SubjectTokens:
    counted = ~np.isin(encoded.types, (T.PAD, T.CLS, T.VS, T.VE, T.REG))
    return SubjectTokens(
        tokens=encoded.codes[counted].astype(np.int64),
        known=encoded.known[counted],
        visit_starts=encoded.known[encoded.types == T.VS],
        birth=birth,
    )
