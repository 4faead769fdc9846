"""Times of patients and encounters, judged together once all are known.

Works on the columns of the index alone. Takes away what cannot be true; the second pass, which reads the
same texts with the same clock, comes to the same, and does the counting.
"""

import numpy as np

from chartscan.sources.fhir.clock import Clock, Zones
from chartscan.sources.fhir.plausible import MOST_AHEAD, NO_TIME, PRENATAL
from chartscan.sources.fhir.references import Table
from chartscan.sources.fhir.stays import DROPPED

NO_ZONE = 2**62  # of a patient none of whose encounters names a zone


def people_of(patients: Table, encounters: Table) -> np.ndarray:
    """Row of the patient of each encounter, -1 for one that is not in the export."""
    keys = encounters.columns["patient"]
    return np.fromiter((patients.row_of_key(key) for key in keys), np.int64, len(keys))


def zones_at(patients: Table, row: int) -> Zones:
    """The zones that are written in the encounters of a patient, None where there is none."""
    low, high = patients.columns["zone_low"][row], patients.columns["zone_high"][row]
    return None if low == NO_ZONE else (low, high)


def take_away_implausible(
    patients: Table, encounters: Table, last: int, epochs: set[tuple[int, int]]
) -> None:
    """Take away times that begin after the `last` plausible one or are one of `epochs` (births excepted), and
    encounters that then have none."""
    for table, names in (
        (patients, ("birth", "birth")),
        (patients, ("death_first", "death")),
        (encounters, ("start_first", "start")),
        (encounters, ("end_first", "end")),
    ):
        first, end = (np.array(table.columns[name]) for name in names)
        wrong = first > last
        for epoch in epochs if names[0] != names[1] else ():
            wrong |= (first == epoch[0]) & (end == epoch[1])
        for row in np.flatnonzero(wrong).tolist():
            for name in names:
                table.columns[name][row] = NO_TIME
            if table is encounters and table.columns["start"][row] == table.columns["end"][row] == NO_TIME:
                encounters.columns["kind"][row] = DROPPED
    _take_away_ends_before_starts(encounters)


def _take_away_ends_before_starts(encounters: Table) -> None:
    """As `periods.span_of` does: no end before the start, and a partial start not after the end."""
    columns = encounters.columns
    first, start, end = (np.array(columns[name]) for name in ("start_first", "start", "end"))
    known = (start != NO_TIME) & (end != NO_TIME)
    for row in np.flatnonzero(known & (end < first)).tolist():
        columns["end_first"][row] = columns["end"][row] = NO_TIME
    for row in np.flatnonzero(known & (first <= end) & (end < start)).tolist():
        columns["start"][row] = columns["end"][row]


def give_zones(patients: Table, encounters: Table, people: np.ndarray, clock: Clock) -> None:
    """Let each patient know the zones of the encounters, and widen the dates of both by them."""
    zones = patients.columns
    named = (people >= 0) & (np.array(encounters.columns["zone_low"]) != NO_ZONE)
    for row in np.flatnonzero(named).tolist():
        person = people[row]
        zones["zone_low"][person] = min(zones["zone_low"][person], encounters.columns["zone_low"][row])
        zones["zone_high"][person] = max(zones["zone_high"][person], encounters.columns["zone_high"][row])
    own = np.arange(len(patients))
    for table, whose, first, last in (
        (encounters, people, "start_first", "start"),
        (encounters, people, "end_first", "end"),
        (patients, own, "death_first", "death"),
    ):
        columns = table.columns
        partial = np.array(columns[first]) != np.array(columns[last])
        for row in np.flatnonzero(partial & (whose >= 0)).tolist():
            span = clock.widened(columns[first][row], columns[last][row], zones_at(patients, whose[row]))
            columns[first][row], columns[last][row] = span


def take_away_births(patients: Table, encounters: Table, people: np.ndarray) -> None:
    """Take away births that most encounters of the patient lie long before, else those encounters.

    Where one lies just before, the birth is a date of another zone, and is moved to that encounter.
    """
    births = patients.columns["birth"]
    written, starts = np.array(births), np.array(encounters.columns["start"])
    dated = (people >= 0) & (starts != NO_TIME) & (np.array(encounters.columns["kind"]) != DROPPED)
    dated[dated] = written[people[dated]] != NO_TIME
    ahead = np.zeros_like(starts)
    ahead[dated] = written[people[dated]] - starts[dated]
    seen = np.bincount(people[dated], minlength=len(births))
    early = np.bincount(people[ahead > PRENATAL], minlength=len(births))
    for row in np.flatnonzero(2 * early > seen).tolist():
        births[row] = NO_TIME
    for row in np.flatnonzero(ahead > PRENATAL).tolist():
        if births[people[row]] != NO_TIME:
            encounters.columns["kind"][row] = DROPPED
    for row in np.flatnonzero((ahead > 0) & (ahead <= MOST_AHEAD)).tolist():
        births[people[row]] = min(births[people[row]], encounters.columns["start"][row])
