"""Parquet files that carry a digest of themselves: labels, predictions, attributions and forecasts.

The digest stands between the columns and the footer. No offset of the format points there, so every reader
of Parquet skips it, and a tool that writes the table anew drops it. It covers every other byte of the file.
Files of other tools have none and are read as they are.
"""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from chartscan import files
from chartscan.errors import DataError

MAGIC = b"PAR1"
# Two different marks: one changed byte leaves at least one of them, which says that a digest belongs here.
BEGIN, END = b"<chartscan.sha256=", b"=chartscan.digest>"
_HEX = 64  # letters of a digest


def write_table(path: Path, table: pa.Table) -> None:
    """Write `table` to `path` with its digest, atomically, private; make its folder."""
    write_tables({path: table})


def write_tables(tables: Mapping[Path, pa.Table]) -> None:
    """The same for several tables: where one of them cannot be written, none is."""
    files.write_all({path: with_digest(_parquet(table)) for path, table in tables.items()}, private=True)


def write_content(path: Path, content: bytes) -> None:
    """The same for a table that is parquet already."""
    files.write_bytes(path, with_digest(content), private=True)


def _parquet(table: pa.Table) -> bytes:
    content = io.BytesIO()
    pq.write_table(table, content)
    return content.getvalue()


def read_table(path: Path, remedy: str) -> pa.Table:
    """The table at `path`, with its metadata.

    DataError naming the file, with the `remedy`, where its digest is of other bytes or it is no parquet.
    OSError, naming it too, where the system cannot read it.
    """
    content = _bytes(path)
    if not intact(content):
        raise DataError(f"{path}: damaged, its SHA-256 is not the one written. {remedy}")
    try:
        return pq.ParquetFile(pa.BufferReader(content)).read()
    except (pa.ArrowException, OSError, ValueError) as err:
        raise DataError(
            f"{path}: cannot be read as parquet; damaged, or of another format. {remedy}"
        ) from err


def _bytes(path: Path) -> bytes:
    try:
        return files.read_bytes(path)
    except (FileNotFoundError, IsADirectoryError) as err:
        raise DataError(f"{path}: no such parquet file.") from err


def with_digest(content: bytes) -> bytes:
    """The bytes of a parquet file with their digest before the footer."""
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    assert content[-4:] == MAGIC
    assert footer >= len(MAGIC)
    digest = hashlib.sha256(content).hexdigest().encode()
    return content[:footer] + BEGIN + digest + END + content[footer:]


def intact(content: bytes) -> bool:
    """Whether the digest in `content` matches the other bytes; true without one."""
    begin, end = content.rfind(BEGIN), content.rfind(END)
    if begin < 0 and end < 0:
        return True
    digest = content[begin + len(BEGIN) : end]
    if begin < 0 or end < 0 or len(digest) != _HEX:
        return False
    rest = hashlib.sha256(content[:begin])
    rest.update(content[end + len(END) :])
    return rest.hexdigest().encode() == digest
