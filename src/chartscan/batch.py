"""The batches, states and protocols that models meet. The first file that imports torch.

Shape letters: B subjects (rows), L positions, D width, E inner width, N state size, V vocabulary (tokens, or
variables of a time series), P prompts (questions asked at a position of a row), T tasks, S static features,
H hourly steps, C channels of the carried state.
"""

from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, Self

import torch
from torch import Tensor

Pretraining = Literal["next_event", "masked_event", "masked_forecast"]

PAD = 0  # token id, type id, segment, visit order and variable of padding


@dataclass(frozen=True)
class Prompts:
    """Questions asked of a history: a task token that follows position `positions` of row `rows`.

    Many prompts may ask at one position; none changes what later positions of the row see.
    """

    rows: Tensor  # (P,) int64
    positions: Tensor  # (P,) int64, index of the last visible token of the row
    codes: Tensor  # (P,) int64, token id of the task
    tasks: Tensor  # (P,) int64, index of the task in the artifact's list
    labels: Tensor  # (P,) float32, 0 or 1; NaN where the answer is not known (prediction)


@dataclass(frozen=True)
class Batch:
    """B token sequences, padded at the right to L positions."""

    codes: Tensor  # (B, L) int64, token ids
    types: Tensor  # (B, L) int64, token types
    ages: Tensor  # (B, L) float32, years
    times: Tensor  # (B, L) float32, weeks since the subject's first event
    gaps: Tensor  # (B, L) float32, weeks since the previous token that has a time
    segments: Tensor  # (B, L) int64, 1 and 2 in turn by visit, 0 outside
    visit_orders: Tensor  # (B, L) int64, 1-based, 0 outside
    positions: Tensor  # (B, L) int64
    attributed: Tensor  # (B, L) bool: age, time, segment and visit order count; elsewhere zero vectors
    lengths: Tensor  # (B,) int64, tokens before padding
    prompts: Prompts | None = None

    def to(self, device: torch.device | str) -> Self:
        """The same batch on `device`."""
        return _moved(self, device)


@dataclass(frozen=True)
class ForecastWindow:
    """What came next of each variable: the masked target of forecasting."""

    targets: Tensor  # (B, V) float32, scaled; any number where not observed
    observed: Tensor  # (B, V) bool


@dataclass(frozen=True)
class SeriesBatch:
    """B stays as triplets (time, variable, value) by time, right-padded to L events.

    Beside or instead of them the carried state: what is known of each variable by the end of every hour.
    """

    hours: Tensor  # (B, L) float32, since the stay's time zero
    variables: Tensor  # (B, L) int64, 1 .. V; PAD at padding
    values: Tensor  # (B, L) float32, scaled
    lengths: Tensor  # (B,) int64, events before padding; 0 where nothing was measured
    statics: Tensor  # (B, S) float32, scaled, with flags of what is missing
    ends: Tensor  # (B,) float32, hours from time zero to the prediction
    labels: Tensor  # (B, T) float32, 0 or 1, or between (a teacher's); NaN where the answer is not known
    carried: Tensor | None = None  # (B, H, V, C) float32, zeros at padding
    steps: Tensor | None = None  # (B,) int64, hours of `carried` before padding, at least 1
    forecast: ForecastWindow | None = None

    def to(self, device: torch.device | str) -> Self:
        """The same batch on `device`."""
        return _moved(self, device)


def _moved(value: Any, device: torch.device | str) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if is_dataclass(value) and not isinstance(value, type):
        return type(value)(**{f.name: _moved(getattr(value, f.name), device) for f in fields(value)})
    return value


class Loss(NamedTuple):
    """The loss of a batch; its mean is total / weight.

    Sums instead of means, so that batches of different sizes, and processes, can be added up exactly.
    """

    total: Tensor  # scalar, sum of the weighted losses
    weight: float  # sum of the weights; the number of targets where each weighs 1
    targets: int  # number of predicted targets


class State(Protocol):
    """What a causal model carries between events; one for each row of a batch."""

    def detach(self) -> "State": ...


class SequenceModel(Protocol):
    """A model of token sequences. `width` is D; `PRETRAINING` names its objective."""

    INPUT: ClassVar[Literal["tokens"]]
    HEAD: ClassVar[str]  # the file in objectives/ that answers tasks from its hidden states
    CAUSAL: ClassVar[bool]
    PRETRAINING: ClassVar[Pretraining | None]
    width: int

    def __call__(self, batch: Batch) -> Tensor:
        """Hidden states (B, L, D), of nothing but the own row: where `CAUSAL`, of positions 0..l at l."""
        ...

    def prompted(self, batch: Batch) -> Tensor:
        """Hidden states (P, D) of `batch.prompts`, each as if its task token followed its position.

        Causal or not, an answer has seen its row up to that position, and no other prompt.
        """
        ...


class CausalModel(SequenceModel, Protocol):
    """A sequence model that goes on from where it is, token by token."""

    def init_state(self, rows: int) -> Any:
        """The state before the first token, for `rows` sequences."""
        ...

    def step(self, token: Batch, state: Any) -> tuple[Tensor, Any]:
        """Advance by one token a row (L = 1): hidden (B, D) and the new state."""
        ...


class SeriesModel(Protocol):
    """A model of time series; `INPUT` is what it reads, `width` its output's."""

    INPUT: ClassVar[Literal["triplets", "carried"]]
    HEAD: ClassVar[str]  # the file in objectives/ that answers from its representation
    PRETRAINING: ClassVar[Pretraining | None]
    width: int

    def __call__(self, batch: SeriesBatch) -> Tensor:
        """Representation (B, width) of each stay at its end; neither padding nor batch-mates change it."""
        ...
