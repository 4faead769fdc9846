"""The reader of time series: triplets, an hourly_state, or summaries of each stay."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from chartscan.batch import SeriesBatch
from chartscan.errors import DataError
from chartscan.inputs.batches import Sampler, Samples, samples_of
from chartscan.inputs.batches.series import (
    Needs,
    SeriesSampler,
    SeriesStore,
    Windows,
    collate_series,
    collate_windows,
    forecast_windows,
    tuning_windows,
)
from chartscan.inputs.counts import Summary, summary_matrix
from chartscan.inputs.hourly import CHANNELS, SeriesConfig, Stay, Variables, stays
from chartscan.inputs.hourly.variables import frame_of, measurements
from chartscan.inputs.readers.questions import Questions
from chartscan.inputs.readers.tokens import with_answers
from chartscan.inputs.tokens import Coverage

EVENTS_PER_BATCH = 16384  # of a pass that does not train
NUMBERS_PER_BATCH = 2**24  # of the carried state: 64 MiB
TUNING_DRAWS = 3  # windows of each tuning stay, the same at every evaluation (STraTS)
_VARIABLES = "variables.json"


@dataclass(frozen=True)
class HourlyReader:
    """Reads stays as time series; `variables` and scales are fitted on train."""

    NAME: ClassVar[str] = "hourly"
    INPUTS: ClassVar[frozenset[str]] = frozenset({"triplets", "carried"})  # of the models that read it
    NOUN, PLACE = "measurements", "among the model's variables"  # for messages
    COUNTED: ClassVar[str] = "measurements"  # by coverage
    TITLE: ClassVar[str] = "Stays"  # for progress
    FITTED: ClassVar[str] = "Variables"  # likewise

    variables: Variables  # with the settings

    @classmethod
    def fit(
        cls,
        tables: Callable[[], Iterable[pa.Table]],
        config: SeriesConfig,
        tasks: Sequence[str],
        fingerprint: str,
        progress: Callable[[int, int], None],
    ) -> "HourlyReader":
        """Names, scales and statics of train EVENTS; tasks and dataset leave no trace in it."""
        variables = Variables.fit(tables(), config)
        progress(1, 1)
        return cls(variables)

    @property
    def config(self) -> SeriesConfig:
        """The settings."""
        return self.variables.config

    @property
    def sizes(self) -> tuple[int, int]:
        """What a model of time series must know: V and S."""
        return self.variables.n_variables, self.variables.n_statics

    @property
    def hash(self) -> str:
        """Of what the weights of a network rest on."""
        return self.variables.hash

    @property
    def key(self) -> str:
        """Equal for readers that read alike."""
        return self.hash

    @property
    def systems(self) -> set[str]:
        """Code systems of the variables."""
        return {name.partition("//")[0] for name in self.variables.names}

    def with_tasks(self, tasks: Sequence[str]) -> "HourlyReader":
        """The same: tasks are not read."""
        return self

    def after_training(self, pretraining: str | None, records: "HourlyRecords") -> "HourlyReader":
        """The same: all of it is known before."""
        return self

    def check_tasks(self, tasks: Sequence[str]) -> None:
        """Any task can be asked."""

    def check_model(self, config: Any) -> None:
        """Any settings will do."""

    def coverage(self, table: pa.Table) -> dict[str, Coverage]:
        """Measurements of a table and how many are of no variable, by code system."""
        return series_coverage(table, self.variables)

    def reading(self, questions: Questions) -> "HourlyReading":
        """A reading of EVENTS table by table: the stay of each question."""
        return HourlyReading(self, questions, [None] * questions.table.num_rows)

    def save(self, folder: Path) -> list[str]:
        """Writes variables.json; gives its name."""
        self.variables.save(folder / _VARIABLES)
        return [_VARIABLES]

    @classmethod
    def files(cls) -> tuple[str, ...]:
        """Files of which each is there, the one with the settings first."""
        return (_VARIABLES,)

    @classmethod
    def load(cls, folder: Path) -> "HourlyReader":
        """What `save` wrote; DataError where the file is damaged."""
        return cls(Variables.load(folder / _VARIABLES))


@dataclass
class HourlyReading:
    """EVENTS being read."""

    reader: HourlyReader
    questions: Questions
    _found: list[Stay | None]

    def read(self, table: pa.Table) -> None:
        """Takes in whole subjects."""
        here = pc.is_in(self.questions.table["subject_id"], pc.unique(table["subject_id"]))
        rows = pc.indices_nonzero(here)
        found = stays([table], self.reader.variables, self.questions.table.take(rows))
        for row, stay in zip(rows.to_pylist(), found, strict=True):
            self._found[row] = stay

    def records(self) -> "HourlyRecords":
        """The stay of each question; DataError where a subject has no events."""
        found = [stay for stay in self._found if stay is not None]
        if len(found) < len(self._found):
            raise DataError(
                f"Labels: {len(self._found) - len(found)} of {len(self._found)} belong to subjects without "
                "events here. Label this dataset again."
            )
        return HourlyRecords(self.reader, self.questions, found)


@dataclass(frozen=True)
class HourlyRecords:
    """The stay of each of n questions."""

    reader: HourlyReader
    questions: Questions
    stays: list[Stay]  # n

    @cached_property
    def store(self) -> SeriesStore:
        """The stays as batches are made from them; without labels."""
        return SeriesStore.build(self.stays, np.zeros((len(self.stays), 0)), self.reader.variables)

    @cached_property
    def _kept(self) -> SeriesStore:
        """The store with the carried state kept: every epoch asks for it again."""
        return self.store.keep_carried()

    @cached_property
    def summary(self) -> Summary:
        """Summaries of the stays."""
        return summary_features(self.stays, self.reader.variables)

    def joined(self, other: "HourlyRecords") -> "HourlyRecords":
        """The questions of both, these first."""
        table = pa.concat_tables([self.questions.table, other.questions.table])
        return HourlyRecords(self.reader, Questions(table), [*self.stays, *other.stays])

    def matrix(self, labels: pa.Table) -> np.ndarray:
        """Summary features at each label (labels, columns), NaN where missing."""
        return self.summary.matrix[self.questions.places(labels)]

    def asked(
        self,
        model: Any,
        tasks: Sequence[str],
        labels: Mapping[str, pa.Table],
        batch_size: int | None = None,
        seed: int = 0,
        answers: Mapping[str, np.ndarray] | None = None,
    ) -> "HourlyBatches":
        """The stays that the labels of `tasks` ask about, in batches of `batch_size` stays.

        Without a size, as bounded in memory as a pass wants. `answers` (labels,) replace those of a task.
        """
        wanted = {task: labels[task] for task in tasks if task in labels}
        rows = np.concatenate([self.questions.places(table) for table in wanted.values()])
        samples = with_answers(samples_of(wanted, list(wanted)), list(wanted), wanted, answers)
        columns = np.array([list(tasks).index(task) for task in wanted], dtype=np.int64)
        samples = replace(samples, tasks=columns[samples.tasks])
        values = np.full((len(self.stays), len(tasks)), np.nan, dtype=np.float32)
        values[rows, samples.tasks] = samples.labels
        store = self._kept if batch_size and model.INPUT == "carried" else self.store
        return HourlyBatches(
            replace(store, labels=values), np.unique(rows), model.INPUT, batch_size, seed, samples, rows
        )

    def pretraining(self, model: Any, batch_size: int, seed: int) -> "HourlyForecasts":
        """Every stay cut at a random time, with what comes next."""
        store = self._kept if model.INPUT == "carried" else self.store
        return HourlyForecasts(store, model.INPUT, batch_size, seed)

    def cut(self, model: Any, labels: pa.Table) -> np.ndarray:
        """Whether the stay at each label (labels,) is longer than what a network sees."""
        return self.store.cut(model.INPUT)[self.questions.places(labels)]


@dataclass(frozen=True)
class HourlyBatches:
    """Batches of the stays `indices`; a pure function of (epoch, index)."""

    store: SeriesStore
    indices: np.ndarray  # (n,) ascending
    needs: Needs
    batch_size: int | None
    seed: int
    samples: Samples  # S
    rows: np.ndarray  # (S,) the stay of each sample

    @cached_property
    def _sampler(self) -> SeriesSampler:
        assert self.batch_size is not None
        return SeriesSampler(self.store.lengths(self.needs)[self.indices], self.batch_size, self.seed)

    @cached_property
    def _cache(self) -> dict[int, list[np.ndarray]]:
        return {}

    def _batches(self, epoch: int) -> list[np.ndarray]:
        if epoch not in self._cache:
            self._cache[epoch] = self._sampler.epoch(epoch)
        return self._cache[epoch]

    def n_batches(self, epoch: int) -> int:
        return len(self._batches(epoch))

    def batch(self, epoch: int, index: int) -> SeriesBatch:
        return self._collated(self._batches(epoch)[index])

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, T)"""
        return len(self.indices), self.store.labels.shape[1]

    @cached_property
    def passes(self) -> list[np.ndarray]:
        if self.batch_size:
            return self._sampler.in_order()
        return [np.asarray(part) for part in bounded_batches(self.store, self.needs, self.indices)]

    def in_order(self) -> Iterator[tuple[np.ndarray, SeriesBatch]]:
        """Every stay once, shortest first, with its place in `indices`."""
        for places in self.passes:
            yield places, self._collated(places)

    def of_samples(self, answers: np.ndarray) -> np.ndarray:
        """The answers (S,) among those of the stays (n, T)."""
        found: np.ndarray = answers[np.searchsorted(self.indices, self.rows), self.samples.tasks]
        return found

    def _collated(self, places: np.ndarray) -> SeriesBatch:
        return collate_series(self.store, self.indices[places], self.needs)


