"""What an encounter is: a hospital stay, an emergency or intensive care visit, or another; and its ends.

What counts as a hospital stay decides every label, so it is decided in one place: `kind_of`.
"""

from typing import NamedTuple

from chartscan.sources.fhir.clock import Clock
from chartscan.sources.fhir.config import Config
from chartscan.sources.fhir.resources import Concept, Encounter

DROPPED, VISIT, STAY, EMERGENCY, ICU = range(5)
LEFT_OUT = {"planned", "cancelled", "entered-in-error"}
# NUBC patient discharge status: the codes of death
_NUBC, _NUBC_EXPIRED = "patient-discharge", {"20", "40", "41", "42"}


class Facts(NamedTuple):
    """What an encounter is, and its two ends in microseconds; None where unknown, open or impossible."""

    kind: int
    start: int | None
    end: int | None
    end_refused: bool  # it lay before the start
    expired: bool


def facts_of(encounter: Encounter, clock: Clock, config: Config) -> Facts:
    """Kind and times of an encounter; Quarantined where a time is none."""
    period = encounter.period
    end = clock.placed(period.end) if period and period.end else None
    start = clock.placed(period.start, end) if period and period.start else None
    refused = start is not None and end is not None and end < start
    if encounter.status in LEFT_OUT:
        return Facts(DROPPED, None, None, False, False)
    expired = disposition_of(encounter, config) == "EXPIRED"
    return Facts(kind_of(encounter, config), start, None if refused else end, refused, expired)


def kind_of(encounter: Encounter, config: Config) -> int:
    """STAY, EMERGENCY, ICU or VISIT: by the ending of an identifier's system, else by the class."""
    systems = [i.system for i in encounter.identifier if i.system]
    by_identifier = (
        (ICU, config.icu_identifiers),
        (EMERGENCY, config.emergency_identifiers),
        (STAY, config.stay_identifiers),
    )
    for kind, endings in by_identifier:
        if endings and any(system.endswith(endings) for system in systems):
            return kind
    name = class_of(encounter)
    if name in config.stay_classes:
        return STAY
    return EMERGENCY if name in config.emergency_classes else VISIT


def class_of(encounter: Encounter) -> str:
    """The class code, such as IMP or AMB."""
    return (encounter.class_.code if encounter.class_ else None) or "UNKNOWN"


def disposition_of(encounter: Encounter, config: Config) -> str:
    """Where the patient went, in upper case; EXPIRED for every way of saying so."""
    hospitalization = encounter.hospitalization
    concept = hospitalization.dischargeDisposition if hospitalization else None
    name = first_code(concept)
    system = concept.coding[0].system if concept and concept.coding else None
    nubc = bool(system and system.rstrip("/").endswith(_NUBC))
    return "EXPIRED" if name in config.expired_dispositions or (nubc and name in _NUBC_EXPIRED) else name


def first_code(concept: Concept | None) -> str:
    codes = [c.code.strip() for c in concept.coding if c.code and c.code.strip()] if concept else []
    return codes[0].upper() if codes else "UNKNOWN"
