"""A stay at a prediction time: triplets (hours, variable, value) and static facts.

Time is when a thing became known, so nothing of the future is ever seen, a late result joins where it
arrived, and a live record read event by event (`TripletStream`) gives the same triplets in the same order.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
import polars as pl
import pyarrow as pa

from chartscan.errors import DataError
from chartscan.inputs.hourly.derived import LiveDerived, derived_rows
from chartscan.inputs.hourly.variables import (
    ADMISSION,
    NO_START,
    NOT_MEASURED,
    STATIC,
    Variables,
    admissions,
    first_events,
    frame_of,
    measurements,
    static_facts,
    variable_name,
)

_MICROSECONDS_PER_HOUR = 3.6e9
_EPOCH = datetime(1970, 1, 1)


@dataclass(frozen=True)
class Stay:
    """One subject's stay at a prediction time: n triplets sorted by (hours, variable, value).

    Time zero is when the latest admission became known; without any, the first timed event; else the
    prediction itself.
    """

    subject_id: int
    end_hours: float  # from time zero to the prediction
    hours: np.ndarray  # (n,) float32, since time zero, from 0 to end_hours
    variables: np.ndarray  # (n,) int16, 1 .. V
    values: np.ndarray  # (n,) float32, in the unit of the source, in range and clipped
    statics: np.ndarray  # (S,) float32, scaled, with flags of what is missing
    facts: np.ndarray  # (F,) float32, in the unit of the source, NaN where missing


class Triplet(NamedTuple):
    """One measurement; the value as in Stay."""

    hours: float
    variable: int
    value: float


class EventRow(Protocol):
    """One row of EVENTS; times are UTC without a zone."""

    code: str
    event_type: str
    time: datetime | None
    available_time: datetime | None
    numeric_value: float | None
    unit: str | None


def stays(tables: Iterable[pa.Table], variables: Variables, labels: pa.Table) -> list[Stay]:
    """The stay of each row of `labels` (`subject_id`, `prediction_time`), in their order.

    `tables` are EVENTS, a subject in one table; events known up to and including the prediction time are
    seen. Order of rows and tables changes nothing. DataError when a subject of the labels has no event.
    """
    ids = labels["subject_id"].to_numpy()
    times = (
        labels["prediction_time"]
        .cast(pa.timestamp("us"))
        .to_numpy()
        .astype("datetime64[us]")
        .astype(np.int64)
    )
    rows_of: dict[int, list[int]] = {}
    for row, subject in enumerate(ids.tolist()):
        rows_of.setdefault(subject, []).append(row)
    found: dict[int, Stay] = {}
    for table in tables:
        for subject, record in _records(table, variables, rows_of.keys()):
            found |= {row: record.stay(subject, int(times[row])) for row in rows_of[subject]}
    if len(found) < len(ids):
        raise DataError(
            f"Labels: {len(ids) - len(found)} of {len(ids)} belong to subjects without events here."
            " Label this dataset again."
        )
    return [found[row] for row in range(len(ids))]


@dataclass(frozen=True)
class _Record:
    """One subject's measurements sorted by (known, variable, value), whole."""

    known: np.ndarray  # (n,) int64 microseconds
    variables: np.ndarray  # (n,) int16
    values: np.ndarray  # (n,) float32
    admissions: np.ndarray  # (admissions,) int64 microseconds, ascending
    first: np.ndarray  # (0 or 1,) int64 microseconds, first timed event
    statics: np.ndarray  # (S,)
    facts: np.ndarray  # (F,)

    def stay(self, subject: int, end: int) -> Stay:
        """What is known at the instant `end`."""
        zero = self._zero(end)
        part = slice(*np.searchsorted(self.known, [zero, end + 1]))
        hours = ((self.known[part] - zero) / _MICROSECONDS_PER_HOUR).astype(np.float32)
        end_hours = (end - zero) / _MICROSECONDS_PER_HOUR
        return Stay(
            subject, end_hours, hours, self.variables[part], self.values[part], self.statics, self.facts
        )

    def _zero(self, end: int) -> int:
        for starts in (self.admissions, self.first):
            before = int(np.searchsorted(starts, end, side="right"))
            if before:
                return int(starts[before - 1])
        return end


def _records(table: pa.Table, variables: Variables, wanted: Iterable[int]) -> Iterable[tuple[int, _Record]]:
    """The records of the wanted subjects in a table."""
    frame = frame_of(table)
    frame = frame.filter(pl.col("subject_id").is_in(pl.Series(list(wanted), dtype=pl.Int64).implode()))
    subjects = frame["subject_id"].unique().sort().to_numpy()
    measured = _measured(frame, variables)
    values = measured["value"].to_numpy()
    numbers, known = measured["number"].to_numpy(), measured["known"].to_numpy()
    events = _bounds(subjects, measured)
    begun = admissions(frame)
    begins, begin_known = _bounds(subjects, begun), begun["known"].to_numpy()
    firsts = first_events(frame)
    first, first_known = _bounds(subjects, firsts), firsts["known"].to_numpy()
    facts = _facts(subjects, frame, variables)
    statics = variables.inputs_of_statics(facts)
    for i, subject in enumerate(subjects.tolist()):
        part = slice(events[i], events[i + 1])
        yield (
            subject,
            _Record(
                known[part],
                numbers[part],
                values[part],
                begin_known[begins[i] : begins[i + 1]],
                first_known[first[i] : first[i + 1]],
                statics[i],
                facts[i],
            ),
        )