class _Drawn(NamedTuple):
    """The windows of one epoch and which go together."""

    windows: Windows
    batches: list[np.ndarray]


@dataclass(frozen=True)
class HourlyForecasts:
    """Pretraining batches: stays cut at random times, anew in every epoch."""

    store: SeriesStore
    needs: Needs
    batch_size: int
    seed: int

    @cached_property
    def _latest(self) -> dict[int, _Drawn]:
        return {}

    def _drawn(self, epoch: int) -> _Drawn:
        if epoch not in self._latest:
            windows = forecast_windows(self.store, self.seed, epoch)
            self._latest.clear()
            self._latest[epoch] = _Drawn(windows, self._sampler(windows).epoch(epoch))
        return self._latest[epoch]

    def _sampler(self, windows: Windows) -> SeriesSampler:
        return SeriesSampler(windows.lengths, self.batch_size, self.seed)

    @cached_property
    def _n_batches(self) -> int:
        return len(self._drawn(0).batches)

    def n_batches(self, epoch: int) -> int:
        """Number of batches, the same in every epoch."""
        return self._n_batches

    def batch(self, epoch: int, index: int) -> SeriesBatch:
        windows, batches = self._drawn(epoch)
        return collate_windows(self.store, windows, batches[index], self.needs)

    def in_order(self) -> Iterator[tuple[np.ndarray, SeriesBatch]]:
        """A few fixed windows of every stay, shortest first: for judging."""
        windows = tuning_windows(self.store, self.seed, TUNING_DRAWS)
        for indices in self._sampler(windows).in_order():
            yield indices, collate_windows(self.store, windows, indices, self.needs)


