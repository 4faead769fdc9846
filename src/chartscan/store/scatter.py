"""Events divided into files by ranges of a key, so that each file fits into memory on its own."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from chartscan.store.writing import writing

BUFFER_BYTES = 32 << 20  # of all files together
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


class Part(NamedTuple):
    """One range: where its rows are, and what they take in memory."""

    path: Path
    size: int


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


def scatter(tables: Iterable[pa.Table], key: str, bounds: np.ndarray, folder: Path) -> list[Part]:
    """The rows of `tables` in one part per range of `key`, in the order of the ranges.

    `bounds` (sorted, int64) are the first values of all ranges but the first; nulls are in the first. A
    range without rows gives no part.
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
