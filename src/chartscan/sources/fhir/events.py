"""Events gathered row by row, handed on as EVENTS tables."""

from collections.abc import Callable

import pyarrow as pa

from chartscan.schema import EVENTS
from chartscan.sources.fhir.values import NOTHING, Result


class EventBuffer:
    """Rows in the order of schema.EVENTS; `write` gets a table whenever `size` of them are there."""

    def __init__(self, write: Callable[[pa.Table], None], size: int):
        self.rows: list[tuple] = []
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
    ) -> None:
        """One event; `available` is moved to `time` where it came before it."""
        if time is not None and available is not None and available < time:
            available = time
        number, text, unit, comparator = value
        self.rows.append(
            (subject_id, time, code, number, text, unit, comparator, event_type, encounter, available)
        )

    def drop_after(self, count: int) -> None:
        """Forget the events of a record that turned out not to be usable."""
        del self.rows[count:]

    def flush_if_full(self) -> None:
        """Hand on what is there, if it is enough."""
        if len(self.rows) >= self._size:
            self.flush()

    def flush(self) -> None:
        """Hand on what is there."""
        if not self.rows:
            return
        columns = zip(*self.rows, strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, EVENTS, strict=True)]
        self.rows = []
        self._write(pa.table(arrays, schema=EVENTS))
