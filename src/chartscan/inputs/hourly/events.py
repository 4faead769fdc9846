"""Which rows of EVENTS are measurements, static facts and starts of a stay, and when each became known.

One definition for fitting, for whole records and for streams. Outcomes are never among them.
"""

import polars as pl
import pyarrow as pa

ADMISSION = "admission"
STATIC = "static"
# Rows that frame a record; a number on one of them is no measurement.
NOT_MEASURED = ("birth", "static", "admission", "visit_start", "visit_end", "discharge", "death", "outcome")
NO_START = ("birth", "static", "outcome")  # without an admission, a stay begins with any other timed event

_COLUMNS = ["subject_id", "time", "code", "numeric_value", "unit", "event_type", "available_time"]


def frame_of(table: pa.Table) -> pl.DataFrame:
    """EVENTS with `known`: microseconds since 1970 when a row became known, null for static facts."""
    frame = pl.from_arrow(table.select(_COLUMNS).replace_schema_metadata())
    assert isinstance(frame, pl.DataFrame)
    known = pl.coalesce("available_time", "time").cast(pl.Datetime("us")).dt.epoch("us")
    return frame.with_columns(known=pl.when(pl.col("time").is_not_null()).then(known))


def measurements(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows with a finite number at a known time, with the `name` of their variable."""
    unit = pl.col("unit").fill_null("")
    name = pl.when(unit == "").then("code").otherwise(pl.format("{} [{}]", "code", unit))
    measured = (
        pl.col("known").is_not_null()
        & pl.col("numeric_value").is_finite()
        & ~pl.col("event_type").is_in(NOT_MEASURED)
    )
    return frame.filter(measured).with_columns(name=name)


def variable_name(code: str, unit: str | None) -> str:
    """Name of a variable: its code, and its unit where it has one, since units are never mixed."""
    return f"{code} [{unit}]" if unit else code


def static_facts(frame: pl.DataFrame) -> pl.DataFrame:
    """Static rows in a fixed order: `subject_id`, `code`, `numeric_value` (null or not a number: none)."""
    facts = frame.filter((pl.col("event_type") == STATIC) & pl.col("time").is_null())
    return facts.select("subject_id", "code", "numeric_value").sort("subject_id", "code", "numeric_value")


def admissions(frame: pl.DataFrame) -> pl.DataFrame:
    """Starts of stays: `subject_id`, `known`, ascending."""
    starts = (pl.col("event_type") == ADMISSION) & pl.col("known").is_not_null()
    return frame.filter(starts).select("subject_id", "known").sort("subject_id", "known")


def first_events(frame: pl.DataFrame) -> pl.DataFrame:
    """When the first timed event of each subject became known, births and outcomes aside."""
    timed = pl.col("known").is_not_null() & ~pl.col("event_type").is_in(NO_START)
    return frame.filter(timed).group_by("subject_id").agg(pl.col("known").min()).sort("subject_id")
