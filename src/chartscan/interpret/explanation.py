"""The explanation of one answer: events, their attributions, and how reliable these are.

What answers is one network, or several of tokens (`voices`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from chartscan.artifact import AnyArtifact
from chartscan.errors import ConfigError
from chartscan.interpret.events import AnyBatch, Score, candidates, longest
from chartscan.interpret.faithfulness import comprehensiveness, deletion, insertion, sufficiency
from chartscan.interpret.gradients import Attribution


class Voices(NamedTuple):
    """The models behind a task: log odds = raw log odds @ weights."""

    members: tuple[AnyArtifact, ...]
    weights: tuple[float, ...]


def voices(model: AnyArtifact, path: Path) -> dict[str, Voices]:
    """Return the models of a task: the artifact, or weighted ensemble members."""
    found = {}
    for task in model.tasks:
        members, weights = zip(*model.voices(task), strict=True)
        found[task] = Voices(members, weights)
    for task, own in found.items():
        if not _explainable(own.members):
            raise ConfigError(
                f"{path} has no networks for {task} that can be explained together. Explain a model of "
                "tokens or of time series, an ensemble of token models with one vocabulary, or one member."
            )
    return found


def _explainable(members: Sequence[AnyArtifact]) -> bool:
    """A single network, or several that read the same tokens and answer the same tasks."""
    if not all(one.network for one in members):
        return False
    if len(members) == 1:
        return True
    singles = [next(one.singles()) for one in members]
    return all(
        one.network.model.INPUT == "tokens"
        and (one.reader.key, one.tasks) == (singles[0].reader.key, singles[0].tasks)
        for one in singles
    )


GRADIENTS, OCCLUSION, RANDOM = "integrated gradients", "occlusion", "random"
HIDDEN, CONTRIBUTIONS = "hidden attention", "hidden contributions"
ATTENTION, FUSION, VALUES = "attention", "fusion attention", "integrated gradients of values"
_WITHOUT = "compared with a record that never had the event"
_MEAN_VALUE = "compared with the mean value of its variable"
# What the signed methods set an event against, by what a model reads; attention has no sign.
SIGNED = {
    "tokens": {
        GRADIENTS: "compared with the mean reading of its variable, or the record's mean event of its type",
        OCCLUSION: _WITHOUT,
    },
    "triplets": {
        GRADIENTS: "compared with the record's mean event",
        VALUES: _MEAN_VALUE,
        OCCLUSION: _WITHOUT,
    },
    "carried": {
        GRADIENTS: "compared with a stay without any event",
        VALUES: _MEAN_VALUE,
        OCCLUSION: "compared with a stay without the variable's events of that hour",
    },
}

Method = Callable[[AnyBatch], Tensor | Attribution]


class Question(NamedTuple):
    """A question and its answer."""

    task: str
    subject_id: int
    prediction_time: datetime
    probability: float  # calibrated
    label: bool | None  # None: not known
    true_risk: float | None = None  # of simulated patients

    def seeds(self, seed: int) -> tuple[int, ...]:
        """Seeds of random numbers that no other question changes."""
        instant = int(np.datetime64(self.prediction_time, "us").astype(np.int64))
        return seed, self.subject_id % 2**64, instant % 2**64


@dataclass(frozen=True)
class Explanation:
    """Of n events: `events` has position, time, code, type, value, event_type and visit of each."""

    question: Question
    events: pl.DataFrame
    attributions: Mapping[str, NDArray[np.float64]]  # by method, (n,)
    randomised: Mapping[str, NDArray[np.float64]]  # of the model with its weights shuffled
    measures: Mapping[str, Mapping[str, NDArray[np.float64]]]  # by method and RANDOM, by measure
    change: Mapping[str, float]  # log odds less those of the baseline, of what adds up to it
    gap: Mapping[str, float]


class Row(NamedTuple):
    """What `explained` gives of one row of a batch; arrays (L,)."""

    attributions: dict[str, NDArray[np.float64]]
    randomised: dict[str, NDArray[np.float64]]
    measures: dict[str, dict[str, NDArray[np.float64]]]
    change: dict[str, float]
    gap: dict[str, float]


def explained(
    score: Score[AnyBatch],
    batch: AnyBatch,
    methods: Mapping[str, Method[AnyBatch]],
    shuffled: Mapping[str, Method[AnyBatch]],
    seeds: Sequence[Sequence[int]],
) -> list[Row]:
    """Explain each row by all methods, beside random ranks and a shuffled model."""
    found = {name: method(batch) for name, method in methods.items()}
    sums = {name: one for name, one in found.items() if isinstance(one, Attribution)}
    events = {name: one.events if isinstance(one, Attribution) else one for name, one in found.items()}
    ranks = events | {RANDOM: _random_ranks(batch, seeds)}
    measures = {name: _measures(score, batch, rank) for name, rank in ranks.items()}
    other = {name: method(batch) for name, method in shuffled.items()}
    return [
        Row(
            {name: _array(one[row]) for name, one in events.items()},
            {n: _array((o.events if isinstance(o, Attribution) else o)[row]) for n, o in other.items()},
            {name: {m: _array(v[row]) for m, v in by.items()} for name, by in measures.items()},
            {name: float(one.change[row]) for name, one in sums.items()},
            {name: float(one.gap[row]) for name, one in sums.items()},
        )
        for row in range(len(batch.lengths))
    ]


def explanation(question: Question, events: pl.DataFrame, row: Row, shown: Any) -> Explanation:
    """The row's explanation; `shown` says which of its positions are the events."""
    return Explanation(
        question,
        events,
        {name: values[shown] for name, values in row.attributions.items()},
        {name: values[shown] for name, values in row.randomised.items()},
        row.measures,
        row.change,
        row.gap,
    )


def _random_ranks(batch: AnyBatch, seeds: Sequence[Sequence[int]]) -> Tensor:
    """(B, L): random ranks. A row's are the same in every batch and with any padding."""
    drawn = [np.random.default_rng(one).random(longest(batch), np.float32) for one in seeds]
    return torch.from_numpy(np.stack(drawn)).to(batch.lengths.device) * candidates(batch)


def _measures(score: Score[AnyBatch], batch: AnyBatch, rank: Tensor) -> dict[str, Tensor]:
    return {
        "comprehensiveness": comprehensiveness(score, batch, rank),
        "sufficiency": sufficiency(score, batch, rank),
        "deletion": deletion(score, batch, rank),
        "insertion": insertion(score, batch, rank),
    }


def _array(values: Tensor) -> NDArray[np.float64]:
    return values.detach().double().cpu().numpy()
