"""The loop that samples many futures: next token, its time, model step.

Random numbers belong to (seed, subject, instant, sample): neither the other histories of a call nor how many
go together changes a future, up to rounding in the last digit of the model's arithmetic.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import msgspec
import numpy as np
import torch
from torch import Tensor

from chartscan.artifact import Artifact
from chartscan.batch import Batch
from chartscan.errors import check_settings
from chartscan.generate.reading import (
    CausalModel,
    History,
    Places,
    State,
    alike,
    bytes_of,
    causal,
    choose,
    device_of,
    joined,
    read,
    together,
)
from chartscan.inputs.readers import TokenReader
from chartscan.inputs.tokens import Continuation, Grammar, Token
from chartscan.inputs.tokens import types as T
from chartscan.inputs.tokens.encoded import DAY_US
from chartscan.inputs.tokens.pace import is_event
from chartscan.inputs.tokens.specials import UNK

ROWS = 512  # least number of futures that go together, where there are enough,
MOST_ROWS, STATE_BYTES = 4096, 2**26  # and at most this many, while all their states together are this small
_DRAWS = 32  # random numbers made ahead, in steps
_TYPICAL = 0.5
_DEATH = T.TYPE_OF_EVENT["death"]
_LEAST = 1e-3  # probability of an end that is worth a branch; below it, and near 1, ends are drawn
_LEAST_PART = 1e-2  # weight that is worth a part, which costs steps: a sample has at most a hundred

Ended = Literal["events", "days", "tokens", "death", "branch"]


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How futures are made, and when they end: at the first of the limits."""

    samples: int = 1  # futures of each history
    tokens: int = 1000  # at most, structural ones included
    events: int | None = None  # tokens that stand for events
    days: float | None = None  # after `now`; what happens later is left out
    until_death: bool = True
    temperature: float = 1.0  # 0: the likeliest token, at typical times
    top_p: float = 1.0
    branch_at: tuple[str, ...] = ()  # event types that end a future, in a branch of its own: Future.weight
    part_at: tuple[int, ...] = ()  # tokens with and without which a future goes on, in parts: Future.weight
    grammar: bool = False  # mask tokens that cannot follow their predecessor in any record
    seed: int = 0

    def __post_init__(self) -> None:
        sound = {
            "samples, tokens, events": min(self.samples, self.tokens, self.events or 1) >= 1,
            "samples (1 at temperature 0: all would be the same)": self.samples == 1 or self.temperature > 0,
            "days": self.days is None or 0 <= self.days < math.inf,
            "temperature": 0 <= self.temperature < math.inf,
            "top_p (above 0, at most 1)": 0 < self.top_p <= 1,
            "branch_at (event types; needs a temperature and top_p 1)": not self.branch_at
            or (set(self.branch_at) <= set(T.TYPE_OF_EVENT) and self.temperature > 0 and self.top_p == 1),
            "part_at (needs a temperature and top_p 1)": not self.part_at
            or (self.temperature > 0 and self.top_p == 1),
            "seed": self.seed >= 0,
        }
        check_settings(sound, "A plan of futures")


@dataclass(frozen=True)
class Future:
    """What may come after one history; arrays of shape (n,).

    A sample is one future, or, where the plan says `branch_at`, several: one for each place at which it might
    have ended with an event of these types, and the one that did not. At tokens of `part_at` it parts as
    well, and goes on either way. The weights of a sample add up to 1. Weighed by them, means over futures are
    what they are without branches, but vary less with the draws: the probability counts, not a draw by it.
    """

    history: int  # index
    sample: int
    codes: np.ndarray  # int32
    types: np.ndarray  # uint8
    times: np.ndarray  # int64, microseconds since 1970; of an interval token, when the next visit begins
    log_probs: np.ndarray  # float32, of each token by the model among the tokens allowed
    ended: Ended
    weight: float = 1.0


