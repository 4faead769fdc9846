"""FHIR's word for a status as written, and the statuses that each type may have."""

from collections import Counter
from functools import lru_cache

_SPELLED = {"canceled": "cancelled", "enteredinerror": "entered-in-error", "in-error": "entered-in-error"}
_COMMON = ("completed", "entered-in-error", "on-hold", "stopped", "unknown")
KNOWN = {
    "Observation": {
        *("registered", "specimen-in-process", "preliminary", "final", "amended", "corrected", "appended"),
        *("cancelled", "entered-in-error", "unknown"),
    },
    "Encounter": {
        *("planned", "arrived", "triaged", "in-progress", "onleave", "on-hold", "finished", "discharged"),
        *("completed", "discontinued", "cancelled", "entered-in-error", "unknown"),
    },
    "MedicationRequest": {*_COMMON, "active", "cancelled", "draft", "ended"},
    "MedicationAdministration": {*_COMMON, "in-progress", "not-done"},
    "MedicationDispense": {*_COMMON, "in-progress", "cancelled", "declined", "preparation"},
    "MedicationStatement": {*_COMMON, "active", "intended", "not-taken", "recorded", "draft"},
}
INTENTS = {
    *(
        "proposal",
        "plan",
        "order",
        "original-order",
        "reflex-order",
        "filler-order",
        "instance-order",
        "option",
    ),
}


def status_of(kind: str, written: str | None, flags: Counter[str]) -> str:
    """The status, whatever its capitals and spaces; flagged where FHIR has none of that name for the type."""
    status = fhir_word(written or "")
    if status and status not in KNOWN[kind]:
        flags["unknown_status"] += 1
    return status


@lru_cache(maxsize=1000)
def fhir_word(written: str) -> str:
    """A word as FHIR writes its codes: small letters and hyphens."""
    word = "-".join(written.lower().replace("_", " ").replace("-", " ").split())
    return _SPELLED.get(word, word)
