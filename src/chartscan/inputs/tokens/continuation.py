"""Tokens that have not happened yet, with the attributes the encoder would give them if they had.

Codes come one by one. Their types and times follow the pace of train records; visits, segments, ages and gaps
the state machine that encodes real records.
"""

import copy
from typing import Self

import numpy as np

from chartscan.inputs.tokens import types as T
from chartscan.inputs.tokens.attributes import Attributes, Moment, Token, plain
from chartscan.inputs.tokens.config import SequenceConfig
from chartscan.inputs.tokens.encoded import Encoded
from chartscan.inputs.tokens.pace import STRUCTURAL, Pace, is_event
from chartscan.inputs.tokens.time import DAY_US
from chartscan.inputs.tokens.timeline import Origin

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
        """The state after a history, which may be a window of a longer one and may end anywhere."""
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
