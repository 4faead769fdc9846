"""What every mapper needs: subjects, encounters, codes, times, values, and where events go."""

from collections import Counter
from typing import NamedTuple

from chartscan.sources.fhir.clock import HOUR, Clock, Implausible, Life, Zones, inside
from chartscan.sources.fhir.codes import CodeBook
from chartscan.sources.fhir.config import Config
from chartscan.sources.fhir.events import EventBuffer
from chartscan.sources.fhir.identity import refuse_two_servers
from chartscan.sources.fhir.index import Index
from chartscan.sources.fhir.outcomes import (
    DELETED_PATIENT,
    MERGE_CYCLE,
    NO_SUBJECT,
    TEST_PATIENT,
    UNKNOWN_PATIENT,
    Filtered,
    Quarantined,
)
from chartscan.sources.fhir.references import KEPT, TEST, Visit, key_of, server_of, target
from chartscan.sources.fhir.remember import remember
from chartscan.sources.fhir.resources import Period, Reference
from chartscan.sources.fhir.values import ValueReader
from chartscan.store.subjects import subject_id_of

Interval = tuple[int, int]


class Person(NamedTuple):
    """The person whose record is read: the last record, after replacements."""

    subject: int
    patient_id: str
    key: int
    life: Life
    zones: Zones


