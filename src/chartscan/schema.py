"""The tables that pass between the parts of chartscan, as code: EVENTS, LABELS, PREDICTIONS, SPLITS.

They are MEDS 0.4 tables (`meds` validates them) with the extension columns that honest prediction needs.
Files of LABELS carry the cohort in numbers (`Counts`). This module knows types and orders, not where data
comes from or what it means clinically.
"""

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from chartscan.errors import DataError

TIME = pa.timestamp("us")  # UTC instants without a zone, as MEDS wants them

# What an event is. The order is the order among events of one instant: what opens a visit comes first,
# what closes it last, so that ties break the same way for every file order and thread count.
EVENT_TYPES = (
    "birth",
    "static",  # facts without a time: sex, race, ...
    "admission",  # start of a hospital stay
    "visit_start",  # start of any other encounter (emergency, ambulatory, intensive care, ...)
    "allergy",
    "vital",
    "lab",
    "observation",  # any other observation
    "procedure",
    "immunization",
    "medication_request",
    "medication_dispense",
    "medication_administration",
    "medication_statement",
    "diagnosis",
    "visit_end",
    "discharge",  # end of a hospital stay
    "death",
    "outcome",  # evidence for labels that is no input of a model: how a stay ended, that a patient lives
)
# UNDATED_DIAGNOSIS//SYSTEM//code, an outcome without a time: only the encounter is known, or not even that.
UNDATED_DIAGNOSIS = "UNDATED_DIAGNOSIS"
# DISPUTED_DIAGNOSIS//UNVERIFIED//SYSTEM//code, an outcome: another code of a diagnosis, of a condition that
# the code of its event denies.
DISPUTED_DIAGNOSIS = "DISPUTED_DIAGNOSIS"
# An outcome without a time: the source has one more stay of the subject, which cannot be used; or, with an
# encounter, the end of that one cannot be read.
LOST_STAY = "LOST_STAY"
# An outcome without a time: the source says of the subject's death one thing and another, and not which is
# newer; the death here may be none.
DEATH_DISPUTED = "VITAL_STATUS//DISPUTED"
# An outcome without a time: the death of the subject was made from a disposition, and proves nothing more.
DEATH_BY_DISPOSITION = "VITAL_STATUS//DEAD_BY_DISPOSITION"
EVENT_RANK = {name: rank for rank, name in enumerate(EVENT_TYPES)}
TYPE_NAMES = pa.array(EVENT_TYPES, pa.string())  # by rank

EVENTS = pa.schema(
    [
        pa.field("subject_id", pa.int64(), nullable=False),
        pa.field("time", TIME),  # when it happened; null = static
        pa.field("code", pa.string(), nullable=False),  # SYSTEM//code
        pa.field("numeric_value", pa.float32()),
        pa.field("text_value", pa.large_string()),  # text or coded results; never free notes
        pa.field("unit", pa.string()),
        pa.field("comparator", pa.string()),  # <, <=, >=, > beside numeric_value
        pa.field("event_type", pa.string(), nullable=False),  # one of EVENT_TYPES
        pa.field("encounter_id", pa.string()),
        pa.field("available_time", TIME),  # when it became known, never before `time`; null = static
        # A time known to a day, a month or a year is an interval. `time` and `available_time` are its last
        # instants, so that nothing is seen too early; these are its first ones. Null: the time is exact.
        pa.field("earliest_time", TIME),
        pa.field("earliest_available_time", TIME),
    ]
)

# Rows of a subject are sorted by these (nulls first); `event_rank` is EVENT_RANK[event_type].
SORT_KEYS = (
    "subject_id",
    "time",
    "event_rank",
    "code",
    "available_time",
    "numeric_value",
    "text_value",
    "unit",
    "comparator",
    "encounter_id",
    "earliest_time",
    "earliest_available_time",
)

