"""A file of an export as lines, in bounded memory; byte 0x0A ends lines.

Packed files are unpacked as they are read; the first bytes of a file tell how it is packed. This
module does not know what lines say.
"""

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from chartscan.errors import DataError
from chartscan.sources.fhir.outcomes import (
    BAD_ARCHIVE,
    BAD_GZIP,
    CARRIAGE_RETURNS,
    ENCODING,
    OVERSIZE,
    Filtered,
    Quarantined,
)
from chartscan.store.accounting import UNROUTED

BLOCK_BYTES = 1 << 18  # fits the processor's cache, which is faster than a megabyte
HEAD_BYTES = 1 << 16  # of a file, which tell what it is
BOM = b"\xef\xbb\xbf"
LINES, DOCUMENT = "lines", "document"  # one JSON value on each line, or values over many lines
GZIP, BZ2, XZ, ZSTD = "gzip", "bzip2", "xz", "zstd"
_MAGIC = {b"\x1f\x8b": GZIP, b"BZh": BZ2, b"\xfd7zXZ\x00": XZ, b"\x28\xb5\x2f\xfd": ZSTD}
_BROKEN = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, pa.ArrowException)
_BEFORE = re.compile(rb"(?:\xef\xbb\xbf|[ \t\r\n])*")
_OLD_MAC = re.compile(rb"[}\]][ \t]*\r[\r \t]*[{\[]")
_WIDE = re.compile(rb"\xff\xfe|\xfe\xff|[{\[ \r\n]\x00|\x00[{\[ \r\n]|\x00\x00[\x00\xfe]")


class Limits(NamedTuple):
    """What a file may be at most."""

    line_bytes: int = 16 << 20
    archive_ratio: int = 100  # unpacked bytes for each packed one, once there are more than
    archive_bytes: int = 1 << 30


class InputFile(NamedTuple):
    """One file that is read; `name` is its path below the folder the user gave."""

    path: Path
    name: str
    size: int  # bytes on disk
    number: int  # in the order of names
    changed_ns: int = 0  # when its content last changed, at the beginning of the run
    form: str = LINES
    deleted: bool = False  # what it names is not in the export any more


class Block(NamedTuple):
    """Whole lines of a file, or the records of one line that wraps them.

    Records are numbered as if every wrapped one had a line of its own, after the line that wraps it. Where
    `outcome` is given, it holds for all lines: their type, and why they give nothing.
    `data` is None for one line over the limit, which is not kept.
    """

    data: bytes | None
    ends: list[int]  # where in `data` each line ends, its b"\n" not included
    line: int  # number of the first record in the file
    offset: int  # of its first byte in the unpacked file
    done: int  # bytes of the file on disk read so far
    at: int  # 1-based number of the first line
    inside: bool = False  # whether all of it stands in the line `at`
    outcome: tuple[str, Filtered | Quarantined] | None = None
    may_be_referred_to: bool = True  # whether it may hold resources that others refer to

    def place(self, number: int, begin: int) -> tuple[int, int]:
        """Line and byte offset of the record `number`, which begins at `begin` in `data`."""
        return (self.at, self.offset) if self.inside else (self.at + number - self.line, self.offset + begin)


class Stream(Protocol):
    """As much of a file as reading lines needs."""

    def read(self, size: int, /) -> bytes: ...

    def readline(self, size: int, /) -> bytes: ...


class LineCount:
    """Counts a stream's lines by bytes alone: the total that accounting must reach."""

    def __init__(self) -> None:
        self.more = 0  # records that have no line of their own, less the lines that hold no record
        self._ends = 0
        self._last = b"\n"
        self._space = np.empty(0, bool)
        self._stream: Stream | None = None

    def over(self, stream: Stream) -> "LineCount":
        """Count what is read from `stream` by `read` and `readline` of this object."""
        self._stream = stream
        return self

    @property
    def lines(self) -> int:
        """Lines so far, a last one without an end included."""
        return self._ends + (self._last != b"\n")

    def read(self, size: int, /) -> bytes:
        assert self._stream is not None
        data = self._stream.read(size)
        if len(self._space) < len(data):
            self._space = np.empty(len(data), bool)
        # faster than bytes.count, which looks at one byte after the other; fresh memory would cost the gain
        found = np.equal(np.frombuffer(data, np.uint8), ord("\n"), out=self._space[: len(data)])
        return self._counted(data, int(np.count_nonzero(found)))

    def readline(self, size: int, /) -> bytes:
        assert self._stream is not None
        data = self._stream.readline(size)
        return self._counted(data, data.endswith(b"\n"))

    def _counted(self, data: bytes, ends: int) -> bytes:
        self._ends += ends
        self._last = data[-1:] or self._last
        return data


class BrokenFile(Exception):
    """A file without a trustworthy line; `unpacked`: whether it has lines at all."""

    def __init__(self, reason: str, unpacked: bool = True):
        super().__init__(reason)
        self.reason = reason
        self.unpacked = unpacked


class _Bounded:
    """A packed file's content; DataError where it is far more than a packed export ever is."""

    def __init__(self, file: InputFile, stream: Stream, packed: Callable[[], int], limits: Limits):
        self._file = file
        self._stream = stream
        self._packed = packed
        self._limits = limits
        self._bytes = 0

    def read(self, size: int, /) -> bytes:
        return self._checked(self._stream.read(size))

    def readline(self, size: int, /) -> bytes:
        return self._checked(self._stream.readline(size))

    def _checked(self, data: bytes) -> bytes:
        self._bytes += len(data)
        most = self._limits.archive_bytes
        if self._bytes > most and self._bytes > self._limits.archive_ratio * self._packed():
            raise DataError(
                f"{self._file.name}: unpacks to more than {most >> 20} MB, over "
                f"{self._limits.archive_ratio} times its size, like an archive made to fill a disk "
                "(B14 archive_bomb). Nothing is published. Remove it or, if it is sound, unpack it yourself "
                "or raise archive_limit_mb."
            )
        return data


