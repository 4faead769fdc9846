"""What every mapper needs: subjects, encounters, codes, times, values, and where events go."""

from collections import Counter

from chartscan.sources.fhir.clock import HOUR, Clock
from chartscan.sources.fhir.codes import CodeBook
from chartscan.sources.fhir.config import Config
from chartscan.sources.fhir.events import EventBuffer
from chartscan.sources.fhir.index import Index
from chartscan.sources.fhir.outcomes import (
    DELETED_PATIENT,
    NO_SUBJECT,
    TEST_PATIENT,
    UNKNOWN_PATIENT,
    Filtered,
    Quarantined,
)
from chartscan.sources.fhir.references import TEST, Visit, target
from chartscan.sources.fhir.remember import remember
from chartscan.sources.fhir.resources import Period, Reference
from chartscan.sources.fhir.values import ValueReader
from chartscan.store.subjects import subject_id_of


class Context:
    """The state of the second pass. Mappers read from it, add events, and count what they flag."""

    def __init__(self, config: Config, index: Index, codes: CodeBook, events: EventBuffer):
        self.config = config
        self.index = index
        self.codes = codes
        self.words = codes.words
        self.events = events
        self.clock = Clock(config.time_zone)
        self.values = ValueReader(codes, config.max_text_characters, config.words.units)
        self.flags: Counter[str] = Counter()
        self.coding_lag = round(config.coding_lag_hours * HOUR)
        self.result_delay = round(config.default_result_delay_hours * HOUR)
        self.result_delays = {name: round(h * HOUR) for name, h in config.result_delay_hours.items()}
        self.placeholders: dict[str, int] = {}  # patients that are only referred to, where that is allowed
        self.event_types: dict[bytes, str] = {}  # of Observations, by their categories as written
        self._subjects: dict[str, int] = {}
        self._visits: dict[str, Visit | None] = {}

    def subject(self, reference: Reference | None) -> int:
        """The subject id of a reference; Filtered if it is no patient, Quarantined if there is none."""
        if reference is None or reference.reference is None:
            raise Quarantined(NO_SUBJECT)
        found = self._subjects.get(reference.reference)
        return self._new_subject(reference.reference) if found is None else found

    def _new_subject(self, text: str) -> int:
        kind, patient_id = target(text)
        if not patient_id:
            raise Quarantined(NO_SUBJECT)
        if kind not in ("", "Patient"):
            raise Filtered("subject is no patient")
        if left_out := self.index.tables["Patient"].left_out(patient_id):
            raise Filtered(TEST_PATIENT if left_out == TEST else DELETED_PATIENT)
        subject = subject_id_of(self.config.namespace, patient_id)
        if self.index.tables["Patient"].row(patient_id) < 0:
            if not self.config.allow_missing:
                raise Quarantined(UNKNOWN_PATIENT)
            self.flags["placeholder_patient"] += patient_id not in self.placeholders
            self.placeholders[patient_id] = subject
        return remember(self._subjects, text, subject)

    def visit(self, reference: Reference | None) -> Visit | None:
        """The encounter of an event; None, flagged, where the reference leads nowhere."""
        if reference is None or not reference.reference:
            return None
        text = reference.reference
        try:
            found = self._visits[text]
        except KeyError:
            found = remember(self._visits, text, self.index.visit(text))
        if found is None:
            self.flags["unknown_encounter"] += 1
        return found

    def time(self, text: str | None, visit: Visit | None, known: int | None = None) -> int:
        """Where an event of this time is placed.

        A partial date is placed at its end, or where its encounter ended or it was `known`, if that is
        inside it. An event without a time is placed at the end of its encounter; Filtered without one.
        """
        if text is not None and len(text) > 10:
            return self.clock.instant(text)
        end = visit.end if visit else None
        if text is not None:
            return self.clock.placed(text, end, known)
        if end is None:
            raise Filtered("undated")
        self.flags["time_from_encounter_end"] += 1
        return end

    def assumed(self, time: int, visit: Visit | None, lag: int = 0) -> int:
        """When something of `time` became known that does not say so: at the end of its encounter, and
        `lag` microseconds later. Without such an end the time itself is all there is, and it is flagged."""
        if visit and visit.end is not None:
            return visit.end + lag
        self.flags["availability_assumed"] += 1
        return max(time, (visit.start if visit else None) or time) + lag

    def known(self, text: str | None) -> int | None:
        """When something was recorded, None if that is not said."""
        return self.clock.instant(text) if text else None


def first_time(moment: str | None, period: Period | None) -> str | None:
    """The dateTime, else the start of the period, else its end."""
    if moment or period is None:
        return moment
    return period.start or period.end
