"""The state behind each token's age, time, gap, segment and visit order.

Live records (`stream`) and imagined futures (`continuation`) share it, so that a generated token has the
attributes that the encoder would give it.
"""

import copy
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa

from chartscan.errors import DataError
from chartscan.inputs.tokens import specials as S
from chartscan.inputs.tokens import types as T
from chartscan.inputs.tokens.config import SequenceConfig
from chartscan.inputs.tokens.encoded import DTYPES, Encoded, age_years, segment, visit_order, weeks
from chartscan.inputs.tokens.pace import is_event
from chartscan.inputs.tokens.visits import ALWAYS, Visits, kind_of, known_order
from chartscan.inputs.tokens.vocabulary import TokenLookup, token_rows
from chartscan.schema import EVENT_TYPES, EVENTS


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
    """When an event happened and became known (microseconds), and the age known then."""

    time: int
    known: int
    age: float


class Attributes:
    """The state behind one subject's next token; microseconds, None: not yet known.

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
        """Return [VS], [VE] or [REG] of the current visit, known since `known`."""
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


class Origin(NamedTuple):
    """The instants behind a history's attributes, microseconds; None where not known."""

    birth: int | None
    first_time: int | None  # of the first event that became known
    last_time: int | None  # of the last token that has attributes
    now: int  # when the future begins, where the history has no event to count from


class Timeline(NamedTuple):
    """Birth, and the events that became tokens, in known order; microseconds."""

    birth: int | None
    birth_known: int
    times: np.ndarray  # (E,) int64

    def origin(self, history: Encoded, now: int) -> Origin:
        """The instants behind the first tokens of the subject's whole sequence, `history`."""
        events = int(is_event(history.types).sum())
        shown = events + int(history.types[-1] == T.VS and history.attributed[-1])
        birth = self.birth if self.birth_known <= now else None
        if not shown:
            return Origin(birth, None, None, now)
        return Origin(birth, int(self.times[0]), int(self.times[shown - 1]), now)


def timelines(table: pa.Table, config: SequenceConfig) -> dict[int, Timeline]:
    """The timeline of every subject of an EVENTS table."""
    frame = known_order(table)
    births = {
        row[0]: row[1:]
        for row in frame.filter((pl.col("event_type") == "birth") & pl.col("time").is_not_null())
        .unique("subject_id", keep="first", maintain_order=True)
        .select("subject_id", pl.col("time").dt.epoch("us"), "known")
        .iter_rows()
    }
    timed = token_rows(frame, config).filter(pl.col("time").is_not_null())
    ids, times = timed["subject_id"].to_numpy(), timed["time"].dt.epoch("us").to_numpy()
    found = {}
    for subject in frame["subject_id"].unique(maintain_order=True).to_list():
        first, end = np.searchsorted(ids, [subject, subject + 1])
        birth, known = births.get(subject, (None, 0))
        found[subject] = Timeline(birth, known, times[first:end])
    return found


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


def events_in_known_order(table: pa.Table) -> list[Event]:
    """Return one subject's EVENTS as records, in the order streams require."""
    columns = [name for name in EVENTS.names if name in Event.__struct_fields__]
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
        self._attributes = Attributes(config)
        self._pushed: int | None = None  # when the last event became known
        self._last: Moment | None = None

    def push(self, event: Event) -> list[Token]:
        """Return the tokens that `event` adds.

        None for a birth, an outcome, or a death without a time. Events come in the order in which they became
        known, static facts first (`events_in_known_order`); DataError otherwise, since tokens already given
        cannot change.
        """
        if event.event_type not in EVENT_TYPES:
            raise DataError(f"event_type: expected one of {', '.join(EVENT_TYPES)}.")
        time, known = _instants(event)
        if self._pushed is not None and known < self._pushed:
            raise DataError("An event became known before one already pushed; push events in known order.")
        tokens = [] if self._pushed is not None else [plain(S.CLS, T.CLS, ALWAYS)]
        self._pushed = known
        if event.event_type == "birth":
            if self._attributes.birth is None:
                self._attributes.birth = time
        elif event.event_type in T.NO_TOKENS:
            pass
        elif time is not None:
            tokens += self._timed(event, self._attributes.moment(time, known))
        elif self._config.static_tokens and event.event_type != "death":  # undated: as in token_rows
            tokens.append(plain(self._code(event), T.STATIC, ALWAYS))
        return tokens

    def _timed(self, event: Event, now: Moment) -> list[Token]:
        """The tokens of an event that has a time."""
        quiet = now.known - self._last.known if self._last else 0
        kind = kind_of(event.event_type)
        edge = self._visits.step(kind, now.time, now.known, quiet, event.encounter_id)
        tokens = []
        if edge.closes and self._last:
            tokens += self._attributes.visit_end(self._last, now.known)
        if edge.interval:
            tokens.append(plain(edge.interval, T.INTERVAL, now.known))
        if edge.opens:
            tokens.append(self._attributes.visit_start(now))
        type_ = T.TYPE_OF_EVENT[event.event_type]
        tokens.append(self._attributes.event(self._code(event), type_, now))
        self._last = now
        return tokens + self._attributes.visit_end(now, now.known) if edge.ends else tokens

    def _code(self, event: Event) -> int:
        return self._lookup.id(event.code, event.numeric_value, event.unit, event.text_value)


def _instants(event: Event) -> tuple[int | None, int]:
    """When the event happened (None: static) and became known, in microseconds."""
    if event.time is None:
        return None, ALWAYS
    return _microseconds(event.time), _microseconds(event.available_time or event.time)


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)
