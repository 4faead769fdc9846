"""What may come next in a record, and what a token changes."""

import copy
from typing import Self

import numpy as np

from chartscan.inputs.tokens import types as T
from chartscan.inputs.tokens.config import SequenceConfig
from chartscan.inputs.tokens.encoded import DAY_US, Encoded
from chartscan.inputs.tokens.pace import STRUCTURAL, Pace, is_event
from chartscan.inputs.tokens.timeline import Attributes, Moment, Origin, Token, plain
from chartscan.inputs.tokens.visits import OPENER, kind_of
from chartscan.schema import EVENT_TYPES

# Which token types may follow which. A record is [CLS], static facts, then visits: [VS] events [VE] [REG],
# with an interval token between two visits. A start of an encounter needs an earlier encounter in its visit.

OPENERS = tuple(T.TYPE_OF_EVENT[name] for name in EVENT_TYPES if kind_of(name) == OPENER)
_EVENTS = tuple(i for i in T.TYPE_OF_EVENT.values() if i != T.STATIC)
_NOT_OPENERS = tuple(i for i in _EVENTS if i not in OPENERS)
_FIXED = {
    T.CLS: (T.STATIC, T.VS),
    T.STATIC: (T.STATIC, T.VS),
    T.VS: _EVENTS,
    T.VE: (T.REG,),
    T.REG: (T.INTERVAL,),
    T.INTERVAL: (T.VS,),
}


class Grammar:
    """The state of a sequence of types; `last` is None before the first token."""

    def __init__(self, last: int | None = None, encounter: bool = False):
        self.last = last
        self.encounter = encounter  # whether the current visit holds the start of an encounter

    @classmethod
    def after(cls, types: np.ndarray) -> Self:
        """Where whole sequence of types (n,) ends."""
        visit = int(np.flatnonzero(types == T.VS)[-1]) if (types == T.VS).any() else len(types)
        last = int(types[-1]) if len(types) else None
        return cls(last, bool(np.isin(types[visit:], OPENERS).any()))

    def allowed(self) -> tuple[int, ...]:
        """Types that the next token may have."""
        if self.last is None:
            return (T.CLS,)
        if self.last in _FIXED:
            return _FIXED[self.last]
        return (*(_EVENTS if self.encounter else _NOT_OPENERS), T.VE)

    def push(self, type_: int) -> None:
        """Goes on by one token, allowed or not."""
        self.encounter = type_ in OPENERS or (self.encounter and type_ != T.VS)
        self.last = type_


def violations(types: np.ndarray, start: Grammar | None = None) -> int:
    """How many tokens of a sequence of types are not what may follow their predecessors."""
    state, found = Grammar(start.last, start.encounter) if start else Grammar(), 0
    for type_ in types.tolist():
        found += type_ not in state.allowed()
        state.push(type_)
    return found


# Attributes of future tokens. Types and times follow the pace of train records; the rest is encoded as usual.

_BARE = (T.PAD, T.CLS, T.INTERVAL, T.TASK, T.STATIC)


class Continuation:
    """One possible future of one history: where it stands, and what its next token carries."""

    def __init__(self, attributes: Attributes, pace: Pace, last: Moment, history: Encoded):
        self._attributes, self._pace = attributes, pace
        self.last = last  # of the last event
        events = np.flatnonzero(is_event(history.types))
        code, type_ = (history.codes[events[-1]], history.types[events[-1]]) if len(events) else (0, T.PAD)
        self._code, self._type = int(code), int(type_)  # of the last event
        self._before = int(history.types[-1])  # type of the last token
        self._next: int | None = None  # when the next event happens, where a visit or an interval has begun

    @classmethod
    def after(cls, history: Encoded, origin: Origin, config: SequenceConfig, pace: Pace) -> Self:
        """Return the state after a history, which may be a window and end anywhere."""
        visit = int((history.types == T.VS).sum())
        attributes = Attributes(config, origin.birth, origin.first_time, visit, origin.last_time)
        time = origin.now if origin.last_time is None else origin.last_time
        found = cls(attributes, pace, attributes.moment(time, time), history)
        tail = history.types[-2:].tolist()
        if tail[-1] == T.INTERVAL:
            found._wait(int(history.codes[-1]), 0.5)
        elif tail == [T.INTERVAL, T.VS] and not history.attributed[-1]:
            found._wait(int(history.codes[-2]), 0.5)
        elif tail[-1] == T.VS:
            found._next = time
        return found

    def copy(self) -> Self:
        """The same state, to go another way."""
        other = copy.copy(self)
        other._attributes = self._attributes.copy()
        return other

    @property
    def time(self) -> int:
        """The instant reached, microseconds: that of the next event where an interval has begun."""
        return self.last.time if self._next is None else self._next

    def push(self, code: int, place: float) -> Token:
        """The token `code` next, typed and timed by the pace.

        `place` in [0, 1) is where in the distribution of durations it falls; 0.5 is typical.
        """
        type_ = self._pace.type_of(code, self._before)
        if type_ == T.INTERVAL:
            self._wait(code, place)
        elif type_ == T.VS:
            self._next = self.time
        elif type_ not in STRUCTURAL and self._next is None:
            days = self._pace.step_days(self._type, type_, code > self._code, place)
            self._next = self.last.time + round(days * DAY_US)
        return self.place(code, type_, self._attributes.moment(self.time, self.time))

    def place(self, code: int, type_: int, at: Moment) -> Token:
        """The token `code` next, of a given type and at a given moment."""
        self._before = type_
        if type_ in _BARE:
            return plain(code, type_, at.known)
        if type_ == T.VS:
            return self._attributes.visit_start(at)
        if type_ in (T.VE, T.REG):
            return self._attributes.structural(code, type_, self.last, at.known)
        self.last, self._code, self._type, self._next = at, code, type_, None
        return self._attributes.event(code, type_, at)

    def _wait(self, interval: int, place: float) -> None:
        days = self._pace.interval_days(interval, self._type, self._code, place)
        self._next = self.time + round(days * DAY_US)  # one interval after another adds up