LABELS = pa.schema(
    [
        pa.field("subject_id", pa.int64(), nullable=False),
        pa.field("prediction_time", TIME, nullable=False),  # events known up to and including it may be seen
        pa.field("boolean_value", pa.bool_(), nullable=False),
    ]
)

# Labels that are asked for without knowing the answer.
QUESTIONS = LABELS.remove(LABELS.names.index("boolean_value"))

PREDICTIONS = pa.schema(
    [
        *QUESTIONS,
        pa.field("boolean_value", pa.bool_()),  # null where a question was predicted
        pa.field("predicted_boolean_value", pa.bool_()),
        pa.field("predicted_boolean_probability", pa.float32()),
    ]
)

SPLITS = pa.schema(
    [pa.field("subject_id", pa.int64(), nullable=False), pa.field("split", pa.string(), nullable=False)]
)
TRAIN, TUNING, HELD_OUT = "train", "tuning", "held_out"

# Key-value metadata of LABELS and PREDICTIONS files (the columns are closed by MEDS, the metadata is not).
TASK_KEY = b"chartscan.task"  # name of the task
COHORT_KEY = b"chartscan.cohort"  # JSON: eligibility counts with reasons
MODEL_KEY = b"chartscan.model"  # name of the model that predicted


class Counts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The cohort of one task in numbers, as files of LABELS carry it under COHORT_KEY.

    index_stays = eligible + excluded; eligible = positive + negative + absent. Checked when made.
    """

    subjects: int = 0  # all whose record was read
    subjects_with_stay: int = 0
    subjects_labelled: int = 0
    index_stays: int = 0
    eligible: int = 0
    positive: int = 0
    negative: int = 0
    excluded: dict[str, int] = {}  # reason -> stays not of the population
    absent: dict[str, int] = {}  # reason -> eligible stays with an unknown outcome
    flags: dict[str, int] = {}  # noteworthy, counted besides
    settings: dict[str, Any] = {}  # task, stays and follow-up as they were set

    def __post_init__(self) -> None:
        if self.index_stays != self.eligible + sum(self.excluded.values()):
            raise ValueError("cohort counts do not add up: index stays != eligible + excluded")
        if self.eligible != self.positive + self.negative + sum(self.absent.values()):
            raise ValueError("cohort counts do not add up: eligible != positive + negative + absent")
        if not self.subjects_labelled <= self.subjects_with_stay <= self.subjects:
            raise ValueError("cohort counts do not add up: labelled > with a stay > all subjects")


def subject_starts(ids: np.ndarray, previous: int | None = None) -> np.ndarray:
    """Return the rows at which another subject begins in sorted `ids`, shape (n,).

    The first row counts unless it continues the subject `previous`.
    """
    starts = np.flatnonzero(ids[1:] != ids[:-1]) + 1
    return starts if len(ids) == 0 or ids[0] == previous else np.concatenate([[0], starts])


def check(table: pa.Table, schema: pa.Schema, name: str) -> pa.Table:
    """`table` with exactly the columns and types of `schema`, or DataError naming what differs.

    Missing nullable columns are added as null, large strings and time units are cast; extra columns and
    nulls where none may be are refused. `name` says in the error which table was meant.
    """
    extra = sorted(set(table.column_names) - set(schema.names))
    missing = sorted(f.name for f in schema if not f.nullable and f.name not in table.column_names)
    if extra or missing:
        raise DataError(f"{name}: missing columns {missing}, unexpected columns {extra}.")
    columns = [_column(table, field, name) for field in schema]
    return pa.table(columns, schema=schema.with_metadata(table.schema.metadata))


def _column(table: pa.Table, field: pa.Field, name: str) -> pa.ChunkedArray | pa.Array:
    if field.name not in table.column_names:
        return pa.nulls(table.num_rows, field.type)
    column = table[field.name]
    if not field.nullable and column.null_count:
        raise DataError(f"{name}, column {field.name}: {column.null_count} null values where none may be.")
    try:
        return column.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as err:
        raise DataError(f"{name}, column {field.name}: expected {field.type}, found {column.type}.") from err
