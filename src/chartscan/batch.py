"""Batch, State and the protocol every sequence model meets. The first file that imports torch.

Shape letters: B subjects (rows), L positions, D width, E inner width, N state size, V vocabulary,
P prompts (questions asked at a position of a row), T tasks.
"""

from dataclasses import dataclass, fields
from typing import Any, Protocol, Self

import torch
from torch import Tensor

PAD = 0  # token id, type id, segment and visit order of padding


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
        return type(self)(**{f.name: _moved(getattr(self, f.name), device) for f in fields(self)})


def _moved(value: Any, device: torch.device | str) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Prompts):
        return Prompts(**{f.name: getattr(value, f.name).to(device) for f in fields(value)})
    return value


class State(Protocol):
    """What a causal model carries from one event to the next; one per row of a batch."""

    def detach(self) -> "State": ...


class SequenceModel(Protocol):
    """A causal sequence model. `width` is D."""

    width: int

    def forward(self, batch: Batch) -> Tensor:
        """Hidden states (B, L, D); position l has seen positions 0..l of its row and nothing else."""
        ...

    def prompted(self, batch: Batch) -> Tensor:
        """Hidden states (P, D) of `batch.prompts`, each as if its task token followed its position."""
        ...

    def init_state(self, rows: int) -> Any:
        """The state before the first token, for `rows` sequences."""
        ...

    def step(self, token: Batch, state: Any) -> tuple[Tensor, Any]:
        """One token a row (L = 1) and the state before it -> hidden (B, D) and the state after it."""
        ...
