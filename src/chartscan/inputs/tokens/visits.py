"""Visits of a record, and its events in the order they became known.

That is the order of tokens. Ordering by `available_time` makes the tokens visible at any instant a prefix of
the whole sequence.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from chartscan.errors import DataError
from chartscan.inputs.tokens import specials as S
from chartscan.inputs.tokens import types as T
from chartscan.inputs.tokens.config import SequenceConfig
from chartscan.inputs.tokens.encoded import DAY_US, HOUR_US
from chartscan.inputs.tokens.specials import interval_token
from chartscan.schema import EVENT_TYPES, EVENTS, SORT_KEYS, check

# Order by `available_time` makes the tokens visible at any instant a prefix of the sequence.

ALWAYS = -(2**62)  # `known` of static facts: before every instant, yet differences do not overflow

# Ties among events that became known together are broken by the sort keys of EVENTS.
_KEYS = ["subject_id", "known", *(key for key in SORT_KEYS if key not in ("subject_id", "available_time"))]


def known_order(table: pa.Table) -> pl.DataFrame:
    """Rows of an EVENTS table by subject and by when they became known.

    Added columns: `known` (int64 microseconds; static rows ALWAYS) and `event_rank` (uint8). Rows of any
    number of subjects. Raises DataError when an event type is not one of schema.EVENT_TYPES.
    """
    frame = pl.from_arrow(check(table, EVENTS, "events").replace_schema_metadata())
    assert isinstance(frame, pl.DataFrame)
    known = pl.when(pl.col("time").is_not_null()).then(pl.coalesce("available_time", "time")).dt.epoch("us")
    rank = _rank(frame["event_type"])
    return frame.with_columns(known=known.fill_null(ALWAYS), event_rank=rank).sort(_KEYS, nulls_last=False)


def _rank(event_type: pl.Series) -> pl.Series:
    try:
        return event_type.cast(pl.Enum(EVENT_TYPES)).to_physical().cast(pl.UInt8)
    except pl.exceptions.InvalidOperationError as err:
        raise DataError(f"events, column event_type: expected one of {', '.join(EVENT_TYPES)}.") from err


# Overlapping encounters form one visit. Events outside encounters form implicit visits, which end after
# `implicit_gap_hours` without events or when an encounter starts. An encounter without an end is closed after
# `stale_visit_days` without events.

ORDINARY, OPENER, CLOSER = 0, 1, 2


def kind_of(event_type: str) -> int:
    """Whether an event starts an encounter, ends one, or neither."""
    return {"admission": OPENER, "visit_start": OPENER, "visit_end": CLOSER, "discharge": CLOSER}.get(
        event_type, ORDINARY
    )


class Boundaries(NamedTuple):
    """Tokens around one event: [VE] [REG] interval [VS] before it, [VE] [REG] after it."""

    closes: bool  # the visit before is closed first
    interval: int  # id of the interval token, 0 for none
    opens: bool  # a visit begins with this event
    ends: bool  # the visit ends with this event


class Visits:
    """The visits of one subject so far."""

    def __init__(self, config: SequenceConfig):
        self._implicit_gap = config.implicit_gap_hours * HOUR_US
        self._stale_gap = config.stale_visit_days * DAY_US
        self._open: dict[str | None, int] = {}  # open encounters, with how often each was opened
        self._inside = False
        self._last_end: int | None = None

    def step(self, kind: int, time: int, known: int, quiet: int, encounter: str | None) -> Boundaries:
        """Boundaries around the next event; times in microseconds.

        `quiet` is how long before this event the last one became known. An encounter runs from the `time`
        of its start to that of its end, an implicit visit from its first to its last news (`known`).
        """
        closes = self._inside and self._over(kind, quiet)
        if closes:
            self._open.clear()
            self._last_end = known - quiet
        opens = closes or not self._inside
        interval = 0
        if opens and self._last_end is not None:
            start = time if kind == OPENER else known
            interval = interval_token((start - self._last_end) // DAY_US)
        self._inside = True
        ends = self._count(kind, encounter)
        if ends:
            self._inside, self._last_end = False, time
        return Boundaries(closes, interval, opens, ends)

    def _over(self, kind: int, quiet: int) -> bool:
        """Whether the current visit was over before the next event."""
        if self._open:
            return quiet > self._stale_gap
        return kind == OPENER or quiet > self._implicit_gap

    def _count(self, kind: int, encounter: str | None) -> bool:
        """Count encounters that open and end; whether the last open one ended."""
        if kind == OPENER:
            self._open[encounter] = self._open.get(encounter, 0) + 1
        elif kind == CLOSER and encounter in self._open:
            self._open[encounter] -= 1
            if not self._open[encounter]:
                del self._open[encounter]
            return not self._open
        return False


# Token order: [CLS], then for each event (closing [VE] [REG]) (interval) ([VS]) event (ending [VE] [REG]).


@dataclass(frozen=True)
class Rows:
    """The events of a shard that become tokens, in known order; shape (events,)."""

    subject: np.ndarray  # index of the subject in the shard
    time: np.ndarray  # int64 microseconds; 0 for static facts
    known: np.ndarray  # int64 microseconds; ALWAYS for static facts
    types: np.ndarray  # uint8, sequences.types
    kind: np.ndarray  # opener, closer or ordinary
    timed: np.ndarray  # bool, false for static facts
    first: np.ndarray  # bool, the first timed event of its subject
    encounter: pl.Series


@dataclass(frozen=True)
class Edges:
    """The boundaries around each event, as in visits.Boundaries; shape (events,)."""

    closes: np.ndarray
    interval: np.ndarray
    opens: np.ndarray
    ends: np.ndarray


@dataclass(frozen=True)
class Layout:
    """Tokens of the shard, subject after subject; shape (tokens,) but for `bounds` (subjects + 1,)."""

    bounds: np.ndarray  # first token of each subject
    subject: np.ndarray  # index of the subject
    codes: np.ndarray  # ids of structural tokens; elsewhere those of the events
    types: np.ndarray
    source: np.ndarray  # the event whose time and visit the token has; -1 for [CLS]
    known: np.ndarray  # int64 microseconds


def rows_of(events: pl.DataFrame, ids: np.ndarray) -> Rows:
    """Return the layout's columns of `events` in known order; `ids` are all subjects."""
    subject = np.searchsorted(ids, events["subject_id"].to_numpy())
    timed = events["time"].is_not_null().to_numpy()
    types = np.where(timed, T.TYPE_OF_RANK[events["event_rank"].to_numpy()], T.STATIC)
    kinds = np.array([kind_of(name) for name in EVENT_TYPES], dtype=np.int8)
    first = timed.copy()
    first[1:] &= (subject[1:] != subject[:-1]) | ~timed[:-1]
    return Rows(
        subject=subject,
        time=events["time"].dt.epoch("us").fill_null(0).to_numpy(),
        known=events["known"].to_numpy(),
        types=types,
        kind=kinds[events["event_rank"].to_numpy()],
        timed=timed,
        first=first,
        encounter=events["encounter_id"],
    )


