"""The first pass's patients and encounters, and what follows from all of them.

Numbers in the columns of two tables; texts only where a record was replaced, or an encounter names diagnoses.
"""

from array import array
from collections import Counter, defaultdict

import numpy as np

from chartscan.sources.fhir import links
from chartscan.sources.fhir.clock import ALWAYS, NO_TIME, OUTSIDE, Clock, Life, Zones, life_of, window_of
from chartscan.sources.fhir.config import Config
from chartscan.sources.fhir.identity import (
    COLUMNS,
    UNDATED,
    UNSAID,
    Interval,
    Numbers,
    another_person,
    either,
    followed,
    identity_of,
    keep,
    lenient,
    refuse_two_servers,
    successors_of,
    vital_of,
)
from chartscan.sources.fhir.links import NO_ZONE, Wholes, overlapping
from chartscan.sources.fhir.outcomes import Quarantined
from chartscan.sources.fhir.periods import Span, unordered_span, zones_of
from chartscan.sources.fhir.references import Table, Visit, key_of, target, text_of
from chartscan.sources.fhir.resources import Encounter, EncounterDiagnosis, Patient
from chartscan.sources.fhir.stays import DROPPED, STAY, VISIT, disposition_of, is_left_out, kind_of
from chartscan.sources.fhir.words import Words
from chartscan.vocabulary.dispositions import meaning_of

_TIMES = ("start_first", "start", "end_first", "end")
_OF_PATIENT = ("birth", "death_first", "death", "status", "zone_low", "zone_high", "referred_to")
_OF_ENCOUNTER = ("patient", "part_of", "kind", "disposition", "zone_low", "zone_high")