class _Members(io.RawIOBase):
    """The content of a bzip2 or xz file of one or more members, with zeros between and after them.

    The readers of Python's own modules end without an error where a later member is no such archive.
    """

    def __init__(self, disk: IO[bytes], start: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]):
        self._disk = disk
        self._start = start
        self._member = start()

    def readable(self) -> bool:
        return True

    def readinto(self, space: memoryview, /) -> int:  # type: ignore[override]
        data = b""
        while not data:
            packed = b""
            if self._member.eof:
                packed = self._next_member()
                if not packed:
                    return 0
                self._member = self._start()
            elif self._member.needs_input:
                packed = self._disk.read(BLOCK_BYTES)
                if not packed:
                    raise EOFError
            data = self._member.decompress(packed, len(space))
        space[: len(data)] = data
        return len(data)

    def _next_member(self) -> bytes:
        """The bytes from the beginning of the next member, b"" where there is none."""
        packed = self._member.unused_data.lstrip(b"\0")
        while not packed and (more := self._disk.read(BLOCK_BYTES)):
            packed = more.lstrip(b"\0")
        return packed


def packing(head: bytes) -> str | None:
    """What a file with this beginning is packed with, None if it is not."""
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


@contextmanager
def opened(file: InputFile, limits: Limits) -> Iterator[tuple[Stream, IO[bytes]]]:
    """Open a file, unpacked, with the file on disk; BrokenFile where impossible."""
    with file.path.open("rb") as disk:
        packed = packing(disk.read(6))
        disk.seek(0)
        if packed is None:
            yield disk, disk
            return
        try:
            with _unpacking(packed, disk) as stream:
                yield _Bounded(file, stream, disk.tell, limits), disk
        except _BROKEN as err:
            raise BrokenFile(BAD_GZIP if packed == GZIP else BAD_ARCHIVE, unpacked=False) from err
        except OSError as err:
            if err.errno is not None and not isinstance(err, pa.ArrowException):
                raise
            raise BrokenFile(BAD_ARCHIVE, unpacked=False) from err  # bz2 and Arrow say it so


def _unpacking(packed: str, disk: IO[bytes]) -> IO[bytes]:
    if packed == GZIP:
        return gzip.GzipFile(fileobj=disk)  # type: ignore[return-value]
    if packed in (BZ2, XZ):
        start = bz2.BZ2Decompressor if packed == BZ2 else lzma.LZMADecompressor
        return io.BufferedReader(_Members(disk, start), BLOCK_BYTES)  # type: ignore[type-var,return-value]
    raw = pa.CompressedInputStream(pa.PythonFile(disk, mode="r"), "zstd")
    return io.BufferedReader(raw, BLOCK_BYTES)  # type: ignore[type-var,return-value]


def head_of(file: InputFile, limits: Limits) -> bytes:
    """The beginning of a file, unpacked."""
    with opened(file, limits) as (stream, _):
        return stream.read(HEAD_BYTES)


def text_of(data: bytes) -> bytes:
    """The data without the byte order marks and blanks before it."""
    return data[_BEFORE.match(data).end() :]  # type: ignore[union-attr]


def broken_text(head: bytes) -> str | None:
    """Return why a file with this beginning is unreadable, else None."""
    if _WIDE.match(head):
        return ENCODING
    return CARRIAGE_RETURNS if b"\n" not in head and _OLD_MAC.search(head) else None


def blocks(file: InputFile, limits: Limits, count: LineCount | None = None) -> Iterator[Block]:
    """Yield the file as blocks of whole lines; BrokenFile last if untrustworthy.

    All bytes pass through `count`, where one is given.
    """
    broken = None
    with opened(file, limits) as (stream, disk):
        for block in _blocks(count.over(stream) if count else stream, disk, limits.line_bytes):
            if block.line == 1:
                broken = broken_text((block.data or b"")[:HEAD_BYTES])
            yield block
        if broken:
            raise BrokenFile(broken)


def _blocks(stream: Stream, disk: IO[bytes], limit: int) -> Iterator[Block]:
    line, offset = 1, 0
    while data := stream.read(BLOCK_BYTES):
        rest = b"" if data.endswith(b"\n") else stream.readline(limit + 1)
        start = data.rfind(b"\n") + 1 if len(rest) > limit else 0  # of a line that is too long to keep
        whole = data[:start] if len(rest) > limit else data + rest
        ends = line_ends(whole)
        if whole:
            yield Block(whole, ends, line, offset, disk.tell(), line)
        line, offset = line + len(ends), offset + len(whole)
        if len(rest) > limit:
            yield Block(None, [0], line, offset, disk.tell(), line, False, (UNROUTED, Quarantined(OVERSIZE)))
            line, offset = line + 1, offset + len(data) - start + len(rest) + _skip_line(stream, rest)


def line_ends(data: bytes) -> list[int]:
    """Return where each line ends: its newline byte, or the end of the data."""
    ends, begin = [], 0
    while begin < len(data):  # numpy took as long, and fresh memory for each block on top of it
        end = data.find(b"\n", begin)
        ends.append(end if end >= 0 else len(data))
        begin = ends[-1] + 1
    return ends


def _skip_line(stream: Stream, read: bytes) -> int:
    """Read on to the end of a line of which `read` is a part; how many bytes that took."""
    skipped = 0
    while read and not read.endswith(b"\n"):
        read = stream.readline(BLOCK_BYTES)
        skipped += len(read)
    return skipped
