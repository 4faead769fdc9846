"""What follows once all patients and encounters are known: times judged, stays put together."""

from collections import Counter, defaultdict
from collections.abc import Set

import numpy as np

from chartscan.sources.fhir.clock import MOST_AHEAD, NO_TIME, PRENATAL, Clock, Zones
from chartscan.sources.fhir.references import Table
from chartscan.sources.fhir.stays import DROPPED, ICU, STAY
from chartscan.vocabulary.dispositions import CONFLICT, SILENT, meaning_of

# Implausible times are removed once all patients and encounters are known. The second pass decides alike,
# and counts them.

NO_ZONE = 2**62  # of a patient none of whose encounters names a zone


def people_of(patients: Table, encounters: Table) -> np.ndarray:
    """Return each encounter's patient row; -1 without one in the export."""
    keys = encounters.columns["patient"]
    return np.fromiter((patients.row_of_key(key) for key in keys), np.int64, len(keys))


def zones_at(patients: Table, row: int) -> Zones:
    """Return the time zones written in a patient's encounters; None without."""
    low, high = patients.columns["zone_low"][row], patients.columns["zone_high"][row]
    return None if low == NO_ZONE else (low, high)


def take_away_implausible(
    patients: Table, encounters: Table, last: int, epochs: set[tuple[int, int]]
) -> None:
    """Remove times after `last` or in `epochs` (births excepted), and encounters left untimed."""
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
    """Give patients their encounters' zones, and widen the dates of both."""
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


# A stay is the top-most encounter of the kind in a chain of `partOf` of ONE patient; those below are moves
# within it. A newborn's encounter that is part of the mother's is its own stay. A case without times spans
# its wards.

ROOT, ELSEWHERE = -1, -2  # part of nothing; part of what is not in the export or not of this patient


