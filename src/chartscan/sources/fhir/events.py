"""Events gathered row by row, handed on as EVENTS tables."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from chartscan.schema import EVENTS
from chartscan.sources.fhir.clock import Life
from chartscan.sources.fhir.values import NOTHING, Result


class EventBuffer:
    """Collects rows of schema.EVENTS; `write` gets `size` of them, with their lines' places."""

    def __init__(self, write: Callable[[pa.Table, np.ndarray], None], size: int):
        self.rows: list[tuple] = []
        self.place = 0  # of the line that is read now
        self.life = Life()  # of the person whose events come next
        self.flags: Counter[str] = Counter()
        self._earliest: dict[int, tuple[int | None, int | None]] = {}  # row -> first instants, where inexact
        self._write = write
        self._size = size

    def add(
        self,
        subject_id: int,
        time: int | None,
        code: str,
        event_type: str,
        available: int | None,
        encounter: str | None = None,
        value: Result = NOTHING,
        earliest: tuple[int | None, int | None] | None = None,
    ) -> None:
        """Add one event; `available` is at least `time`.

        Flagged where the event does not fit the person's life; Quarantined where it comes long before birth.
        `earliest` are the first instants that `time` and `available` may mean, None for an exact one.
        """
        if time is not None:
            if available is not None and available < time:
                available = time
            life = self.life
            if not life.first <= time <= life.last:
                life.doubt(time, self.flags)
        if earliest is not None:
            self._earliest[len(self.rows)] = earliest
        number, text, unit, comparator = value
        self.rows.append(
            (
                subject_id,
                time,
                code,
                number,
                text,
                unit,
                comparator,
                event_type,
                encounter,
                available,
                self.place,
            )
        )

    def drop_after(self, count: int) -> None:
        """Forget the events of a record that turned out not to be usable."""
        for row in range(count, len(self.rows)):
            self._earliest.pop(row, None)
        del self.rows[count:]

    def flush_if_full(self) -> None:
        """Hand on what is there, if it is enough."""
        if len(self.rows) >= self._size:
            self.flush()

    def flush(self) -> None:
        """Hand on what is there."""
        if not self.rows:
            return
        columns: list[Sequence[Any]] = list(zip(*self.rows, strict=True))
        places = np.array(columns.pop(), np.int64)
        for column in range(2):
            found = {row: moments[column] for row, moments in self._earliest.items()}
            columns.append([found.get(row) for row in range(len(self.rows))] if found else ())
        arrays = [
            pa.array(column, field.type) if column else pa.nulls(len(self.rows), field.type)
            for column, field in zip(columns, EVENTS, strict=True)
        ]
        self.rows, self._earliest = [], {}
        self._write(pa.table(arrays, schema=EVENTS), places)
