"""Events waiting for the sort: checked, in order of arrival, as Parquet.

They stand in the staging folder. A source may write from several processes, each with its own Spool in the
same folder. It may say from which place in its input each event comes, and later leave out or delay the
events of some places: `amend`. `Tally` counts what waits, in bounded memory.
"""

import errno
import os
import re
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from chartscan.errors import DataError
from chartscan.schema import EVENTS, TYPE_NAMES, check
from chartscan.store.folder import let_go, writing
from chartscan.store.subjects import encounter_ids

SPOOLED = EVENTS.set(EVENTS.names.index("event_type"), pa.field("event_rank", pa.int8(), nullable=False))

_PLACED = SPOOLED.append(pa.field("place", pa.int64()))  # a number of the source's; null where it gave none

# Numbers and times hardly repeat within a row group; looking for repetitions took half of the writing.
_DICTIONARIES = [f.name for f in SPOOLED if f.type in (pa.string(), pa.large_string())]


class Spool:
    """Collects events into `<folder>/<name>.parquet`; memory holds about `buffer_bytes` and one table."""

    def __init__(self, folder: Path, name: str = "main", buffer_bytes: int = 8 << 20):
        self.rows = 0
        self.path = folder / f"{name}.parquet"
        self._buffer_bytes = buffer_bytes
        self._waiting: list[pa.Table] = []
        self._waiting_bytes = 0
        self._file: pq.ParquetWriter | None = None

    def write(self, table: pa.Table, places: np.ndarray | None = None) -> None:
        """Add EVENTS rows, in any order; DataError when they break a rule of the contract.

        `places`, shape (rows,), int64, are where in the input they come from.
        """
        if not table.num_rows:
            return
        ready = spooled(table).append_column(
            _PLACED.field("place"),
            pa.array(places) if places is not None else pa.nulls(len(table), pa.int64()),
        )
        self.rows += ready.num_rows
        self._waiting.append(ready)
        self._waiting_bytes += ready.nbytes
        if self._waiting_bytes >= self._buffer_bytes:
            self._flush()

    def _flush(self) -> None:
        if self._file is None:
            self._file = _file(self.path)
        with writing(self.path):
            self._file.write_table(pa.concat_tables(self._waiting))
        self._waiting, self._waiting_bytes = [], 0

    def close(self) -> None:
        """Write the rows that wait. A spool without rows leaves no file."""
        if self._waiting:
            self._flush()
        if self._file is not None:
            with writing(self.path):
                self._file.close()
        self._file = None

    def abandon(self) -> None:
        """Discard waiting rows and close after an error; harmless when closed."""
        self._waiting, self._waiting_bytes = [], 0
        if self._file is not None:
            let_go(self._file)
        self._file = None

    def __enter__(self) -> "Spool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self.abandon()


def _file(path: Path) -> pq.ParquetWriter:
    options: dict[str, Any] = {"compression": "lz4", "write_statistics": False}
    with writing(path):
        return pq.ParquetWriter(path, _PLACED, use_dictionary=_DICTIONARIES, **options)


def amend(path: Path, dropped: np.ndarray, late: np.ndarray, times: np.ndarray) -> None:
    """Rewrite a spool without places `dropped`, and with `late` available at `times`.

    Or later, where they were later before. `times` are microseconds. Places are sorted.
    """
    anew = path.with_suffix(".anew")
    rows = 0
    with pq.ParquetFile(path, pre_buffer=False) as spool:
        file = _file(anew)
        try:
            for batch in spool.iter_batches(use_threads=False):
                table = amended(pa.Table.from_batches([batch]), dropped, late, times)
                rows += table.num_rows
                with writing(anew):
                    file.write_table(table)
            with writing(anew):
                file.close()
        finally:
            let_go(file)
    if rows:
        os.replace(anew, path)
    else:
        anew.unlink()
        path.unlink()


def amended(table: pa.Table, dropped: np.ndarray, late: np.ndarray, times: np.ndarray) -> pa.Table:
    """Events with their places, as `amend` changes them."""
    table = table.filter(pa.array(~_is_in(_places(table), dropped)))
    if not len(late):
        return table
    places = _places(table)
    delayed = _is_in(places, late)
    until = pa.array(times[np.searchsorted(late, places).clip(max=len(late) - 1)], mask=~delayed)
    until = until.cast(pa.timestamp("us"))
    later = pc.fill_null(pc.greater(until, table["available_time"]), False)
    for name, value in (("available_time", until), ("earliest_available_time", None)):
        column = pc.if_else(later, value, table[name])
        table = table.set_column(table.schema.names.index(name), _PLACED.field(name), column)
    return table