class Wholes:
    """The stay (row) of each encounter, -1 for none; dates undated stays.

    `doubtful` are encounters that may be none, since their status is not understood.
    """

    def __init__(self, table: Table, dispositions: list[str], doubtful: Set[int] = frozenset()):
        self.flags: Counter[str] = Counter()
        self.said: dict[int, str] = {}  # disposition of a stay, where its wards say more than itself
        self._columns = table.columns
        self._dispositions = dispositions
        self._doubtful = doubtful
        self._parents = self._parents_of(table)
        self.whole = self._wholes()
        self._take_in_strays()
        parts: defaultdict[int, list[int]] = defaultdict(list)
        for row in np.flatnonzero(self._parents != ROOT).tolist():
            if self.is_move(row):
                parts[self.whole[row]].append(row)
        for stay, rows in parts.items():
            self._date(stay, rows)
            self._conclude(stay, rows)

    def is_move(self, row: int) -> bool:
        """Whether an encounter is within a stay that is not itself."""
        return self.whole.get(row, row) not in (-1, row)

    def _parents_of(self, table: Table) -> np.ndarray:
        keys, patients = (np.array(self._columns[name]) for name in ("part_of", "patient"))
        parents = np.full(len(keys), ROOT)
        for row in np.flatnonzero(keys).tolist():
            parent = table.row_of_key(int(keys[row]))
            own = parent >= 0 and bool(patients[parent] == patients[row])
            parents[row] = parent if own else ELSEWHERE
            self.flags["part_of_another_patients_encounter"] += parent >= 0 and not own
        return parents

    def _wholes(self) -> dict[int, int]:
        """The whole of every encounter that has a parent, and of their ancestors."""
        found: dict[int, int] = {}
        for row in np.flatnonzero(self._parents >= 0).tolist():
            path: list[int] = []
            at: dict[int, int] = {}
            here = row
            while here >= 0 and here not in found and here not in at:
                at[here] = len(path)
                path.append(here)
                here = int(self._parents[here])
            whole = found.get(here, -1)
            if here in at:
                cycle = path[at[here] :]
                self.flags["part_of_cycle"] += len(cycle)
                whole = min((r for r in cycle if self._is_stay(r)), key=self._order, default=-1)
                found |= dict.fromkeys(cycle, whole)
                del path[at[here] :]
            for part in reversed(path):
                whole = part if whole < 0 and self._is_stay(part) else whole
                found[part] = whole
        return found

    def _take_in_strays(self) -> None:
        """A part of something that is missing is a move where it lies within another stay of the patient."""
        strays = [r for r in np.flatnonzero(self._parents == ELSEWHERE).tolist() if self._is_stay(r)]
        patients = {self._columns["patient"][row] for row in strays}
        stays: defaultdict[int, list[int]] = defaultdict(list)
        if strays:
            kinds = np.array(self._columns["kind"])
            for row in np.flatnonzero(kinds == STAY).tolist():
                if self._columns["patient"][row] in patients and self.whole.get(row, row) == row:
                    stays[self._columns["patient"][row]].append(row)
        parts: defaultdict[int, list[int]] = defaultdict(list)
        for row, whole in self.whole.items() if strays else ():
            parts[whole].append(row)
        for row in strays:
            around = [s for s in stays[self._columns["patient"][row]] if self._contains(s, row)]
            if self.whole.get(row, row) == row and around:
                whole = min(around, key=self._order)
                self.whole |= dict.fromkeys([row, *parts[row]], whole)

    def _contains(self, outer: int, inner: int) -> bool:
        start, end = self._columns["start"], self._columns["end"]
        if outer == inner or NO_TIME in (start[outer], end[outer], start[inner], end[inner]):
            return False
        inside = start[outer] <= start[inner] and end[inner] <= end[outer]
        same = start[outer] == start[inner] and end[inner] == end[outer]
        return inside and (not same or self._parents[outer] == ROOT or outer < inner)

    def _date(self, stay: int, parts: list[int]) -> None:
        """Give an undated stay the times of its wards; it stays open where the last of them is."""
        columns = self._columns
        if columns["end"][stay] != NO_TIME or columns["start"][stay] != NO_TIME:
            return
        dated = [row for row in parts if columns["start"][row] != NO_TIME]
        wards = [row for row in dated if columns["kind"][row] in (STAY, ICU)] or dated
        if not wards:
            return
        first = min(wards, key=lambda row: columns["start"][row])
        undated = [row for row in parts if columns["kind"][row] in (STAY, ICU) and row not in wards]
        ends = [row for row in wards + undated if columns["end"][row] != NO_TIME]
        latest = max(wards, key=lambda row: columns["start"][row])
        for name in ("start", "start_first"):
            columns[name][stay] = columns[name][first]
        if ends and columns["end"][latest] != NO_TIME:
            last = max(ends, key=lambda row: columns["end"][row])
            for name in ("end", "end_first"):
                columns[name][stay] = columns[name][last]
        self.flags["stay_dated_by_its_wards"] += 1

    def _conclude(self, stay: int, parts: list[int]) -> None:
        """How a stay ended, by its own disposition, those of its wards, and any part that says dead."""
        own = self._said(stay)
        wards = [row for row in parts if self._columns["kind"][row] in (STAY, ICU)]
        says_dead = {r for r in parts if self._columns["kind"][r] != DROPPED and self._is_deadly(r)}
        deadly = next((self._said(r) for r in sorted(says_dead - self._doubtful)), None)
        told = [r for r in wards if self._said(r) not in SILENT and self._end(r) != NO_TIME]
        name = own
        if meaning_of(own) == "unknown" and told:
            last = self._said(max(told, key=self._end))
            name = last if own in SILENT or meaning_of(last) != "unknown" else own
        if says_dead & self._doubtful and meaning_of(name) != "dead":
            name = CONFLICT
        if deadly and meaning_of(name) == "alive":
            name = CONFLICT
        elif deadly and meaning_of(name) == "unknown":
            name = deadly
        if name != own:
            self.said[stay] = name

    def _is_deadly(self, row: int) -> bool:
        return meaning_of(self._said(row)) == "dead"

    def _said(self, row: int) -> str:
        return self._dispositions[self._columns["disposition"][row]]

    def _end(self, row: int) -> int:
        return self._columns["end"][row]

    def _is_stay(self, row: int) -> bool:
        return self._columns["kind"][row] == STAY

    def _order(self, row: int) -> tuple[bool, int, int, int]:
        """Earliest start first, then latest end; undated ones last."""
        start, end = self._columns["start"][row], self._columns["end"][row]
        return start == NO_TIME, start, -end, row


def overlapping(patients: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> int:
    """Return how many dated stays overlap an earlier one of the same patient."""
    dated = starts != NO_TIME
    patients, starts, ends = patients[dated], starts[dated], ends[dated]
    order = np.lexsort((ends, starts, patients))
    patients, starts, ends = patients[order], starts[order], ends[order]
    count, reach, who = 0, NO_TIME, None
    for patient, start, end in zip(patients.tolist(), starts.tolist(), ends.tolist(), strict=True):
        if patient != who:
            who, reach = patient, NO_TIME
        count += start < reach
        reach = max(reach, end)
    return count
