"""Which token may follow which: the order of tokens that the encoder can give, by types alone.

A record is [CLS], static facts, then visits: [VS] events [VE] [REG], with an interval token between two. The
start of an encounter stands inside a visit only where that visit holds an earlier one: an implicit visit
would be closed first. What depends on which encounter ended is not told by types and not checked.
"""

from typing import Self

import numpy as np

from chartscan.inputs.tokens import types as T
from chartscan.inputs.tokens.visits import OPENER, kind_of
from chartscan.schema import EVENT_TYPES

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
    """Where a sequence of types stands. `last` is the type before the next token; None before the first."""

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
