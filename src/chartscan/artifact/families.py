"""The families of trained models: what each holds to read records and to answer. Knows no files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from torch import nn

from chartscan.inputs.hourly import Variables
from chartscan.inputs.tokens import NumericBins, Pace, Vocabulary


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one task's answers are read: calibrated log odds = intercept + slope * the model's log odds.

    All of it comes from `rows` tuning samples; the default is the raw answer and a threshold of one half.
    """

    intercept: float = 0.0
    slope: float = 1.0
    threshold: float = 0.5  # of the calibrated probability: at or above it the decision is yes
    rows: int = 0

    def __post_init__(self) -> None:
        if not (abs(self.intercept) <= 1e4 and 0 < self.slope <= 1e4 and 0 <= self.threshold <= 1):
            raise ValueError("expected a finite intercept, a positive slope and a threshold of 0 to 1")
        if self.rows < 0:
            raise ValueError("a calibration is fitted on 0 or more rows")

    def probability(self, log_odds: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probabilities of the model's log odds."""
        return np.exp(-np.logaddexp(0.0, -(self.intercept + self.slope * np.asarray(log_odds, np.float64))))


@dataclass(frozen=True)
class SequenceArtifact:
    """A sequence model with what it needs to read records and to answer."""

    name: str  # of the file in models/
    config: msgspec.Struct  # that file's Config
    model: nn.Module
    vocabulary: Vocabulary  # with the settings of the token representation
    bins: NumericBins
    tasks: tuple[str, ...] = ()  # in the order of the head's task indices
    head: nn.Module | None = None  # objectives.prompted.Prompted: answers to task tokens
    probe: nn.Module | None = None  # objectives.probe.Probe: answers of the model as it was pretrained
    forecast: nn.Module | None = None  # objectives.next_event.NextEvent: which token comes next
    masked: nn.Module | None = None  # objectives.masked_event.MaskedEvent: which event is masked
    pace: Pace | None = None  # types and times of generated tokens, from train records
    calibration: Mapping[str, Calibration] = field(default_factory=dict)  # by task
    run: Mapping[str, Any] = field(default_factory=dict)  # seed, versions, data: whatever JSON can hold

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The modules there are, by the prefix of their weights."""
        return _present(
            model=self.model, head=self.head, probe=self.probe, forecast=self.forecast, masked=self.masked
        )

    @property
    def answering(self) -> nn.Module | None:
        """What answers the tasks: `predict(model, batch)`; None where the model has learned none."""
        return self.head or self.probe


@dataclass(frozen=True)
class SeriesArtifact:
    """A model of irregular time series, on triplets or on the carried state: the model's INPUT says which."""

    name: str  # of the file in models/
    config: msgspec.Struct  # that file's Config
    model: nn.Module
    variables: Variables  # with the settings of the series
    tasks: tuple[str, ...] = ()  # in the order of the head's columns
    head: nn.Module | None = None  # of the objective that the model's HEAD names: a log odds a task
    head_config: msgspec.Struct | None = None  # that objective's Config where there is a head
    calibration: Mapping[str, Calibration] = field(default_factory=dict)  # by task
    run: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The modules there are, by the prefix of their weights."""
        return _present(model=self.model, head=self.head)


@dataclass(frozen=True)
class _ModelsByTask:
    """One tabular model a task."""

    name: str  # of the file in tabular/
    models: Mapping[str, Any]  # by task

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, in the order of `models`."""
        return tuple(self.models)


@dataclass(frozen=True)
class TabularArtifact(_ModelsByTask):
    """One tabular model a task, on counts of the vocabulary's tokens."""

    vocabulary: Vocabulary
    bins: NumericBins
    calibration: Mapping[str, Calibration] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SummaryArtifact(_ModelsByTask):
    """One tabular model a task, on summary features of a stay's time series."""

    variables: Variables
    calibration: Mapping[str, Calibration] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EnsembleArtifact:
    """Members of any families and how to blend them: log odds = intercept + the members' log odds @ weights.

    The members' log odds are raw: their own calibrations and decisions play no part. A member whose
    weight for a task is 0 is not asked and need not have learned it: each task may have a model of its own.
    """

    name: str
    members: tuple["Artifact", ...]
    weights: Mapping[str, NDArray[np.float64]]  # by task, (M,) in the order of the members
    intercept: Mapping[str, float] = field(default_factory=dict)  # by task; 0 where none is given
    calibration: Mapping[str, Calibration] = field(default_factory=dict)  # of the blended log odds
    run: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, in the order of `weights`."""
        return tuple(self.weights)

    def blended(self, task: str, log_odds: NDArray[np.floating]) -> NDArray[np.float64]:
        """Log odds (n,) of one task from those of the members (n, M)."""
        weights = np.asarray(self.weights[task], np.float64)
        return self.intercept.get(task, 0.0) + np.asarray(log_odds, np.float64) @ weights


Artifact = SequenceArtifact | SeriesArtifact | TabularArtifact | SummaryArtifact | EnsembleArtifact


def _present(**parts: nn.Module | None) -> dict[str, nn.Module]:
    return {name: module for name, module in parts.items() if module is not None}