@torch.no_grad()
def generate(
    artifact: Artifact[TokenReader],
    histories: Sequence[History],
    plan: Plan,
    progress: Callable[[int, int | None], None] | None = None,
    rows: int | None = None,
) -> Iterator[Future]:
    """Yield the futures of `histories`, batch by batch, in no order.

    At most about `rows` go together. The last futures of a batch to end go on alone: small states want large
    batches.
    """
    model = causal(artifact)
    rows = rows or min(MOST_ROWS, max(ROWS, STATE_BYTES // bytes_of(model.init_state(1))))
    lengths = np.array([h.window.n for h in histories])
    done = 0
    for groups in together(alike(lengths), max(1, rows // plan.samples)):
        hidden, states = zip(*(read(model, [histories[i] for i in group]) for group in groups), strict=True)
        indices = [i for group in groups for i in group]
        asked = [histories[i] for i in indices]
        for future in go_on(artifact, asked, torch.cat(hidden), joined(states), plan, rows):
            yield replace(future, history=indices[future.history])
        done += len(indices)
        if progress:
            progress(done, len(histories))


@torch.no_grad()
def go_on(
    artifact: Artifact[TokenReader],
    histories: Sequence[History],
    hidden: Tensor,
    state: State,
    plan: Plan,
    rows: int = ROWS,
) -> Iterator[Future]:
    """The futures of histories that were read together: `hidden` (B, D) and states after each."""
    model = causal(artifact)
    allowed = _allowed(artifact, plan, device_of(model))
    futures = [_Row(h, i, s, plan) for i, h in enumerate(histories) for s in range(plan.samples)]
    fork = torch.arange(len(histories), device=hidden.device).repeat_interleave(plan.samples)
    for first in range(0, len(futures), rows):
        part = slice(first, first + rows)
        run = _Run(model, cast(Any, artifact.network.heads["forecast"]), allowed, plan)
        yield from run.futures(futures[part], hidden[fork[part]], state.at(fork[part]))


class _Allowed:
    """Masks (V,) of the tokens that may come next, on `device`."""

    def __init__(self, types: np.ndarray, plan: Plan, device: torch.device):
        self._types, self._device = types, device
        self.ends = self._mask(np.isin(types, [T.TYPE_OF_EVENT[name] for name in plan.branch_at]))
        self.parts = self._mask(np.isin(np.arange(len(types)), plan.part_at)) & ~self.ends
        self._cache: dict[tuple[int, ...], Tensor] = {}
        self.always = self._mask(types != T.PAD)

    def _mask(self, which: np.ndarray) -> Tensor:
        return torch.from_numpy(which).to(self._device)

    def after(self, grammar: Grammar) -> Tensor:
        """Those that the grammar has next; all where it has none of them."""
        wanted = grammar.allowed()
        if wanted not in self._cache:
            mask = self._mask(np.isin(self._types, wanted)) & self.always
            self._cache[wanted] = mask if mask.any() else self.always
        return self._cache[wanted]


def _allowed(artifact: Artifact[TokenReader], plan: Plan, device: torch.device) -> _Allowed:
    """Padding, [UNK], [MASK], [CLS], task tokens and static facts never come next."""
    assert artifact.reader.pace is not None
    types = np.array(artifact.reader.pace.types)
    coming = is_event(types) | np.isin(types, (T.VS, T.VE, T.REG, T.INTERVAL))
    coming[[UNK, *artifact.reader.vocabulary.tasks.values()]] = False
    return _Allowed(np.where(coming, types, T.PAD), plan, device)


class _Row:
    """One future in the making."""

    def __init__(self, history: History, index: int, sample: int, plan: Plan):
        self.index, self.sample, self.plan = index, sample, plan
        self.state: Continuation = history.state.copy()
        self.grammar = Grammar(history.grammar.last, history.grammar.encounter)
        self.position = history.window.n
        self._end = None if plan.days is None else history.now + round(plan.days * DAY_US)
        self._weight = 1.0
        self._places = Places(plan.seed, history.subject_id, history.now, sample)
        self._found: list[tuple[int, int, int, float]] = []
        self._events = 0
        self.ended: Ended | None = None

    def draws(self) -> np.ndarray:
        """Places of the next tokens among codes and among durations, (steps, 2)."""
        if self.plan.temperature == 0:
            return np.full((_DRAWS, 2), _TYPICAL)
        return self._places.next(_DRAWS)

    def push(self, code: int, log_prob: float, place: float) -> Token:
        """The token `code` next; sets `ended` where it was the last."""
        token = self.state.push(code, place)
        self.grammar.push(token.type)
        if self._end is not None and self.state.time > self._end:
            self.ended = "days"
            return token
        self._found.append((code, token.type, token.known, log_prob))
        self._events += token.type not in _STRUCTURAL
        self.position += 1
        if token.type == _DEATH and self.plan.until_death:
            self.ended = "death"
        elif self._events == self.plan.events:
            self.ended = "events"
        elif len(self._found) == self.plan.tokens:
            self.ended = "tokens"
        return token

    def branch(self, code: int, log_prob: float, place: float, share: float) -> Future:
        """The future that ends here with the token `code`; `share` of this one's weight becomes its own."""
        other = self._split(share)
        other.push(code, log_prob, place)
        other.ended = other.ended or "branch"
        return other.future()

    def worth_parting(self, share: float) -> bool:
        """Return whether both parts would have enough weight."""
        return self._weight * min(share, 1 - share) >= _LEAST_PART

    def part(self, share: float) -> "_Row":
        """The same future once more, to go another way; `share` of this one's weight becomes its own."""
        other = self._split(share)
        other._places = copy.deepcopy(self._places)
        return other

    def _split(self, share: float) -> "_Row":
        other = copy.copy(self)
        other.state, other.grammar = self.state.copy(), copy.copy(self.grammar)
        other._found = list(self._found)
        other._weight, self._weight = self._weight * share, self._weight * (1 - share)
        return other

    def future(self) -> Future:
        """Return the finished future."""
        assert self.ended is not None
        columns = list(zip(*self._found, strict=True)) or [(), (), (), ()]
        return Future(
            history=self.index,
            sample=self.sample,
            codes=np.array(columns[0], dtype=np.int32),
            types=np.array(columns[1], dtype=np.uint8),
            times=np.array(columns[2], dtype=np.int64),
            log_probs=np.array(columns[3], dtype=np.float32),
            ended=self.ended,
            weight=self._weight,
        )


_STRUCTURAL = (T.VS, T.VE, T.REG, T.INTERVAL)


class _Run:
    """The loop over tokens for rows that go together."""

    def __init__(self, model: CausalModel, head: Callable[[Tensor], Tensor], allowed: _Allowed, plan: Plan):
        self.model, self.head, self.allowed, self.plan = model, head, allowed, plan

    def futures(self, rows: list[_Row], hidden: Tensor, state: State) -> Iterator[Future]:
        """All futures, each as soon as it has ended."""
        step = 0
        while rows:
            if step % _DRAWS == 0:
                draws = np.stack([row.draws() for row in rows])  # (R, steps, 2)
            place = draws[:, step % _DRAWS]
            logits, allowed = self.head(hidden), self._mask(rows)
            if self.plan.branch_at:
                allowed, branches = self._branched(rows, logits, allowed, place)
                yield from branches
            if self.plan.part_at:
                rows, which, allowed = self._parted(rows, logits, allowed)
                if len(which) > len(logits):
                    logits, draws, state = logits[which], draws[which.cpu().numpy()], state.at(which)
                    place = draws[:, step % _DRAWS]
            tokens = self._next(rows, logits, allowed, place)
            going = [i for i, row in enumerate(rows) if row.ended is None]
            if len(going) < len(rows):
                yield from (row.future() for row in rows if row.ended is not None)
                rows, tokens, draws = [rows[i] for i in going], [tokens[i] for i in going], draws[going]
                state = state.at(torch.tensor(going, dtype=torch.int64).to(hidden.device))
            if rows:
                hidden, state = self.model.step(_batch(tokens, rows).to(hidden.device), state)
            step += 1

    def _branched(
        self, rows: list[_Row], logits: Tensor, allowed: Tensor, place: np.ndarray
    ) -> tuple[Tensor, list[Future]]:
        """The futures that end here, and what the next tokens (R, V) of those that go on may be."""
        scores = torch.log_softmax(logits.masked_fill(~allowed, -torch.inf).double(), -1)  # (R, V)
        share = torch.softmax(scores / self.plan.temperature, -1)[:, self.allowed.ends].sum(-1)  # (R,)
        at = ((share >= _LEAST) & (share <= 1 - _LEAST)).nonzero().squeeze(1)
        if not len(at):
            return allowed, []
        ending = self.allowed.ends & allowed.expand_as(logits)[at]
        places = _places(place, logits.device)[at]
        codes = choose(logits[at], ending, self.plan.temperature, 1.0, places).codes
        log_probs = scores[at].gather(1, codes.unsqueeze(1)).squeeze(1)
        columns = (at, codes, log_probs, share[at])
        found = [
            rows[i].branch(code, log_prob, float(place[i, 1]), part)
            for i, code, log_prob, part in zip(*(c.tolist() for c in columns), strict=True)
        ]
        going = allowed.expand_as(logits).clone()
        going[at] &= ~self.allowed.ends
        return going, found

    def _parted(self, rows: list[_Row], logits: Tensor, allowed: Tensor) -> tuple[list[_Row], Tensor, Tensor]:
        """The rows and after them the second parts of some, which of the rows (S,) each was, and what each
        may go on with: the first parts without the tokens to part at, the second with them alone."""
        scores = logits.masked_fill(~allowed, -torch.inf) / self.plan.temperature
        share = (scores[:, self.allowed.parts].logsumexp(-1) - scores.logsumexp(-1)).exp()  # (R,)
        likely = (share >= _LEAST_PART).nonzero().squeeze(1).tolist()
        at = [i for i in likely if rows[i].worth_parting(float(share[i]))]
        which = torch.tensor([*range(len(rows)), *at]).to(logits.device)
        if not at:
            return rows, which, allowed
        going = allowed.expand_as(logits)[which]  # (S, V)
        going[at] &= ~self.allowed.parts
        going[len(rows) :] &= self.allowed.parts
        return rows + [rows[i].part(float(share[i])) for i in at], which, going

    def _next(self, rows: list[_Row], logits: Tensor, allowed: Tensor, place: np.ndarray) -> list[Token]:
        """The next token of every row."""
        places = _places(place, logits.device)
        chosen = choose(logits, allowed, self.plan.temperature, self.plan.top_p, places)
        found = zip(rows, chosen.codes.tolist(), chosen.log_probs.tolist(), place[:, 1].tolist(), strict=True)
        return [row.push(code, log_prob, when) for row, code, log_prob, when in found]

    def _mask(self, rows: list[_Row]) -> Tensor:
        if not self.plan.grammar:
            return self.allowed.always
        return torch.stack([self.allowed.after(row.grammar) for row in rows])


def _places(place: np.ndarray, device: torch.device) -> Tensor:
    """Among codes (R,)."""
    return torch.from_numpy(np.ascontiguousarray(place[:, 0])).to(device)


def _batch(tokens: list[Token], rows: list[_Row]) -> Batch:
    """One token a row, L = 1."""
    columns = dict(zip(Token._fields, zip(*tokens, strict=True), strict=True))
    whole, real = torch.int64, torch.float32

    def column(name: str, dtype: torch.dtype) -> Tensor:
        return torch.tensor(columns[name], dtype=dtype).unsqueeze(1)

    return Batch(
        codes=column("code", whole),
        types=column("type", whole),
        ages=column("age", real),
        times=column("time", real),
        gaps=column("gap", real),
        segments=column("segment", whole),
        visit_orders=column("visit_order", whole),
        positions=torch.tensor([row.position - 1 for row in rows]).unsqueeze(1),
        attributed=column("attributed", torch.bool),
        lengths=torch.ones(len(rows), dtype=whole),
    )
