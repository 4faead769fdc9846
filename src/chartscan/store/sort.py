"""From spooled events to the sorted files of a dataset, in bounded memory.

Events are divided by subject into parts that fit into memory, each part is sorted by `schema.SORT_KEYS`, and
the sorted rows are cut into Parquet files, one subject in one file. Equal events give equal bytes,
in any order of arrival.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from meds import DataSchema

from chartscan.schema import EVENTS, SORT_KEYS, TIME, TYPE_NAMES, subject_starts
from chartscan.store.folder import let_go, writing
from chartscan.store.spool import SPOOLED

BATCH_ROWS = 16_384
MAX_PARTS = 400  # files open at a time; with more data, parts grow
BUFFER_BYTES = 32 << 20  # of all part files together
GROUP_ROWS = 32_768  # of a row group in a Parquet file
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")
# A dictionary of times, which hardly repeat, made files a quarter larger and their writing a third slower.
_DICTIONARIES = [field.name for field in EVENTS if field.type != TIME]


class Part(NamedTuple):
    """One range: where its rows are, and what they take in memory."""

    path: Path
    size: int


def sorted_events(
    files: list[Path], sizes: pa.Table, scratch: Path, bytes_at_once: int
) -> Iterator[pa.Table]:
    """EVENTS tables of at most BATCH_ROWS rows, in order.

    `files` are a spool; `sizes` has subject_id, sorted, and size, the bytes its events take in memory. Events
    beyond `bytes_at_once` are divided by subject into parts that each fit, and a subject that alone is larger
    is divided by time. (DuckDB's own external sort was tried: with text of 500 bytes a row, 128 MiB of memory
    failed at 256 MiB of data.) The keys cover every column, so only rows that are equal throughout tie, and
    the order does not depend on file order, chunking or threads. Text is compared by its UTF-8 bytes.
    """
    at_once = max(bytes_at_once, sum(sizes["size"].to_pylist()) // MAX_PARTS)
    bounds = range_bounds(sizes, at_once)
    if len(bounds) == 0 and sizes.num_rows > 1:
        yield from _sorted(_spooled(files))
        return
    for part in scatter(_spooled(files), "subject_id", bounds, scratch / "subjects"):
        yield from _sorted_part(part, at_once)


def range_bounds(sizes: pa.Table, bytes_at_once: int) -> np.ndarray:
    """Return each range's first subject but the first's; one subject is never divided."""
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


def _events(table: pa.Table) -> pa.Table:
    """Sorted rows with the name of the event type in place of its rank."""
    names = TYPE_NAMES.take(table["event_rank"].combine_chunks())
    table = table.set_column(table.schema.names.index("event_rank"), "event_type", names)
    return table.select(EVENTS.names).cast(EVENTS)


def scatter(tables: Iterable[pa.Table], key: str, bounds: np.ndarray, folder: Path) -> list[Part]:
    """Write the rows of `tables` into one part per range of `key`.

    In the order of the ranges. `bounds` (sorted, int64) are the first values of all ranges but the first;
    nulls are in the first. A range without rows gives no part.
    """
    folder.mkdir()
    writers: list[_PartWriter] = []
    for table in tables:
        if not writers:
            share = BUFFER_BYTES // (len(bounds) + 1)
            writers = [_PartWriter(folder / str(i), table.schema, share) for i in range(len(bounds) + 1)]
        at = np.searchsorted(bounds, key_values(table, key), side="right")
        order = np.argsort(at, kind="stable")
        ends = np.searchsorted(at[order], np.arange(len(writers) + 1))
        for i in np.flatnonzero(np.diff(ends)):
            writers[i].write(table.take(order[ends[i] : ends[i + 1]]))  # a slice would keep the whole table
    return [part for part in (writer.close() for writer in writers) if part.size]


def key_values(table: pa.Table, key: str) -> np.ndarray:
    """A column of integers or times as int64; null is the least."""
    return table[key].cast(pa.int64()).fill_null(np.iinfo(np.int64).min).to_numpy()


def read_part(part: Part) -> Iterator[pa.Table]:
    """The rows of a part, piece by piece."""
    with pa.OSFile(str(part.path)) as file, pa.ipc.open_stream(file) as stream:
        for batch in stream:
            yield pa.Table.from_batches([batch])


class _PartWriter:
    def __init__(self, path: Path, schema: pa.Schema, buffer_bytes: int):
        self.path = path
        self.size = 0
        self._buffer_bytes = buffer_bytes
        with writing(path):
            self._sink = pa.OSFile(str(path), "wb")
            self._file = pa.ipc.new_stream(self._sink, schema, options=_OPTIONS)
        self._waiting: list[pa.Table] = []
        self._waiting_bytes = 0

    def write(self, table: pa.Table) -> None:
        self._waiting.append(table)
        self._waiting_bytes += table.nbytes
        if self._waiting_bytes >= self._buffer_bytes:
            self._flush()

    def _flush(self) -> None:
        rows = pa.concat_tables(self._waiting).combine_chunks()
        with writing(self.path):
            self._file.write_table(rows)
        self.size += self._waiting_bytes
        self._waiting, self._waiting_bytes = [], 0

    def close(self) -> Part:
        if self._waiting:
            self._flush()
        with writing(self.path):
            self._file.close()
            self._sink.close()
        return Part(self.path, self.size)


class Repeats:
    """Counts events that equal the one before in every column: in sorted events, all repeats.

    They are kept: what a source gives under two ids may have happened twice.
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


