"""A history read before its future is drawn, and the choice of tokens."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from chartscan.artifact import Artifact
from chartscan.batch import Batch
from chartscan.errors import ConfigError
from chartscan.inputs.batches.rows import batch_of
from chartscan.inputs.readers import TokenReader
from chartscan.inputs.tokens import Continuation, Encoded, Grammar, Timeline, window


class Choice(NamedTuple):
    """The next token of each row, and the model's log probability among allowed tokens."""

    codes: Tensor  # (R,) int64
    log_probs: Tensor  # (R,) float32, at temperature 1 and without top-p


def choose(logits: Tensor, allowed: Tensor, temperature: float, top_p: float, places: Tensor) -> Choice:
    """Choose one token per row of `logits` (R, V), where `allowed` is true.

    `allowed` has shape (R, V) or (V,). Temperature 0 takes the likeliest. Otherwise the least set of
    likeliest tokens that together have `top_p` at `temperature` is drawn from (Holtzman et al. 2020), by
    `places` (R,) in [0, 1): a row's token depends on its own logits and place alone.
    """
    scores = torch.log_softmax(logits.masked_fill(~allowed, -torch.inf).double(), -1)
    codes = scores.argmax(-1) if temperature == 0 else _drawn(scores / temperature, top_p, places)
    return Choice(codes, scores.gather(-1, codes.unsqueeze(-1)).squeeze(-1).float())


def _drawn(scores: Tensor, top_p: float, places: Tensor) -> Tensor:
    """By inverse cumulative distribution: over all tokens by their ids, or the likeliest first."""
    if top_p == 1:
        return _at(torch.softmax(scores, -1).cumsum(-1), places)
    likeliest, order = torch.softmax(scores, -1).sort(dim=-1, descending=True, stable=True)
    before = likeliest.cumsum(-1) - likeliest
    kept = (before < top_p) & (likeliest > 0)
    index = _at((likeliest * kept).cumsum(-1), places)
    return order.gather(-1, index.unsqueeze(-1)).squeeze(-1)


def _at(upper: Tensor, places: Tensor) -> Tensor:
    """The index at which cumulated probabilities `upper` (R, V) pass `places` (R,) of their sum."""
    target = places.double().unsqueeze(-1) * upper[:, -1:]
    last = torch.searchsorted(upper, upper[:, -1:].contiguous())  # rounding must not go beyond it
    return torch.minimum(torch.searchsorted(upper, target, right=True), last).squeeze(-1)


# The futures of one history share the places of their first tokens (a randomly shifted Halton sequence;
# Cranley and Patterson 1976, SIAM J. Numer. Anal. 13:904). Their share of outcomes is then more exact than
# that of independent draws.

_BASES = (2, 3, 5)  # of the sequence, for the first token, the second, the third
_NO_SAMPLE = 2**64 - 1  # the random numbers of a history, not of one of its samples
_CODES = 0  # the column of places among codes; the other one is among durations


class Places:
    """The places (steps, 2) in [0, 1) of one future, block by block."""

    def __init__(self, seed: int, subject: int, now: int, sample: int):
        history = [seed, subject % 2**64, now % 2**64]
        self._random = np.random.default_rng([*history, sample])
        shifts = np.random.default_rng([*history, _NO_SAMPLE]).random(len(_BASES))
        self._first = [(_mirrored(sample, b) + s) % 1.0 for b, s in zip(_BASES, shifts, strict=True)]

    def next(self, steps: int) -> np.ndarray:
        """Those of the next `steps` tokens, among codes and among durations."""
        found = self._random.random((steps, 2))
        n = min(len(self._first), steps)
        found[:n, _CODES], self._first = self._first[:n], self._first[n:]
        return found


def _mirrored(number: int, base: int) -> float:
    """The digits of `number` in `base`, mirrored at the point: the first n numbers lie evenly in [0, 1)."""
    found, size = 0.0, 1.0
    while number:
        number, digit = divmod(number, base)
        size /= base
        found += digit * size
    return found


@dataclass(frozen=True)
class History:
    """The first tokens of one subject's record; the forecast starts at `now`."""

    subject_id: int
    now: int  # microseconds since 1970
    window: Encoded  # what fits into the context
    state: Continuation
    grammar: Grammar


def history_of(
    artifact: Artifact[TokenReader],
    subject_id: int,
    encoded: Encoded,
    timeline: Timeline,
    now: int,
    context: int | None = None,
) -> History:
    """The history of the tokens `encoded`, the visible part of a subject's sequence.

    Of a longer one, the model sees the last `context` tokens (default: the vocabulary's own context).
    """
    config, pace = artifact.reader.vocabulary.config, artifact.reader.pace
    assert pace is not None
    shown = window(encoded, encoded.n, context or config.context)
    state = Continuation.after(shown, timeline.origin(encoded, now), config, pace)
    return History(subject_id, now, shown, state, Grammar.after(encoded.types))


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


def causal(artifact: Artifact[TokenReader]) -> CausalModel:
    """The artifact's model; ConfigError where it cannot forecast."""
    missing = [name for name in ("fork", "init_state", "step") if not hasattr(artifact.network.model, name)]
    if missing or "forecast" not in artifact.network.heads:
        why = "does not read events in order" if missing else "has no forecasting head"
        raise ConfigError(
            f"'{artifact.name}' {why} and cannot forecast. Forecast with a pretrained ehrmamba."
        )
    return cast(CausalModel, artifact.network.model)


def device_of(model: CausalModel) -> torch.device:
    """Where the model's weights are, and its states."""
    return next(model.parameters()).device


def bytes_of(state: Any) -> int:
    """Return the bytes of all tensors in a state."""
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
    """Return hidden states (B, D) and states after each history's last token.

    The last token is read as a step. All histories have one token, or all have more.
    """
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
