"""What an encounter is: a hospital stay, an emergency or intensive care visit, or another.

What counts as a hospital stay decides every label, so it is decided in one place: `kind_of`.
"""

from chartscan.sources.fhir.config import Config
from chartscan.sources.fhir.resources import Concept, Encounter
from chartscan.sources.fhir.words import Reading, Words
from chartscan.sources.fhir.words import priority_of as _priority
from chartscan.vocabulary.administrative import kind_of_class

DROPPED, VISIT, STAY, EMERGENCY, ICU = range(5)
_LEFT_OUT = {"planned", "cancelled", "entered-in-error"}
_GOING_ON = {"arrived", "triaged", "in-progress", "onleave", "on-hold"}
_KINDS = {"stay": STAY, "emergency": EMERGENCY}


def kind_of(encounter: Encounter, config: Config, words: Words) -> int:
    """Return STAY, EMERGENCY, ICU or VISIT; unknown status (maybe cancelled): no STAY."""
    return VISIT if is_doubtful(encounter, config, words) else _kind_of(encounter, config, words)


def is_doubtful(encounter: Encounter, config: Config, words: Words) -> bool:
    """Whether an encounter is a hospital stay but for a status that is not understood."""
    how = words.encounter_status_of(encounter.status).how
    return how == "unknown" and _kind_of(encounter, config, words) == STAY


def is_left_out(encounter: Encounter, words: Words) -> bool:
    """Whether the status says that the encounter did not happen, or not yet."""
    return words.encounter_status_of(encounter.status).name in _LEFT_OUT


def goes_on(encounter: Encounter, words: Words) -> bool:
    """Whether the status says that the encounter is not over."""
    return words.encounter_status_of(encounter.status).name in _GOING_ON


def may_be_a_stay(kind: int, encounter: Encounter, words: Words) -> bool:
    """Whether an encounter is a hospital stay, or its class is unknown."""
    return kind == STAY or kind_of_class(class_of(encounter, words)) == "unknown"


def _kind_of(encounter: Encounter, config: Config, words: Words) -> int:
    """By the ending of an identifier's system, else by the class."""
    systems = [i.system for i in encounter.identifier if i.system]
    by_identifier = (
        (ICU, config.icu_identifiers),
        (EMERGENCY, config.emergency_identifiers),
        (STAY, config.stay_identifiers),
    )
    for kind, endings in by_identifier:
        if endings and any(system.endswith(endings) for system in systems):
            return kind
    return _KINDS.get(kind_of_class(class_of(encounter, words)), VISIT)


def class_of(encounter: Encounter, words: Words) -> str:
    """Return the class, such as IMP, as written if unknown, or UNKNOWN if missing."""
    return words.class_of(encounter.class_).name


def disposition_of(encounter: Encounter, words: Words) -> str:
    """Return the disposition in upper case; EXPIRED if dead, CONFLICTING if contradictory."""
    return _disposition(encounter, words).name


def priority_of(encounter: Encounter) -> str:
    """The urgency of the admission, such as EL; empty if none is given."""
    return _priority(encounter.priority)


def count_words(encounter: Encounter, kind: int, words: Words, ended_stay: bool) -> None:
    """Count how an encounter's words were read; disposition for an `ended_stay` only."""
    words.count_encounter_status(encounter.status)
    reading = words.class_of(encounter.class_)
    names = {STAY: "stay", EMERGENCY: "emergency", ICU: "intensive care"}
    words.count_class(reading, names.get(kind) or kind_of_class(reading.name))
    if ended_stay:
        words.count_disposition(_disposition(encounter, words))


def _disposition(encounter: Encounter, words: Words) -> Reading:
    hospitalization = encounter.hospitalization
    return words.disposition_of(hospitalization.dischargeDisposition if hospitalization else None)


def first_code(concept: Concept | None) -> str:
    """The first code of a concept in upper case, UNKNOWN where it has none."""
    codes = [c.code.strip() for c in concept.coding if c.code and c.code.strip()] if concept else []
    return codes[0].upper() if codes else "UNKNOWN"
