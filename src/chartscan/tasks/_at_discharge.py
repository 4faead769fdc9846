"""The population of tasks that predict at discharge: index stays that a living patient leaves."""

from chartscan.cohort import Record, Stay


def exclusion(record: Record, stay: Stay) -> str:
    """Why `stay` has no prediction at discharge; empty if it has one."""
    if record.death_doubtful:
        return "death doubtful: events long after it"
    if stay.end is None:
        return "stay has no end"
    if stay.died_in_hospital:
        return "died in hospital"
    if record.death is not None and record.death <= stay.end:
        return "death recorded before discharge"
    if record.death_without_time and not stay.has_disposition:
        return "death without a time, stay without a disposition"
    return ""
