"""Encoding one subject event by event, as a live record brings them."""

from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from chartscan.errors import DataError
from chartscan.schema import EVENT_TYPES, EVENTS
from chartscan.sequences import specials as S
from chartscan.sequences import types as T
from chartscan.sequences.config import SequenceConfig
from chartscan.sequences.encoded import DTYPES, Encoded, segment, visit_order
from chartscan.sequences.lookup import TokenLookup
from chartscan.sequences.order import ALWAYS, known_order
from chartscan.sequences.time import age_years, weeks
from chartscan.sequences.visits import Visits, kind_of

_EPOCH = datetime(1970, 1, 1)


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of EVENTS without its subject; times are UTC without a zone."""

    code: str
    event_type: str
    time: datetime | None = None
    available_time: datetime | None = None
    numeric_value: float | None = None
    text_value: str | None = None
    unit: str | None = None
    comparator: str | None = None
    encounter_id: str | None = None


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


def events_in_known_order(table: pa.Table) -> list[Event]:
    """The EVENTS of one subject as records, in the order in which a stream must be given them."""
    columns = [name for name in EVENTS.names if name != "subject_id"]
    return [Event(**row) for row in known_order(table).select(columns).iter_rows(named=True)]


def encoded_from(tokens: list[Token]) -> Encoded:
    """Tokens that a stream gave, as arrays."""
    columns = zip(*tokens, strict=True)
    typed = [np.array(column) for column in columns]
    typed[-1] = typed[-1].view("datetime64[us]")
    return Encoded(*(c.astype(dtype) for c, dtype in zip(typed, DTYPES.values(), strict=True)))


class Stream:
    """The tokens of one subject so far. [CLS] comes with the first event."""

    def __init__(self, lookup: TokenLookup, config: SequenceConfig):
        self._lookup = lookup
        self._config = config
        self._visits = Visits(config)
        self._visit = 0
        self._pushed: int | None = None  # when the last event became known
        self._birth: int | None = None
        self._first_time: int | None = None
        self._last: _Moment | None = None
        self._gap_from: int | None = None  # time of the last attributed token

    def push(self, event: Event) -> list[Token]:
        """The tokens that `event` adds; none for a birth or an outcome, nor for a death without a time.

        Events come in the order in which they became known, static facts first (`events_in_known_order`);
        DataError otherwise, since tokens already given cannot change.
        """
        if event.event_type not in EVENT_TYPES:
            raise DataError(f"event_type: expected one of {', '.join(EVENT_TYPES)}.")
        time, known = _instants(event)
        if self._pushed is not None and known < self._pushed:
            raise DataError("An event became known before one already pushed; push events in known order.")
        tokens = [] if self._pushed is not None else [_plain(S.CLS, T.CLS, ALWAYS)]
        self._pushed = known
        if event.event_type == "birth":
            self._birth = time if self._birth is None else self._birth
        elif event.event_type in T.NO_TOKENS:
            pass
        elif time is not None:
            tokens += self._timed(event, _Moment(time, known, self._age(time)))
        elif self._config.static_tokens and event.event_type != "death":  # undated: as in token_rows
            tokens.append(_plain(self._code(event), T.STATIC, ALWAYS))
        return tokens

    def _timed(self, event: Event, now: "_Moment") -> list[Token]:
        """The tokens of an event that has a time."""
        if self._first_time is None:
            self._first_time = now.time
        quiet = now.known - self._last.known if self._last else 0
        kind = kind_of(event.event_type)
        edge = self._visits.step(kind, now.time, now.known, quiet, event.encounter_id)
        tokens = []
        if edge.closes and self._last:
            tokens += self._end(self._last, now.known)
        if edge.interval:
            tokens.append(_plain(edge.interval, T.INTERVAL, now.known))
        if edge.opens:
            self._visit += 1
            tokens.append(self._structural(S.VS, T.VS, now, now.known))
        type_ = T.TYPE_OF_EVENT[event.event_type]
        tokens.append(self._attributed(self._code(event), type_, now, now.known))
        self._last = now
        return tokens + self._end(now, now.known) if edge.ends else tokens

    def _end(self, at: "_Moment", known: int) -> list[Token]:
        ends = ((S.VE, T.VE), (S.REG, T.REG))
        return [self._structural(code, type_, at, known) for code, type_ in ends]

    def _structural(self, code: int, type_: int, at: "_Moment", known: int) -> Token:
        if self._config.visit_tokens_attributed:
            return self._attributed(code, type_, at, known)
        return _plain(code, type_, known)

    def _attributed(self, code: int, type_: int, at: "_Moment", known: int) -> Token:
        gap = 0.0 if self._gap_from is None else weeks(at.time - self._gap_from)
        self._gap_from = at.time
        time = weeks(at.time - (self._first_time or 0))
        order = int(visit_order(self._visit))
        return Token(code, type_, at.age, time, gap, int(segment(self._visit)), order, True, known)

    def _age(self, time: int) -> float:
        return 0.0 if self._birth is None else float(age_years(time - self._birth))

    def _code(self, event: Event) -> int:
        return self._lookup.id(event.code, event.numeric_value, event.unit, event.text_value)


class _Moment(NamedTuple):
    """When an event happened and became known, and the subject's age at it as known then."""

    time: int
    known: int
    age: float


def _plain(code: int, type_: int, known: int) -> Token:
    return Token(code, type_, 0.0, 0.0, 0.0, 0, 0, False, known)


def _instants(event: Event) -> tuple[int | None, int]:
    """When the event happened (None: static) and became known, in microseconds."""
    if event.time is None:
        return None, ALWAYS
    return _microseconds(event.time), _microseconds(event.available_time or event.time)


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)
