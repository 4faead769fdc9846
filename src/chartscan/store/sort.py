"""All spooled events in the order of `schema.SORT_KEYS`, in bounded memory.

What is larger than `bytes_at_once` is first divided by subject into files that each fit, and a subject that
alone is larger is divided by time; then each file is sorted in memory, one after the other. (DuckDB's own
external sort was tried: with text of 500 bytes a row, 128 MiB of memory failed at 256 MiB of data.)

The keys cover every column, so only rows that are equal throughout tie, and the order does not depend on
file order, chunking or threads. Text is compared by its UTF-8 bytes, which is the order of code points.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from chartscan.schema import EVENT_TYPES, EVENTS, SORT_KEYS
from chartscan.store.scatter import Part, key_values, read_part, scatter
from chartscan.store.spool import SPOOLED

BATCH_ROWS = 16_384
MAX_PARTS = 400  # files open at a time; beyond it parts grow
_TYPES = pa.array(EVENT_TYPES, pa.string())


def sorted_events(
    files: list[Path], sizes: pa.Table, scratch: Path, bytes_at_once: int
) -> Iterator[pa.Table]:
    """EVENTS tables of at most BATCH_ROWS rows, in order.

    `files` are a spool; `sizes` has subject_id, sorted, and size, the bytes its events take in memory.
    """
    at_once = max(bytes_at_once, sum(sizes["size"].to_pylist()) // MAX_PARTS)
    bounds = range_bounds(sizes, at_once)
    if len(bounds) == 0 and sizes.num_rows > 1:
        yield from _sorted(_spooled(files))
        return
    for part in scatter(_spooled(files), "subject_id", bounds, scratch / "subjects"):
        yield from _sorted_part(part, at_once)


def range_bounds(sizes: pa.Table, bytes_at_once: int) -> np.ndarray:
    """First subject of every range but the first; a range is larger than wanted only if one subject is."""
    starts, total = [], 0
    for subject, size in zip(sizes["subject_id"].to_pylist(), sizes["size"].to_pylist(), strict=True):
        if total and total + size > bytes_at_once:
            starts.append(subject)
            total = 0
        total += size
    return np.array(starts, np.int64)


def _spooled(files: list[Path]) -> Iterator[pa.Table]:
    for file in files:
        with pq.ParquetFile(file, pre_buffer=False) as spool:
            for batch in spool.iter_batches(BATCH_ROWS, columns=SPOOLED.names, use_threads=False):
                yield pa.Table.from_batches([batch])


def _sorted_part(part: Part, bytes_at_once: int) -> Iterator[pa.Table]:
    """The rows of one part; a subject that alone is too large comes by ranges of time."""
    if part.size > 2 * bytes_at_once and _subjects(part) == 1:
        bounds = _time_bounds(part, bytes_at_once)
        for piece in scatter(read_part(part), "time", bounds, part.path.with_suffix(".times")):
            yield from _sorted(read_part(piece))
            piece.path.unlink()
    else:
        yield from _sorted(read_part(part))
    part.path.unlink()


def _subjects(part: Part) -> int:
    return len(set().union(*(pc.unique(table["subject_id"]).to_pylist() for table in read_part(part))))


def _time_bounds(part: Part, bytes_at_once: int) -> np.ndarray:
    """Times that divide the rows of a part evenly, as far as equal times allow."""
    times = np.sort(np.concatenate([key_values(table, "time") for table in read_part(part)]))
    step = max(1, len(times) * bytes_at_once // part.size, len(times) // MAX_PARTS)
    return np.unique(times[step::step])


def _sorted(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """EVENTS in order, of tables that fit into memory together."""
    rows = pa.concat_tables(tables).combine_chunks()
    keys: dict[str, pa.ChunkedArray] = {}
    for name in SORT_KEYS:
        if rows[name].null_count:
            keys[f"{name} is there"] = pc.is_valid(rows[name]).cast(pa.int8())  # nulls first
        keys[name] = rows[name]
    order = pc.sort_indices(pa.table(keys), sort_keys=[(name, "ascending") for name in keys])
    for begin in range(0, rows.num_rows, BATCH_ROWS):
        yield _events(rows.take(order[begin : begin + BATCH_ROWS]))


class Repeats:
    """Counts events that say in every column what the one before says: in sorted events, all repeats.

    They stay: what a source gives twice under two ids may have happened twice.
    """

    def __init__(self) -> None:
        self.count = 0
        self._last: pa.Table | None = None

    def watch(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The same tables, counted."""
        for table in tables:
            rows = table if self._last is None else pa.concat_tables([self._last, table])
            self.count += _repeated(rows.combine_chunks())
            self._last = table.slice(table.num_rows - 1)
            yield table


def _repeated(rows: pa.Table) -> int:
    alike = np.ones(max(rows.num_rows - 1, 0), bool)
    for name in ("subject_id", "time"):
        values = key_values(rows, name)
        alike &= values[1:] == values[:-1]
    at = np.flatnonzero(alike)  # few, so that the other columns cost nothing
    before, after = rows.take(at), rows.take(at + 1)
    same = np.ones(len(at), bool)
    for name in rows.column_names:
        one, two = before[name].combine_chunks(), after[name].combine_chunks()
        equal = pc.fill_null(pc.equal(one, two), False)
        both_null = pc.and_(pc.is_null(one), pc.is_null(two))
        same &= pc.or_(equal, both_null).to_numpy(zero_copy_only=False)
    return int(same.sum())


def _events(table: pa.Table) -> pa.Table:
    """Sorted rows with the name of the event type in place of its rank."""
    names = _TYPES.take(table["event_rank"].combine_chunks())
    table = table.set_column(table.schema.names.index("event_rank"), "event_type", names)
    return table.select(EVENTS.names).cast(EVENTS)
