"""Age, time, gap, segment and visit order of one token after the other: the state they advance by.

Live records (`stream`) and imagined futures (`continuation`) share it, so that a generated token has the
attributes that the encoder would give it.
"""

import copy
from typing import NamedTuple

from chartscan.inputs.tokens import specials as S
from chartscan.inputs.tokens import types as T
from chartscan.inputs.tokens.config import SequenceConfig
from chartscan.inputs.tokens.encoded import segment, visit_order
from chartscan.inputs.tokens.time import age_years, weeks


class Token(NamedTuple):
    """One token with its attributes; the fields of Encoded."""

    code: int
    type: int
    age: float
    time: float
    gap: float
    segment: int
    visit_order: int
    attributed: bool
    known: int  # microseconds since 1970


class Moment(NamedTuple):
    """When an event happened and became known (microseconds), and the subject's age at it as known then."""

    time: int
    known: int
    age: float


class Attributes:
    """What decides the attributes of one subject's next token; instants in microseconds, None: not yet known.

    `visit` counts the visits so far, `gap_from` is the time of the last attributed token.
    """

    def __init__(
        self,
        config: SequenceConfig,
        birth: int | None = None,
        first_time: int | None = None,
        visit: int = 0,
        gap_from: int | None = None,
    ):
        self.birth, self.first_time = birth, first_time
        self._visit_tokens = config.visit_tokens_attributed
        self._visit = visit
        self._gap_from = gap_from

    def copy(self) -> "Attributes":
        """The same state, to go another way."""
        return copy.copy(self)

    def moment(self, time: int, known: int) -> Moment:
        """An instant with the age at it."""
        return Moment(time, known, 0.0 if self.birth is None else float(age_years(time - self.birth)))

    def visit_start(self, at: Moment) -> Token:
        """[VS] of the next visit, which begins with the event at `at`."""
        self._visit += 1
        return self.structural(S.VS, T.VS, at, at.known)

    def visit_end(self, at: Moment, known: int) -> list[Token]:
        """[VE] [REG] of the visit whose last event was at `at`, over since `known`."""
        return [self.structural(code, type_, at, known) for code, type_ in ((S.VE, T.VE), (S.REG, T.REG))]

    def event(self, code: int, type_: int, at: Moment) -> Token:
        """An event that has a time."""
        return self._attributed(code, type_, at, at.known)

    def structural(self, code: int, type_: int, at: Moment, known: int) -> Token:
        """[VS], [VE] or [REG] of the current visit, known since `known`, with the attributes of `at`."""
        if self._visit_tokens:
            return self._attributed(code, type_, at, known)
        return plain(code, type_, known)

    def _attributed(self, code: int, type_: int, at: Moment, known: int) -> Token:
        if self.first_time is None:
            self.first_time = at.time
        gap = 0.0 if self._gap_from is None else weeks(at.time - self._gap_from)
        self._gap_from = at.time
        time = weeks(at.time - self.first_time)
        order = int(visit_order(self._visit))
        return Token(code, type_, at.age, time, gap, int(segment(self._visit)), order, True, known)


def plain(code: int, type_: int, known: int) -> Token:
    """A token without attributes."""
    return Token(code, type_, 0.0, 0.0, 0.0, 0, 0, False, known)