def _places(table: pa.Table) -> np.ndarray:
    return table["place"].fill_null(-1).to_numpy()


def _is_in(places: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Which places are among the sorted `wanted`."""
    if not len(wanted):
        return np.zeros(len(places), bool)
    return wanted[np.searchsorted(wanted, places).clip(max=len(wanted) - 1)] == places


def spooled(table: pa.Table) -> pa.Table:
    """Return checked EVENTS with the rank of event type and keyed encounter ids."""
    events = check(table, EVENTS, "events").replace_schema_metadata()
    rank = pc.index_in(events["event_type"], value_set=TYPE_NAMES)
    _refuse(rank.null_count, "an event_type that is none of schema.EVENT_TYPES")
    _refuse(_count(pc.equal(events["code"], "")), "an empty code")
    _refuse(_count(pc.invert(pc.is_finite(events["numeric_value"]))), "a numeric_value that is not finite")
    time, known = events["time"], events["available_time"]
    _refuse(_count(pc.less(known, time)), "an available_time before time")
    _refuse(_count(pc.xor(pc.is_null(time), pc.is_null(known))), "only one of time and available_time")
    # Zero has two signs that compare equal; one of them, so that equal rows are the same bytes.
    value = pc.add(events["numeric_value"], pa.scalar(0.0, pa.float32()))
    events = events.set_column(EVENTS.names.index("numeric_value"), "numeric_value", value)
    encounters = encounter_ids(events["encounter_id"])
    events = events.set_column(EVENTS.names.index("encounter_id"), "encounter_id", encounters)
    events = events.set_column(EVENTS.names.index("event_type"), "event_rank", rank.cast(pa.int8()))
    return events.cast(SPOOLED)


def _count(mask: pa.ChunkedArray) -> int:
    return pc.sum(mask).as_py() or 0


def _refuse(rows: int, what: str) -> None:
    if rows:
        raise DataError(
            f"events: {rows} rows with {what}. Expected none; the source must mend or reject them."
        )


_CODES = """
    SELECT code, sum(n)::BIGINT AS event_count, count(*)::BIGINT AS subject_count
    FROM (SELECT code, subject_id, count(*) AS n FROM {source} GROUP BY code, subject_id)
    GROUP BY code ORDER BY code
"""
# Bytes of a subject in memory: 64 a row for numbers, times and offsets, and its text.
_TEXT = " + ".join(
    f"coalesce(strlen({f.name}), 0)" for f in SPOOLED if f.type in (pa.string(), pa.large_string())
)
_SIZES = f"""
    SELECT subject_id, sum(64 + {_TEXT})::BIGINT AS size
    FROM {{source}} GROUP BY subject_id ORDER BY subject_id
"""


class Tally:
    """Counts codes and subject sizes with DuckDB, in a context; may spill to `scratch`."""

    def __init__(self, files: list[Path], scratch: Path, memory_mb: int, threads: int = 0):
        self._scratch = scratch
        self._source = "read_parquet([" + ", ".join(_quoted(path) for path in files) + "])"
        self._database = duckdb.connect(":memory:", config={"temp_directory": str(scratch)})
        self._database.execute(f"SET memory_limit = '{memory_mb}MiB'")
        self._database.execute("SET enable_progress_bar = false")
        if threads:
            self._database.execute(f"SET threads = {threads}")

    def codes(self) -> pa.Table:
        """code, event_count and subject_count of every code, sorted by code."""
        return self._query(_CODES)

    def sizes(self) -> pa.Table:
        """subject_id, sorted, and size, the bytes its events take in memory."""
        return self._query(_SIZES)

    def _query(self, query: str) -> pa.Table:
        try:
            return self._database.sql(query.format(source=self._source)).arrow().read_all()
        except (duckdb.IOException, duckdb.OutOfMemoryException) as err:
            what = "the events cannot be counted: too little disk here, or too small a memory_mb"
            raise OSError(errno.EIO, what, str(self._scratch)) from err

    def __enter__(self) -> "Tally":
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()


def _quoted(path: Path) -> str:
    """`path` as SQL text in which no character stands for a pattern."""
    literal = re.sub(r"[*?\[]", lambda found: f"[{found[0]}]", str(path))
    return "'" + literal.replace("'", "''") + "'"
