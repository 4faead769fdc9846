"""The files of an export and their lines, in bounded memory. Lines end at byte 0x0A and nowhere else."""

import gzip
import json
import zlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, NamedTuple, Protocol

import msgspec
import numpy as np

from chartscan.errors import DataError
from chartscan.sources.fhir.outcomes import BAD_GZIP, ENCODING
from chartscan.sources.fhir.resources import Head

BLOCK_BYTES = 1 << 18  # fits the processor's cache, which is faster than a megabyte
BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class InputFile(NamedTuple):
    """One file; `name` is its path below the folder the user gave."""

    path: Path
    name: str
    size: int  # bytes on disk
    number: int  # in the order of names


class Block(NamedTuple):
    """Whole lines of a file; `data` is None for one line over the limit, which is not kept."""

    data: bytes | None
    ends: list[int]  # where in `data` each line ends, its b"\n" not included
    line: int  # 1-based number of the first line
    offset: int  # of its first byte in the decompressed file
    done: int  # bytes of the file on disk read so far


class Stream(Protocol):
    """As much of a file as reading lines needs."""

    def read(self, size: int, /) -> bytes: ...

    def readline(self, size: int, /) -> bytes: ...


class LineCount:
    """A stream that counts the lines passing through it by their bytes alone, so that it knows nothing of how
    they are cut into blocks: what the accounting must add up to."""

    def __init__(self) -> None:
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
    """A file none of whose lines can be trusted."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


def input_files(path: Path) -> list[InputFile]:
    """The NDJSON files in a folder and below, by name; DataError if there are none."""
    if path.is_file():
        found = [path]
        root = path.parent
    else:
        root = path
        found = sorted(
            p for p in path.rglob("*") if p.is_file() and p.name.endswith((".ndjson", ".ndjson.gz"))
        )
    if not found:
        what = "has no file named *.ndjson or *.ndjson.gz" if path.is_dir() else "does not exist"
        raise DataError(f"{path} {what}. Give the folder that a FHIR bulk export was saved in.")
    return [InputFile(p, p.relative_to(root).as_posix(), p.stat().st_size, i) for i, p in enumerate(found)]


def export_time(path: Path) -> datetime | None:
    """The transactionTime of the bulk export's manifest, a .json file beside the data; None without one."""
    for file in sorted(path.glob("*.json")) if path.is_dir() else []:
        try:
            text = json.loads(file.read_bytes())["transactionTime"]
            return datetime.fromisoformat(text)
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return None


def blocks(file: InputFile, limit: int, count: LineCount | None = None) -> Iterator[Block]:
    """The file as whole lines, a block at a time; BrokenFile at the end if none of it can be trusted.

    All bytes pass through `count`, where one is given.
    """
    with file.path.open("rb") as disk:
        head = disk.read(2)
        disk.seek(0)
        if head != _GZIP:
            yield from _blocks(count.over(disk) if count else disk, disk, limit)
            if head in _UTF16:
                raise BrokenFile(ENCODING)
            return
        try:
            with gzip.GzipFile(fileobj=disk) as stream:
                yield from _blocks(count.over(stream) if count else stream, disk, limit)
        except (EOFError, gzip.BadGzipFile, zlib.error) as err:
            raise BrokenFile(BAD_GZIP) from err


def _blocks(stream: Stream, disk: IO[bytes], limit: int) -> Iterator[Block]:
    line, offset = 1, 0
    while data := stream.read(BLOCK_BYTES):
        rest = b"" if data.endswith(b"\n") else stream.readline(limit + 1)
        start = data.rfind(b"\n") + 1 if len(rest) > limit else 0  # of a line that is too long to keep
        whole = data[:start] if len(rest) > limit else data + rest
        ends = line_ends(whole)
        if whole:
            yield Block(whole, ends, line, offset, disk.tell())
        line, offset = line + len(ends), offset + len(whole)
        if len(rest) > limit:
            yield Block(None, [], line, offset, disk.tell())
            line, offset = line + 1, offset + len(data) - start + len(rest) + _skip_line(stream, rest)


def line_ends(data: bytes) -> list[int]:
    """Where each line ends: at its b"\\n", the last one perhaps at the end of the data."""
    ends, begin = [], 0
    while begin < len(data):
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


def refuse_other_formats(file: InputFile, data: bytes) -> None:
    """DataError when the first lines show JSON that is not one resource a line."""
    first = (
        next((line for line in data.split(b"\n") if line.strip(BOM + b" \t\r")), b"")
        .removeprefix(BOM)
        .strip()
    )
    what = ""
    if first.startswith(b"["):
        what = "a JSON array"
    elif first == b"{":
        what = "pretty-printed JSON"
    elif _type(first) == "Bundle":
        what = "a Bundle"
    if what:
        raise DataError(
            f"{file.name} holds {what}. Expected NDJSON: one resource on each line. Convert it, for example "
            "with: jq -c '.entry[].resource' (a Bundle), jq -c '.[]' (an array), jq -c . (pretty-printed)."
        )


def _type(line: bytes) -> str | None:
    try:
        return msgspec.json.decode(line, type=Head).resourceType
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
