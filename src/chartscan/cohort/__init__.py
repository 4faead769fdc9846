"""Records, stays, follow-up and labels: everything a clinical task is written with."""

from chartscan.cohort.counts import Counts
from chartscan.cohort.follow_up import FollowUp
from chartscan.cohort.label_files import read_labels, write_labels
from chartscan.cohort.labelling import label_dataset, label_subjects
from chartscan.cohort.outcome import Outcome, absent, excluded
from chartscan.cohort.record import (
    COLUMNS,
    Diagnosis,
    Record,
    last_event,
    record_from_events,
    record_from_rows,
    rows_from_events,
)
from chartscan.cohort.stays import Encounter, Stay, StayConfig

__all__ = [
    "COLUMNS",
    "Counts",
    "Diagnosis",
    "Encounter",
    "FollowUp",
    "Outcome",
    "Record",
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
    "write_labels",
]
