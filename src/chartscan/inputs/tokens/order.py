"""EVENTS in the order in which they became known: the order of tokens.

Ordering by `available_time` makes the tokens visible at any instant a prefix of the whole sequence.
"""

import polars as pl
import pyarrow as pa

from chartscan.errors import DataError
from chartscan.schema import EVENT_TYPES, EVENTS, SORT_KEYS, check

ALWAYS = -(2**62)  # `known` of static facts: before every instant, yet differences do not overflow

# Ties among events that became known together are broken by the sort keys of EVENTS.
_KEYS = ["subject_id", "known", *(key for key in SORT_KEYS if key not in ("subject_id", "available_time"))]


def known_order(table: pa.Table) -> pl.DataFrame:
    """Rows of an EVENTS table by subject and by when they became known, whatever order they came in.

    Added columns: `known` (int64 microseconds; static rows ALWAYS) and `event_rank` (uint8). Rows of any
    number of subjects. Raises DataError when an event type is not one of schema.EVENT_TYPES.
    """
    frame = pl.from_arrow(check(table, EVENTS, "events").replace_schema_metadata())
    assert isinstance(frame, pl.DataFrame)
    known = pl.when(pl.col("time").is_not_null()).then(pl.coalesce("available_time", "time")).dt.epoch("us")
    rank = _rank(frame["event_type"])
    return frame.with_columns(known=known.fill_null(ALWAYS), event_rank=rank).sort(_KEYS, nulls_last=False)


def _rank(event_type: pl.Series) -> pl.Series:
    try:
        return event_type.cast(pl.Enum(EVENT_TYPES)).to_physical().cast(pl.UInt8)
    except pl.exceptions.InvalidOperationError as err:
        raise DataError(f"events, column event_type: expected one of {', '.join(EVENT_TYPES)}.") from err