def _measured(frame: pl.DataFrame, variables: Variables) -> pl.DataFrame:
    """Measurements of known variables in range: subject_id, known, number, value (clipped), sorted."""
    table = pl.DataFrame(
        {"name": variables.names, "number": list(variables.numbers.values())},
        schema={"name": pl.String, "number": pl.Int16},
    )
    columns = ["subject_id", "known", "name", "value"]
    found = measurements(frame).rename({"numeric_value": "value"}).select(columns)
    found = found.join(table, on="name", how="inner")
    inside = variables.inside(found["number"].to_numpy(), found["value"].to_numpy())
    found = found.filter(pl.Series(inside, dtype=pl.Boolean))
    if variables.rules:
        derived = derived_rows(found, admissions(frame), variables.rules)
        found = pl.concat([found.cast({"value": pl.Float64}), derived.join(table, on="name")])
    clipped = variables.clipped(found["number"].to_numpy(), found["value"].to_numpy())
    found = found.select("subject_id", "known", "number", value=pl.Series(clipped, dtype=pl.Float32))
    return found.sort("subject_id", "known", "number", "value")


def _facts(subjects: np.ndarray, frame: pl.DataFrame, variables: Variables) -> np.ndarray:
    """Fact columns of each subject (subjects, F)."""
    rows = static_facts(frame)
    bounds = _bounds(subjects, rows)
    codes, values = rows["code"].to_list(), rows["numeric_value"].to_list()
    parts = [slice(a, b) for a, b in pairwise(bounds.tolist())]
    found = [variables.facts_of(codes[part], values[part]) for part in parts]
    return np.array(found, dtype=np.float32).reshape(len(subjects), len(variables.fact_names))


def _bounds(subjects: np.ndarray, frame: pl.DataFrame) -> np.ndarray:
    """Where the rows of each subject begin in a frame sorted by subject (subjects + 1,)."""
    ids = frame["subject_id"].to_numpy()
    return np.append(np.searchsorted(ids, subjects), len(ids))


class TripletStream:
    """The triplets of one live record, in the very order that `stays` gives them.

    Push events as they become known, those of one instant in any order, static facts first. The triplets of
    an instant, derived ones included, come together and sorted once it is over: with the next instant's
    first event, or with `settle`. `stay` counts the stays begun: where a push raises it, a new time zero
    holds and a model's state must begin anew.
    """

    def __init__(self, variables: Variables):
        self._variables = variables
        self._static: list[tuple[str, float | None]] = []
        self._known: int | None = None  # of the last instant
        self._open: list[tuple[str, float]] = []  # measured at it: name and value
        self._settled = False  # whether it is over
        self._zero = 0
        self._derived = LiveDerived(variables.rules)
        self.stay = 0

    @property
    def facts(self) -> np.ndarray:
        """Fact columns so far (F,)."""
        rows = sorted(self._static, key=lambda row: (row[0], row[1] is not None, row[1]))
        return self._variables.facts_of([code for code, _ in rows], [value for _, value in rows])

    @property
    def statics(self) -> np.ndarray:
        """Static inputs so far (S,)."""
        return self._variables.inputs_of_statics(self.facts[None])[0]

    def push(self, event: EventRow) -> list[Triplet]:
        """The triplets of the instant that `event` ends; none of a former stay.

        DataError for an event out of order.
        """
        if event.time is None:
            if event.event_type == STATIC:
                self._static.append((event.code, event.numeric_value))
            return []
        known = _microseconds(event.available_time or event.time)
        if self._known is not None and known < self._known + self._settled:
            raise DataError(
                "An event became known before one already pushed, or at an instant already settled;"
                " push events in known order."
            )
        if event.event_type in NO_START:
            return []
        found = self.settle() if known != self._known else []
        if event.event_type == ADMISSION or self._known is None:
            self._zero = known
            self._derived = LiveDerived(self._variables.rules)
            self.stay += 1
            found = []
        self._known, self._settled = known, False
        self._measure(event)
        return found

    def settle(self) -> list[Triplet]:
        """Ends the last instant, of which no more events may come: its triplets."""
        if self._known is None or self._settled:
            return []
        self._settled = True
        rows = self._open + self._derived.at(self._known, self._open)
        self._open = []
        numbers = np.array([self._variables.numbers[name] for name, _ in rows], dtype=np.int64)
        values = self._variables.clipped(numbers, np.array([value for _, value in rows]))
        hours = float(np.float32((self._known - self._zero) / _MICROSECONDS_PER_HOUR))
        return [Triplet(hours, *row) for row in sorted(zip(numbers.tolist(), values.tolist(), strict=True))]

    def _measure(self, event: EventRow) -> None:
        """Keeps what `event` measures until its instant is over."""
        name = variable_name(event.code, event.unit)
        number = self._variables.numbers.get(name)
        value = event.numeric_value
        if number is None or value is None or event.event_type in NOT_MEASURED:
            return
        value = float(np.float32(value))  # as EVENTS are
        if self._variables.inside(np.array([number]), np.array([value]))[0]:  # what is no number is not
            self._open.append((name, value))


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)