def write_shards(tables: Iterable[pa.Table], folder: Path, shard_rows: int) -> None:
    """Write `0.parquet`, `1.parquet`, ... into `folder`.

    `tables` are sorted EVENTS. A file is closed at the first subject that ends at or after `shard_rows` rows.
    Where files and row groups are cut depends on the rows alone. Memory holds about one row group.
    """
    shard, number, last = _Shard(folder / "0.parquet"), 0, None
    try:
        for table in tables:
            ids = table["subject_id"].to_numpy()
            starts = subject_starts(ids, last)
            begin = 0
            while (cut := _cut(starts, begin, shard_rows - shard.rows)) is not None:
                shard.write(table.slice(begin, cut - begin))
                shard.close()
                number += 1
                shard, begin = _Shard(folder / f"{number}.parquet"), cut
            shard.write(table.slice(begin))
            last = ids[-1]
        shard.close()
    except BaseException:
        shard.abandon()
        raise


def _cut(starts: np.ndarray, begin: int, wanted: int) -> int | None:
    """First start of a subject that leaves the shard at least `wanted` rows from `begin` on; None if none."""
    at = np.searchsorted(starts, begin + max(wanted, 0))
    return int(starts[at]) if at < len(starts) else None


class _Shard:
    """One file, written in row groups of exactly GROUP_ROWS rows (the last is shorter)."""

    def __init__(self, path: Path):
        self.rows = 0
        self._path = path
        with writing(path):
            self._file = pq.ParquetWriter(path, EVENTS, compression="zstd", use_dictionary=_DICTIONARIES)
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0

    def write(self, table: pa.Table) -> None:
        self.rows += table.num_rows
        self._waiting.append(table)
        self._waiting_rows += table.num_rows
        while self._waiting_rows >= GROUP_ROWS:
            self._write_group()

    def _write_group(self) -> None:
        rows = pa.concat_tables(self._waiting)
        group = DataSchema.align(rows.slice(0, GROUP_ROWS).combine_chunks()).cast(EVENTS)
        with writing(self._path):
            self._file.write_table(group, row_group_size=GROUP_ROWS)
        self._waiting = [rows.slice(GROUP_ROWS)]
        self._waiting_rows -= group.num_rows

    def close(self) -> None:
        if self._waiting_rows:
            self._write_group()
        with writing(self._path):
            self._file.close()

    def abandon(self) -> None:
        """Let go of the file after an error."""
        let_go(self._file)