def bounded_batches(store: SeriesStore, needs: Needs, indices: np.ndarray | None = None) -> list[np.ndarray]:
    """Places among the stays `indices` of each batch, shortest stays first; bounded in memory."""
    steps = NUMBERS_PER_BATCH // (store.n_variables * len(CHANNELS))
    budget = EVENTS_PER_BATCH if needs == "triplets" else max(1, min(EVENTS_PER_BATCH, steps))
    lengths = store.lengths(needs) if indices is None else store.lengths(needs)[indices]
    return Sampler(np.maximum(lengths, 1), budget).in_order()


def summary_features(stays: Sequence[Stay], variables: Variables) -> Summary:
    """Summaries of each stay's variables and its static facts, NaN where missing."""
    return summary_matrix(stays, variables.names, variables.fact_names)


def series_coverage(table: pa.Table, variables: Variables) -> dict[str, Coverage]:
    """Measurements and unknown measurements (code and unit) in `table`, by code system."""
    system = pl.col("code").str.splitn("//", 2).struct.field("field_0")
    unknown = ~pl.col("name").is_in(list(variables.names))
    counts = (
        measurements(frame_of(table))
        .group_by(system.alias("system"))
        .agg(pl.len().cast(pl.Int64).alias("events"), unknown.cast(pl.Int64).sum().alias("unknown"))
        .sort("system")
    )
    return {system: Coverage(events, unknown) for system, events, unknown in counts.iter_rows()}
