"""How a task labels a record that continues as a sampled future.

The future's tokens become events after what was known, and the task labels the record as it labels any other:
no outcome is defined twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chartscan.cohort import (
    COLUMNS,
    FollowUp,
    last_event,
    record_from_rows,
    rows_from_events,
    with_first_instants,
)
from chartscan.cohort.labelling import Task
from chartscan.cohort.record import Row as RecordRow
from chartscan.generate import Future
from chartscan.inputs.tokens import Vocabulary
from chartscan.inputs.tokens.types import TYPE_OF_EVENT
from chartscan.schema import EVENTS

_EPOCH = datetime(1970, 1, 1)
_STARTS = {"admission": True, "visit_start": False}  # event type -> is a hospital stay
_ENDS = {"discharge": True, "visit_end": False}
_TOLD = (*_STARTS, *_ENDS, "diagnosis", "death")  # event types that decide labels
_NAMES = {TYPE_OF_EVENT[name]: name for name in _TOLD}
_SCHEMA = pa.schema([EVENTS.field(name) for name in COLUMNS])

Row = tuple[datetime, str, str, str | None]  # time, code, event type, encounter


@dataclass(frozen=True)
class Imagined:
    """One question, and what its futures are labelled with."""

    task: Task
    vocabulary: Vocabulary
    known: pa.Table  # COLUMNS of the subject's events known at `now`
    now: datetime
    until: datetime  # how far futures go

    def outcome(self, future: Future) -> bool | None:
        """Return the label of a future; None where the future does not decide it.

        How one cut short goes on is not known: by `tokens`, or by a branch.
        """
        rows = tuple(self._rows(future))
        if future.ended in ("tokens", "branch"):
            return self._outcome(rows, _instant(int(future.times[-1])))
        return self._outcome(rows, self.until) if rows else self._quiet

    @cached_property
    def _quiet(self) -> bool | None:
        """What became of it where nothing more happens."""
        return self._outcome((), self.until)

    def _outcome(self, rows: tuple[Row, ...], end: datetime) -> bool | None:
        known, last = self._known_rows, self._last
        times = [row[0] for row in rows] + ([] if last is None else [last])
        record = record_from_rows(
            self.known["subject_id"][0].as_py(),
            [*known, *((*row, row[0], None, None) for row in rows)],
            max(times, default=None),
            FollowUp("export_time", end.isoformat()),
        )
        found = [o.value for o in self.task.label(record) if o.prediction_time == self.now and o.eligible]
        return found[0] if found else None

    @cached_property
    def _known_rows(self) -> list[RecordRow]:
        return rows_from_events(self.known)

    @cached_property
    def _last(self) -> datetime | None:
        return last_event(self.known)

    @cached_property
    def _open(self) -> list[tuple[str | None, bool]]:
        return open_encounters(self.known)

    def _rows(self, future: Future) -> Iterator[Row]:
        """The events of a future that decide labels. An end closes the latest encounter of its kind."""
        open_ = list(self._open)
        told = np.flatnonzero(np.isin(future.types, list(_NAMES)))
        for i in told.tolist():
            kind = _NAMES[int(future.types[i])]
            encounter = open_[-1][0] if open_ else None
            if kind in _STARTS:
                encounter = f"imagined {i}"
                open_.append((encounter, _STARTS[kind]))
            elif kind in _ENDS:
                encounter = _closed(open_, _ENDS[kind])
            yield (
                _instant(int(future.times[i])),
                self.vocabulary.tokens[future.codes[i]],
                kind,
                encounter,
            )


def known_events(events: pa.Table, now: datetime) -> pa.Table:
    """COLUMNS of the events of one subject known at `now`, that instant included."""
    kept = with_first_instants(events)
    since = pc.fill_null(pc.coalesce(kept["available_time"], kept["time"]), _EPOCH.replace(year=1))
    return kept.filter(pc.less_equal(since, pa.scalar(now, since.type))).cast(_SCHEMA)


def open_encounters(events: pa.Table) -> list[tuple[str | None, bool]]:
    """Return (id, is a hospital stay) of open encounters, in order of start."""
    columns = (events[name].to_pylist() for name in ("time", "event_type", "encounter_id"))
    rows = [(time, kind, id_) for time, kind, id_ in zip(*columns, strict=True) if time is not None]
    found: list[tuple[str | None, bool]] = []
    for _, kind, id_ in sorted(rows, key=lambda row: row[0]):
        if kind in _STARTS:
            found.append((id_, _STARTS[kind]))
        elif kind in _ENDS and (id_, _ENDS[kind]) in found:
            found.remove((id_, _ENDS[kind]))
    return found


def _closed(open_: list[tuple[str | None, bool]], hospital: bool) -> str | None:
    """The latest open encounter of a kind, no longer open; a name of no encounter where there is none."""
    for i in reversed(range(len(open_))):
        if open_[i][1] == hospital:
            return open_.pop(i)[0]
    return "imagined, never begun"


def _instant(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
