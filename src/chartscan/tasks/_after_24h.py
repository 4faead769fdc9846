"""The population of tasks that predict some hours after admission: patients alive and still in hospital.

A stay that ends exactly at the prediction time is still eligible. Its discharge may then be seen, so it is
flagged; one that ends there in death is excluded.
"""

from datetime import datetime

from chartscan.cohort import Record, Stay

ENDS_AT_PREDICTION = "discharged at the prediction time"


def exclusion(record: Record, stay: Stay, prediction_time: datetime, hours: float) -> str:
    """Why `stay` has no prediction at `prediction_time`, `hours` after admission; empty if it has one."""
    if record.death_doubtful:
        return "death doubtful: events long after it"
    if stay.end is not None and stay.end < prediction_time:
        return f"stay shorter than {hours:g} h"
    if record.death is not None and record.death <= prediction_time:
        return "not alive at the prediction time"
    if stay.died_in_hospital and stay.end == prediction_time:
        return "not alive at the prediction time"
    return ""


def flags(stay: Stay, prediction_time: datetime) -> tuple[str, ...]:
    """What to count beside the label."""
    return (ENDS_AT_PREDICTION,) if stay.end == prediction_time else ()