class Context:
    """State of the second pass: mappers read it, add events, and count flags.

    `person` is the patient of the record being mapped: the one that `subject` was asked for last.
    """

    def __init__(self, config: Config, index: Index, codes: CodeBook, events: EventBuffer):
        self.config = config
        self.index = index
        self.codes = codes
        self.words = codes.words
        self.events = events
        self.clock = Clock(config.time_zone, index.register.window)
        self.values = ValueReader(codes, config.max_text_characters, config.words.units)
        self.flags: Counter[str] = Counter()
        self.coding_lag = round(config.coding_lag_hours * HOUR)
        self._result_delay = round(config.default_result_delay_hours * HOUR)
        self._result_delays = {name: round(h * HOUR) for name, h in config.result_delay_hours.items()}
        self.placeholders: dict[str, Person] = {}  # patients that are only referred to, where that is allowed
        self.event_types: dict[bytes, str] = {}  # of Observations, by their categories as written
        self.person = Person(0, "", 0, Life(), None)
        self.people: dict[str, Person] = {}  # by reference, as all that were met before
        self.visits: dict[str, Visit | None] = {}
        self._servers: dict[str, int] = {}
        self._strangers: set[int] = set()  # patients that two servers refer to
        events.flags = self.flags

    def subject(self, reference: Reference | None) -> int:
        """Return a reference's subject id; Filtered if no patient, Quarantined if missing."""
        if reference is None or reference.reference is None:
            raise Quarantined(NO_SUBJECT)
        person = self.people.get(reference.reference)
        if person is None:
            person = self._new_person(reference.reference)
        self.person = person
        self.events.life = person.life
        return person.subject

    def _new_person(self, text: str) -> Person:
        kind, named = target(text)
        if not named:
            raise Quarantined(NO_SUBJECT)
        if kind not in ("", "Patient"):
            raise Filtered("subject is no patient")
        if self.index.register.merges.is_cyclic(named):
            raise Quarantined(MERGE_CYCLE)
        patient_id = self.index.register.merges.id_of(named)
        self._refuse_left_out(named, patient_id)
        person = Person(
            subject_id_of(self.config.namespace, patient_id),
            patient_id,
            key_of("Patient", patient_id)[0],
            self.index.register.life(patient_id),
            self.index.register.zones(patient_id),
        )
        if self.index.tables["Patient"].row(patient_id) < 0:
            if not self.config.allow_missing:
                raise Quarantined(UNKNOWN_PATIENT)
            self.flags["placeholder_patient"] += patient_id not in self.placeholders
            self.placeholders[patient_id] = person
        elif server := server_of(text):
            self._note_server(named, server)
        return remember(self.people, text, person)

    def _refuse_left_out(self, named: str, patient_id: str) -> None:
        """Filtered for a test patient or a deleted one.

        A record that was deleted once another had replaced it is not lost: the other is the patient.
        """
        left_out = self.index.tables["Patient"].left_out
        if TEST in (left_out(named), left_out(patient_id)):
            raise Filtered(TEST_PATIENT)
        if left_out(patient_id) != KEPT:
            raise Filtered(DELETED_PATIENT)

    def _note_server(self, patient_id: str, server: str) -> None:
        """Remember on which server a patient is; ids of two servers are not ids of one person."""
        row = self.index.tables["Patient"].row(patient_id)
        if row < 0:
            return
        number = self._servers.setdefault(server, len(self._servers) + 1)
        servers = self.index.tables["Patient"].columns["referred_to"]
        if servers[row] not in (0, number):
            self._strangers.add(row)
        servers[row] = number

    def refuse_two_servers(self) -> None:
        """DataError where absolute references name one patient id on two servers."""
        if not self.config.one_server:
            refuse_two_servers(len(self._strangers), 0)

    def visit(self, reference: Reference | None) -> Visit | None:
        """The encounter of an event; None, flagged, where it leads nowhere or is another patient's."""
        if reference is None or not reference.reference:
            return None
        text = reference.reference
        try:
            found = self.visits[text]
        except KeyError:
            found = remember(self.visits, text, self.index.visit(text))
        if found is None:
            self.flags["unknown_encounter"] += 1
        elif found.patient != self.person.key:
            return self.own(found)
        return found

    def own(self, visit: Visit | None) -> Visit | None:
        """The encounter if it is of the person; None, flagged, if it is another's."""
        if visit is not None and visit.patient != self.person.key:
            self.flags["encounter_of_another_patient"] += 1
            return None
        return visit

    def check_within(self, visit: Visit | None, time: int) -> None:
        """Flag an event that lies more than a week outside its encounter."""
        if visit is not None and not visit.first <= time <= visit.last:
            self.flags["outside_encounter"] += 1

    def interval(self, text: str | None) -> Interval | None:
        """Return the person's time as an interval; None, flagged, where implausible."""
        if not text:
            return None
        try:
            return self.clock.interval(text, self.person.zones)
        except Implausible:
            self.flags["implausible_time"] += 1
            return None

    def time(self, text: str | None, visit: Visit | None, known: int | None = None) -> int:
        """Where an event of this time is placed.

        A partial date is placed at its end, or where its encounter ended or it was `known`, if that is
        inside it. An event without a time that can be true is placed where it was `known`, else at the end of
        its encounter; Filtered without one, or Quarantined where it had a time.
        """
        span = self.interval(text)
        end = visit.end if visit else None
        if span is not None:
            return inside(span, end, known) if span[0] != span[1] else span[0]
        if text and known is not None:
            return known
        if end is None:
            raise Implausible if text else Filtered("undated")
        self.flags["time_from_encounter_end"] += 1
        return end

    def assumed(self, time: int, visit: Visit | None, lag: int = 0) -> int:
        """Return when something without its own record time became known.

        That is the end of its encounter, plus `lag` microseconds. Without such an end it is `time` itself,
        flagged.
        """
        if visit and visit.end is not None:
            return visit.end + lag
        self.flags["availability_assumed"] += 1
        return max(time, (visit.start if visit else None) or time) + lag

    def delay(self, code: str, event_type: str) -> int:
        """Return microseconds from measurement to result, where the issue time is missing.

        What is measured at the bedside is known at once; a laboratory takes its time, microbiology days.
        """
        delay = self._result_delays.get(code.partition("//")[0])
        if delay is None:
            return self._result_delay if event_type == "lab" else 0
        return delay

    def known(self, text: str | None) -> int | None:
        """Return when something was recorded; None if missing, or flagged if implausible."""
        if not text:
            return None
        try:
            return self.clock.instant(text)
        except Implausible:
            self.flags["implausible_time"] += 1
            return None


def first_time(moment: str | None, period: Period | None) -> str | None:
    """The dateTime, else the start of the period, else its end."""
    if moment or period is None:
        return moment
    return period.start or period.end


def earliest_of(span: Interval | None) -> int | None:
    """The first instant of an interval, None for an exact time or none."""
    return span[0] if span and span[0] != span[1] else None
