"""Records, stays, follow-up and labels: everything a clinical task is written with."""

from chartscan.cohort.counts import Counts, Outcome, absent, excluded
from chartscan.cohort.evidence import Life
from chartscan.cohort.intervals import FollowUp, Interval
from chartscan.cohort.label_files import read_labels, write_labels
from chartscan.cohort.labelling import label_dataset, label_subjects
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
    "read_labels",
    "record_from_events",
    "record_from_rows",
    "rows_from_events",
    "with_first_instants",
    "write_labels",
]
