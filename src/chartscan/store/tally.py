"""Counts over the spooled events, by DuckDB in bounded memory: what the codes are, how large subjects are."""

import errno
import re
from pathlib import Path

import duckdb
import pyarrow as pa

from chartscan.store.spool import SPOOLED

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
    """Questions to the files of a spool. A context manager; what needs more memory spills to `scratch`."""

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