def edges(rows: Rows, config: SequenceConfig) -> Edges:
    """Boundaries of all visits: `Visits` stepped through the events where a boundary is possible.

    Elsewhere (no encounter starts or ends, none just ended, no long silence) nothing can change.
    """
    n = len(rows.time)
    quiet = np.zeros(n, dtype=np.int64)
    quiet[1:] = np.where(rows.first[1:], 0, rows.known[1:] - rows.known[:-1])
    after = np.zeros(n, dtype=bool)
    after[1:] = rows.kind[:-1] != 0
    shortest = min(config.implicit_gap_hours * HOUR_US, config.stale_visit_days * DAY_US)
    index = np.flatnonzero(rows.timed & (rows.first | (rows.kind != 0) | after | (quiet > shortest)))
    columns = [c[index].tolist() for c in (rows.first, rows.kind, rows.time, rows.known, quiet)]
    found = []
    visits = Visits(config)
    for first, kind, time, known, silence, encounter in zip(
        *columns, rows.encounter.gather(index).to_list(), strict=True
    ):
        if first:
            visits = Visits(config)
        found.append(visits.step(kind, time, known, silence, encounter))
    full = np.zeros((n, 4), dtype=np.int32)
    full[index] = np.array(found, dtype=np.int32).reshape(-1, 4)
    return Edges(full[:, 0] > 0, full[:, 1], full[:, 2] > 0, full[:, 3] > 0)


def lay_out(rows: Rows, edge: Edges, codes: np.ndarray, subjects: int) -> Layout:
    """Return every token in its place.

    `codes` are the ids of the events; `subjects` is the number in the shard.
    """
    has_interval = edge.interval > 0
    sizes = 1 + 2 * edge.closes + has_interval + edge.opens + 2 * edge.ends
    per_subject = 1 + np.bincount(rows.subject, weights=sizes, minlength=subjects).astype(np.int64)
    bounds = np.concatenate([[0], np.cumsum(per_subject)])
    first = np.cumsum(sizes) - sizes + rows.subject + 1  # the first token that each event brings
    event = first + 2 * edge.closes + has_interval + edge.opens
    out_codes = np.full(bounds[-1], S.CLS, dtype=np.int32)
    out_types = np.full(bounds[-1], T.CLS, dtype=np.uint8)
    source = np.full(bounds[-1], -1, dtype=np.int64)
    known = np.full(bounds[-1], ALWAYS, dtype=np.int64)

    def put(where: np.ndarray, position: np.ndarray, code, type_, shift: int = 0) -> None:
        at, index = position[where], np.flatnonzero(where)
        out_codes[at] = code
        out_types[at] = type_
        source[at] = index + shift
        known[at] = rows.known[index]

    put(np.ones(len(event), dtype=bool), event, codes, rows.types)
    put(edge.opens, event - 1, S.VS, T.VS)
    put(has_interval, event - edge.opens - 1, edge.interval[has_interval], T.INTERVAL)
    put(edge.closes, first, S.VE, T.VE, shift=-1)
    put(edge.closes, first + 1, S.REG, T.REG, shift=-1)
    put(edge.ends, event + 1, S.VE, T.VE)
    put(edge.ends, event + 2, S.REG, T.REG)
    subject = np.repeat(np.arange(subjects), per_subject)
    return Layout(bounds, subject, out_codes, out_types, source, known)


def visit_numbers(rows: Rows, edge: Edges) -> np.ndarray:
    """Number of the visit each event belongs to, from 1; 0 for static facts."""
    opened = np.cumsum(edge.opens)
    start = np.searchsorted(rows.subject, rows.subject)  # the first event of the same subject
    return opened - np.concatenate([[0], opened])[start]
