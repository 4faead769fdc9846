"""Reading histories: in batches of like length, and their states as one, from which futures go on."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from chartscan.artifact import SequenceArtifact
from chartscan.batch import Batch
from chartscan.errors import ConfigError
from chartscan.generate.history import History
from chartscan.inputs.batches.collate import batch_of
from chartscan.inputs.tokens import Encoded

_TOKENS = 16384  # of histories that are read together, padding included


class State(Protocol):
    """A state that can be carried on from for chosen rows."""

    def at(self, rows: Tensor) -> "State": ...


class CausalModel(Protocol):
    """A sequence model that can go on from any position; see batch.SequenceModel."""

    def fork(self, batch: Batch, rows: Tensor, positions: Tensor) -> State: ...
    def init_state(self, rows: int) -> State: ...
    def parameters(self) -> Iterator[Tensor]: ...
    def step(self, token: Batch, state: State) -> tuple[Tensor, State]: ...


def causal(artifact: SequenceArtifact) -> CausalModel:
    """The artifact's model; ConfigError where it cannot forecast."""
    missing = [name for name in ("fork", "init_state", "step") if not hasattr(artifact.model, name)]
    if missing or artifact.forecast is None:
        why = "does not read events in order" if missing else "has no forecasting head"
        raise ConfigError(
            f"'{artifact.name}' {why} and cannot forecast. Forecast with a pretrained ehrmamba."
        )
    return cast(CausalModel, artifact.model)


def device_of(model: CausalModel) -> torch.device:
    """Where the model's weights are, and its states."""
    return next(model.parameters()).device


def bytes_of(state: Any) -> int:
    """Of all tensors in a state."""
    if isinstance(state, Tensor):
        return state.nbytes
    parts = state if isinstance(state, tuple) else [getattr(state, f.name) for f in fields(state)]
    return sum(map(bytes_of, parts))


def joined(parts: Sequence[Any]) -> Any:
    """The states of several groups of rows as one."""
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(list(parts))
    if isinstance(first, tuple):
        return tuple(map(joined, zip(*parts, strict=True)))
    return type(first)(*(joined([getattr(part, f.name) for part in parts]) for f in fields(first)))


def together(groups: Iterable[list[int]], most: int) -> Iterator[list[list[int]]]:
    """Groups whose futures go together: of about `most` histories."""
    found: list[list[int]] = []
    for group in groups:
        if found and sum(map(len, found)) + len(group) > most:
            yield found
            found = []
        found.append(group)
    if found:
        yield found


def alike(lengths: np.ndarray) -> Iterator[list[int]]:
    """Indices of histories that are read together: of like length, those of one token apart."""
    group: list[int] = []
    for i in np.argsort(lengths, kind="stable").tolist():
        full = (len(group) + 1) * lengths[i] > _TOKENS
        if group and (full or (lengths[group[0]] == 1) != (lengths[i] == 1)):
            yield group
            group = []
        group.append(i)
    if group:
        yield group


@torch.no_grad()
def read(model: CausalModel, histories: Sequence[History]) -> tuple[Tensor, State]:
    """Hidden states (B, D) and states after the last token of each history: its last token is a step.

    All histories have one token, or all have more."""
    windows = [h.window for h in histories]
    lengths = torch.tensor([w.n for w in windows])
    device = device_of(model)
    last = batch_of([_slice(w, w.n - 1, w.n) for w in windows])
    state = model.init_state(len(windows))
    if windows[0].n > 1:
        before = batch_of([_slice(w, 0, w.n - 1) for w in windows]).to(device)
        state = model.fork(before, torch.arange(len(windows), device=device), (lengths - 2).to(device))
    return model.step(replace(last, positions=(lengths - 1).unsqueeze(1)).to(device), state)


def _slice(encoded: Encoded, first: int, end: int) -> Encoded:
    return Encoded(*(getattr(encoded, f.name)[first:end] for f in fields(encoded)))
