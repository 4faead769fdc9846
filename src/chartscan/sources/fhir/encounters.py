"""Encounters -> the events that open and close them."""

from chartscan.schema import LOST_STAY, UNDATED_DIAGNOSIS
from chartscan.sources.fhir.codes import DIAGNOSIS
from chartscan.sources.fhir.context import Context
from chartscan.sources.fhir.identity import lenient
from chartscan.sources.fhir.outcomes import NO_ID, UNDATED, Filtered, Quarantined
from chartscan.sources.fhir.periods import Span, span_of
from chartscan.sources.fhir.resources import Encounter, EncounterDiagnosis
from chartscan.sources.fhir.stays import (
    EMERGENCY,
    ICU,
    STAY,
    class_of,
    count_words,
    disposition_of,
    first_code,
    goes_on,
    is_doubtful,
    is_left_out,
    kind_of,
    may_be_a_stay,
    priority_of,
)
from chartscan.sources.fhir.words import Words
from chartscan.vocabulary.dispositions import SILENT, meaning_of

UNKNOWN_STATUS = "UNKNOWN_STATUS"


def map_encounter(encounter: Encounter, context: Context) -> None:
    """Add an encounter's start and end; its outcome even without an end."""
    if not encounter.id:
        raise Quarantined(NO_ID)
    if is_left_out(encounter, context.words):
        raise Filtered(f"status {context.words.encounter_status_of(encounter.status).name}")
    subject = context.subject(encounter.subject)
    span = span_of(encounter.period, context.clock, context.person.zones)
    register = context.index.register
    row = register.encounters.row(encounter.id)
    if span.start is None and span.end is None and row >= 0:
        span = _span_of_parts(row, context)
    _flag(span, context)
    alone = kind_of(encounter, context.config, context.words)
    kind = register.kind(row) if row >= 0 else alone
    disposition = register.disposition(row) or disposition_of(encounter, context.words)
    opening, closing = _codes(encounter, kind, disposition, context.words)
    if is_doubtful(encounter, context.config, context.words):
        context.flags["unknown_encounter_status"] += 1
        name = class_of(encounter, context.words)  # labels read the name as that of an unknown class
        opening, closing = (
            f"ENCOUNTER_START//{UNKNOWN_STATUS}//{name}",
            f"ENCOUNTER_END//{UNKNOWN_STATUS}//{name}",
        )
    count_words(encounter, alone, context.words, kind == STAY and span.end is not None)
    types = ("admission", "discharge") if kind == STAY else ("visit_start", "visit_end")
    for moment, code, event_type in zip((span.start, span.end), (opening, closing), types, strict=True):
        if moment is not None:
            first, last = moment
            earliest = (first, first) if first != last else None
            context.events.add(subject, last, code, event_type, last, encounter.id, earliest=earliest)
    told = _is_told(disposition, encounter, span, context.words)
    if row >= 0 and register.encounters.is_undecided(row) and may_be_a_stay(alone, encounter, context.words):
        context.events.add(subject, None, LOST_STAY, "outcome", None)
    if kind == STAY and "encounter_end_unreadable" in span.flags:
        context.events.add(subject, None, LOST_STAY, "outcome", None, encounter.id)
    elif kind == STAY and span.end is None and span.start and told:
        start = span.start[1]
        context.events.add(subject, start, f"HOSPITAL_OUTCOME//{disposition}", "outcome", start, encounter.id)
    if b'"concept"' in bytes(encounter.diagnosis):
        _diagnoses_without_condition(encounter, subject, context)


def _diagnoses_without_condition(encounter: Encounter, subject: int, context: Context) -> None:
    """Diagnoses that R5 names in the encounter itself: when they were coded is not told, so labels alone see
    them."""
    for diagnosis in lenient(encounter.diagnosis, list[EncounterDiagnosis]):
        found = diagnosis.condition
        for one in found if isinstance(found, list) else [found] if found else []:
            if one.concept is not None and not one.target:
                context.flags["diagnosis_without_time"] += 1
                code = context.codes.code(one.concept, DIAGNOSIS)
                for said in context.codes.disputed(one.concept, code):
                    code = f"{UNDATED_DIAGNOSIS}//{said}"
                    context.events.add(subject, None, code, "outcome", None, encounter.id)


def _is_told(disposition: str, encounter: Encounter, span: Span, words: Words) -> bool:
    """Whether a disposition without an end says how a stay ended. While a patient is still in hospital,
    "home" is where the patient is meant to go."""
    going_on = goes_on(encounter, words) or "encounter_end_implausible" in span.flags
    return disposition not in SILENT and not (going_on and meaning_of(disposition) == "alive")


def _span_of_parts(row: int, context: Context) -> Span:
    """The times that an undated stay has from its wards; Filtered where it has none."""
    start_first, start, end_first, end = context.index.register.times(row)
    if start_first is None or start is None:
        raise Filtered(UNDATED)
    return Span((start_first, start), None if end_first is None or end is None else (end_first, end))


def _codes(encounter: Encounter, kind: int, disposition: str, words: Words) -> tuple[str, str]:
    name = class_of(encounter, words)
    if kind == STAY:
        source = first_code(encounter.hospitalization.admitSource if encounter.hospitalization else None)
        urgency = f"//{priority}" if (priority := priority_of(encounter)) else ""
        return f"HOSPITAL_ADMISSION//{name}//{source}{urgency}", f"HOSPITAL_DISCHARGE//{disposition}"
    if kind == EMERGENCY:
        return "ED_REGISTRATION", "ED_OUT"
    if kind == ICU:
        return f"ICU_ADMISSION//{name}", f"ICU_DISCHARGE//{disposition}"
    return f"ENCOUNTER_START//{name}", f"ENCOUNTER_END//{name}"


def _flag(span: Span, context: Context) -> None:
    context.flags.update(span.flags)
    if span.end is None and "encounter_end_before_start" not in span.flags:
        context.flags["encounter_without_end"] += 1
    if span.start is None:
        context.flags["encounter_without_start"] += 1
