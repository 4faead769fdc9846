"""What can go wrong while a file is written: an error that says which file, and a file let go of after it."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the disk, or Arrow for it, says against writing `path` into an OSError that names it."""
    try:
        yield
    except (OSError, pa.ArrowInvalid) as err:
        number = getattr(err, "errno", None) or errno.EIO
        raise OSError(number, f"cannot be written: {os.strerror(number)}", str(path)) from err


def let_go(file: pq.ParquetWriter) -> None:
    """Closes a file that nobody will read, in whatever state it is."""
    with suppress(Exception):
        file.close()
    file.is_open = False  # or its __del__ would close it again, and fail where nobody can catch that
