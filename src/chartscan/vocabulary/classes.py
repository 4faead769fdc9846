"""What an encounter class means: a hospital stay, an emergency visit, another visit, or unknown.

Codes of HL7 v3-ActCode (http://terminology.hl7.org/CodeSystem/v3-ActCode), upper case. A class in no table
here is unknown: the encounter may be a hospital stay, and labels that depend on that are absent.
"""

from typing import Literal

Kind = Literal["stay", "emergency", "other", "unknown"]

STAY = frozenset({"IMP", "ACUTE", "NONAC", "NONACUTE"})
EMERGENCY = frozenset({"EMER"})
OTHER = frozenset({"AMB", "OBSENC", "SS", "HH", "VR", "PRENC", "FLD"})


def kind_of(name: str) -> Kind:
    """What a class of EVENTS (`ENCOUNTER_START//<name>`) means."""
    if name in STAY:
        return "stay"
    if name in EMERGENCY:
        return "emergency"
    return "other" if name in OTHER else "unknown"