class Register:
    """Collects patients and encounters: `check_*` before a line, `fill_*` after, `finish` last.

    `export` is the time of the export in microseconds, if known.
    """

    def __init__(self, config: Config, words: Words, export: int | None = None):
        self.flags: Counter[str] = Counter()
        self.patients = Table("Patient", *COLUMNS, *_OF_PATIENT)
        self.encounters = Table("Encounter", *_OF_ENCOUNTER, *_TIMES)
        self.window, self.shifted = ALWAYS, False
        self.merges = followed({}, self.patients)
        self._export = export
        self._config = config
        self._words = words
        self._clock = Clock(config.time_zone, ALWAYS)
        self._expired: defaultdict[int, list[int]] = defaultdict(list)
        self._dispositions: dict[str, int] = {}
        self._doubtful: set[int] = set()  # rows of encounters whose status is not understood
        self._successors: dict[int, list[tuple[int, str]]] = {}
        self._numbers = Numbers()
        self._strange_patients: set[int] = set()
        self._unplaced: set[int] = set()  # encounters of which two lines give other times, or another patient
        self._strange_encounters: list[tuple[int, int]] = []
        self._links = tuple(array("q") for _ in range(3))  # key of a Condition, row and line of its encounter
        self._ids: dict[int, str] = {}  # of encounters with such links, by row
        self._wholes = Wholes(self.encounters, [])

    # What the second pass asks

    def visit(self, encounter_id: str) -> Visit | None:
        """Return an id's encounter; None if absent or not counted."""
        return self._visit(self.encounters.row(encounter_id), encounter_id)

    def visit_of_diagnosis(self, condition_id: str) -> Visit | None:
        """The encounter that names a Condition among its diagnoses."""
        key = key_of("Condition", condition_id)[0]
        keys, rows, _ = self._links
        at = int(np.searchsorted(np.frombuffer(keys, np.int64), key)) if keys else 0
        if at >= len(keys) or keys[at] != key:
            return None
        return self._visit(rows[at], self._ids[rows[at]])

    def _visit(self, row: int, encounter_id: str) -> Visit | None:
        columns = self.encounters.columns
        if row < 0 or columns["kind"][row] == DROPPED or row in self._unplaced:
            return None
        start, end = (_time(columns[name][row]) for name in ("start", "end"))
        first, last = columns["start_first"][row], columns["end"][row]
        return Visit(
            encounter_id,
            self.kind(row),
            start,
            end,
            columns["patient"][row],
            NO_TIME if start is None else first - OUTSIDE,
            2**63 - 1 if end is None else last + OUTSIDE,
        )

    def kind(self, row: int) -> int:
        """What an encounter is; a move within a stay is a visit."""
        kind = self.encounters.columns["kind"][row]
        return VISIT if kind == STAY and self._wholes.is_move(row) else kind

    def times(self, row: int) -> list[int | None]:
        """First and last instant of the start and of the end of an encounter."""
        return [_time(self.encounters.columns[name][row]) for name in _TIMES]

    def disposition(self, row: int) -> str | None:
        """How a stay ended where its wards say more than itself."""
        return self._wholes.said.get(row)

    def life(self, patient_id: str) -> Life:
        """Between which times the events of a patient are expected."""
        row = self.patients.row(patient_id)
        if row < 0:
            return Life()
        columns = self.patients.columns
        return life_of(_time(columns["birth"][row]), _time(columns["death"][row]))

    def zones(self, patient_id: str) -> Zones:
        """Return the zones in a patient's encounters, which dates may be of."""
        row = self.patients.row(patient_id)
        return None if row < 0 else links.zones_at(self.patients, row)

    def status(self, patient_id: str) -> int:
        """Return whether a patient is recorded dead or alive, as a `vital` state."""
        row = self.patients.row(patient_id)
        return UNSAID if row < 0 else self.patients.columns["status"][row]

    def death(self, patient_id: str) -> Interval | None:
        """When a patient died, as far as the Patient tells."""
        row, columns = self.patients.row(patient_id), self.patients.columns
        if row < 0 or columns["death"][row] == NO_TIME:
            return None
        return columns["death_first"][row], columns["death"][row]

    def expired_ends(self, patient_id: str) -> list[int] | None:
        """Return known ends of stays with death, earliest first; None without such a stay."""
        found = self._expired.get(key_of("Patient", patient_id)[0])
        return None if found is None else sorted(found)

    # What the first pass calls

    def check_patient(self, patient: Patient, place: int, stamp: int) -> None:
        """Note an id that means another person in this line of version `stamp`."""
        row = self.patients.row(patient.id or "")
        if row < 0:
            return
        identity = identity_of(patient, vital_of(patient, self._clock).birth)
        same_file = self.patients.columns["place"][row] >> 40 == place >> 40
        one_history = same_file and self.patients.stamp(row) != stamp
        if another_person(self.patients, row, identity, one_history):
            self._strange_patients.add(row)

    def check_encounter(self, encounter: Encounter, stamp: int) -> None:
        """Note an id that means another patient's encounter here, in version `stamp`."""
        row, columns = self.encounters.row(encounter.id or ""), self.encounters.columns
        patient = _patient_of(encounter)
        if row < 0 or 0 in (patient, columns["patient"][row]) or columns["patient"][row] == patient:
            return  # 0: what a server marked as deleted may name no patient
        start = self._span(encounter).start or (NO_TIME, NO_TIME)
        if self.encounters.stamp(row) == stamp or columns["start"][row] != start[1]:
            self._strange_encounters.append((columns["patient"][row], patient))

    def fill_patient(self, row: int, patient: Patient) -> None:
        """Remember what the valid version of a Patient says."""
        vital = vital_of(patient, self._clock)
        identity = identity_of(patient, vital.birth)
        keep(self.patients, row, identity)
        self._numbers.add(row, identity.numbers)
        columns = self.patients.columns
        columns["birth"][row] = vital.birth[0] if vital.birth else NO_TIME
        status, death = vital.status, vital.death or UNDATED
        if self.patients.is_undecided(row):
            kept = columns["death_first"][row], columns["death"][row]
            status, death = either(columns["status"][row], kept, status, death)
        columns["death_first"][row], columns["death"][row] = death
        columns["status"][row] = status
        columns["zone_low"][row], columns["zone_high"][row] = NO_ZONE, -NO_ZONE
        self._successors.pop(row, None)
        if successors := successors_of(patient):
            self._successors[row] = successors

    def fill_encounter(self, row: int, encounter: Encounter, place: int) -> None:
        """Remember what the valid version of an Encounter says, the line at `place`."""
        span = self._span(encounter)
        dropped = is_left_out(encounter, self._words)
        zones = zones_of(encounter.period, self._clock) or [NO_ZONE]
        whole = target(text_of(encounter.partOf))[1]
        disposition = disposition_of(encounter, self._words)
        missing = NO_TIME, NO_TIME
        values = {
            "patient": _patient_of(encounter),
            "part_of": key_of("Encounter", whole)[0] if whole else 0,
            "kind": DROPPED if dropped else kind_of(encounter, self._config, self._words),
            "disposition": self._dispositions.setdefault(disposition, len(self._dispositions)),
            "zone_low": min(zones),
            "zone_high": max(zones),
            **dict(zip(_TIMES, (span.start or missing) + (span.end or missing), strict=True)),
        }
        columns = self.encounters.columns
        moved = any(columns[name][row] != values[name] for name in ("patient", *_TIMES))
        if not self.encounters.is_undecided(row):
            self._unplaced.discard(row)
        elif moved:
            self._unplaced.add(row)
        for name, value in values.items():
            columns[name][row] = value
        doubtful = self._words.encounter_status_of(encounter.status).how == "unknown"
        (self._doubtful.add if doubtful else self._doubtful.discard)(row)
        if not dropped and bytes(encounter.diagnosis):
            self._put_diagnoses(encounter, row, place)

    def _span(self, encounter: Encounter) -> Span:
        """The times of an encounter; none of one that is left out and whose times are no times."""
        try:
            return unordered_span(encounter.period, self._clock)
        except Quarantined:
            return Span(None, None)

    def _put_diagnoses(self, encounter: Encounter, row: int, place: int) -> None:
        for diagnosis in lenient(encounter.diagnosis, list[EncounterDiagnosis]):
            found = diagnosis.condition
            for condition in found if isinstance(found, list) else [found] if found else []:
                self._put_diagnosis(condition.target, encounter, row, place)

    def _put_diagnosis(self, reference: str, encounter: Encounter, row: int, place: int) -> None:
        kind, condition_id = target(reference)
        if condition_id and kind in ("", "Condition"):
            self._ids[row] = encounter.id or ""
            for column, value in zip(
                self._links, (key_of("Condition", condition_id)[0], row, place), strict=True
            ):
                column.append(value)

    # Once all is read

    def finish(self) -> None:
        """Follow links and judge times, now that all patients and encounters are known."""
        patients, encounters = self.patients, self.encounters
        for row in np.flatnonzero(np.array(encounters.columns["left_out"])).tolist():
            encounters.columns["kind"][row] = DROPPED
        self.merges = followed(self._successors, patients)
        self.flags += self.merges.flags
        if self.merges.last:
            self._move_encounters()
        self._refuse_two_servers()
        self._judge_times()
        dispositions = list(self._dispositions)
        people = links.people_of(patients, encounters)
        links.give_zones(patients, encounters, people, self._clock)
        links.take_away_births(patients, encounters, people)
        self._wholes = Wholes(encounters, dispositions, self._doubtful)
        self.flags += self._wholes.flags
        self._gather_expired(dispositions)
        self._sort_links()
        self._count_overlaps()
        self.flags["shared_identifier"] += self._numbers.sharing(self._persons())

    def _move_encounters(self) -> None:
        """Encounters of a replaced patient are those of the record that replaced it."""
        last = {key: key_of("Patient", patient_id)[0] for key, patient_id in self.merges.last.items()}
        column = self.encounters.columns["patient"]
        for row, patient in enumerate(column):
            if patient in last:
                column[row] = last[patient]

    def _refuse_two_servers(self) -> None:
        if self._config.one_server:
            return
        last = {key: key_of("Patient", patient_id)[0] for key, patient_id in self.merges.last.items()}
        moved = sum(last.get(a, a) != last.get(b, b) for a, b in self._strange_encounters)
        refuse_two_servers(len(self._strange_patients), moved)

    def _judge_times(self) -> None:
        patients, encounters = self.patients, self.encounters
        births, starts = np.array(patients.columns["birth"]), np.array(encounters.columns["start"])
        self.window, self.shifted = window_of(self._export, births, starts)
        epochs = self._clock.epochs() if self.window.epoch else set()
        links.take_away_implausible(patients, encounters, self.window.last, epochs)

    def _gather_expired(self, dispositions: list[str]) -> None:
        """Remember the ends of the stays that patients did not survive.

        One whose status is not understood may be none: it says that the patient may be dead, and not when.
        """
        columns = self.encounters.columns
        deadly = np.array([meaning_of(name) == "dead" for name in dispositions], bool)
        candidates = {*np.flatnonzero(deadly[np.array(columns["disposition"], np.int64)]).tolist()}
        for row in sorted(candidates | set(self._wholes.said)):
            said = self._wholes.said.get(row, dispositions[columns["disposition"][row]])
            if meaning_of(said) != "dead" or columns["kind"][row] == DROPPED or self._wholes.is_move(row):
                continue
            end = columns["end"][row]
            known = end != NO_TIME and row not in self._doubtful
            self._expired[columns["patient"][row]] += [end] if known else []

    def _sort_links(self) -> None:
        """Diagnoses of valid versions only, by key, so that they are found fast; of several encounters that
        name one the first comes first."""
        keys, rows, places = (np.array(column) for column in self._links)
        if not len(keys):
            return
        place, kind, start, end = (
            np.array(self.encounters.columns[name])[rows] for name in ("place", "kind", "start", "end")
        )
        valid = (place == places) & (kind != DROPPED)
        begun = np.where(start == NO_TIME, np.where(end == NO_TIME, -(NO_TIME + 1), end), start)
        order = np.lexsort((begun[valid], keys[valid]))
        self._links = tuple(array("q", column[valid][order].tobytes()) for column in (keys, rows, places))

    def _persons(self) -> np.ndarray:
        """For each Patient, the row of the record that replaced it in the end, else its own."""
        table = self.patients
        persons = np.arange(len(table))
        for key, patient_id in self.merges.last.items():
            if (row := table.row_of_key(key)) >= 0:
                persons[row] = table.row(patient_id)
        return persons

    def _count_overlaps(self) -> None:
        columns = self.encounters.columns
        stays = [
            row
            for row in np.flatnonzero(np.array(columns["kind"]) == STAY).tolist()
            if self.kind(row) == STAY
        ]
        found = (np.array(columns[name])[stays] for name in ("patient", "start", "end"))
        self.flags["stays_overlap"] += overlapping(*found)


def _patient_of(encounter: Encounter) -> int:
    """Key of the patient, 0 for none."""
    subject = target(text_of(encounter.subject))[1]
    return key_of("Patient", subject)[0] if subject else 0


def _time(column_value: int) -> int | None:
    return None if column_value == NO_TIME else column_value
