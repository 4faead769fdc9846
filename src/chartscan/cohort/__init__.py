"""Records, stays, follow-up and labels: everything a clinical task is written with."""

from chartscan.cohort.evidence import FollowUp, Interval, Life
from chartscan.cohort.labelling import Outcome, absent, excluded, label_dataset, label_subjects
from chartscan.cohort.record import (
    COLUMNS,
    Diagnosis,
    Record,
    Site,
    last_event,
    record_from_events,
    record_from_rows,
    rows_from_events,
    with_first_instants,
)
from chartscan.cohort.stays import Encounter, HorizonDays, Hours, Stay, StayConfig
from chartscan.schema import Counts

__all__ = [
    "COLUMNS",
    "Counts",
    "Diagnosis",
    "Encounter",
    "FollowUp",
    "HorizonDays",
    "Hours",
    "Interval",
    "Life",
    "Outcome",
    "Record",
    "Site",
    "Stay",
    "StayConfig",
    "absent",
    "excluded",
    "label_dataset",
    "label_subjects",
    "last_event",
    "record_from_events",
    "record_from_rows",
    "rows_from_events",
    "with_first_instants",
]
