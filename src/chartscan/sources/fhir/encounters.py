"""Encounters -> the events that open and close them."""

from chartscan.sources.fhir.context import Context
from chartscan.sources.fhir.outcomes import NO_ID, Filtered, Quarantined
from chartscan.sources.fhir.resources import Encounter
from chartscan.sources.fhir.stays import (
    EMERGENCY,
    ICU,
    LEFT_OUT,
    STAY,
    VISIT,
    Facts,
    class_of,
    count_words,
    disposition_of,
    facts_of,
    first_code,
    priority_of,
)
from chartscan.sources.fhir.words import Words


def map_encounter(encounter: Encounter, context: Context) -> None:
    """The start and, where it is over, the end of an encounter."""
    if not encounter.id:
        raise Quarantined(NO_ID)
    if encounter.status in LEFT_OUT:
        raise Filtered(f"status {encounter.status}")
    subject = context.subject(encounter.subject)
    facts = facts_of(encounter, context.clock, context.config, context.words)
    if facts.start is None and facts.end is None:
        raise Filtered("undated")
    kind = _kind_within(encounter, facts.kind, context)
    _flag(facts, context)
    opening, closing = _codes(encounter, kind, context.words)
    count_words(encounter, facts.kind, context.words, kind == STAY and facts.end is not None)
    types = ("admission", "discharge") if kind == STAY else ("visit_start", "visit_end")
    if facts.start is not None:
        context.events.add(subject, facts.start, opening, types[0], facts.start, encounter.id)
    if facts.end is not None:
        context.events.add(subject, facts.end, closing, types[1], facts.end, encounter.id)


def _kind_within(encounter: Encounter, kind: int, context: Context) -> int:
    """A stay that is part of another stay is a move within it, not an admission."""
    whole = context.visit(encounter.partOf) if kind == STAY and encounter.partOf else None
    return VISIT if whole and whole.kind == STAY else kind


def _codes(encounter: Encounter, kind: int, words: Words) -> tuple[str, str]:
    name, disposition = class_of(encounter, words), disposition_of(encounter, words)
    if kind == STAY:
        source = first_code(encounter.hospitalization.admitSource if encounter.hospitalization else None)
        urgency = f"//{priority}" if (priority := priority_of(encounter)) else ""
        return f"HOSPITAL_ADMISSION//{name}//{source}{urgency}", f"HOSPITAL_DISCHARGE//{disposition}"
    if kind == EMERGENCY:
        return "ED_REGISTRATION", "ED_OUT"
    if kind == ICU:
        return f"ICU_ADMISSION//{name}", f"ICU_DISCHARGE//{disposition}"
    return f"ENCOUNTER_START//{name}", f"ENCOUNTER_END//{name}"


def _flag(facts: Facts, context: Context) -> None:
    if facts.end_refused:
        context.flags["encounter_end_before_start"] += 1
    elif facts.end is None:
        context.flags["encounter_without_end"] += 1
    if facts.start is None:
        context.flags["encounter_without_start"] += 1
