"""What an encounter class means: a hospital stay, an emergency visit, another visit, or unknown.

Names are codes of HL7 v3-ActCode, upper case. A class in no table here is unknown: the encounter may be a
hospital stay, and labels that depend on that are absent.
"""

from typing import Literal

from chartscan.vocabulary.systems import plain, plain_system

Kind = Literal["stay", "emergency", "other", "unknown"]

OTHER_VISIT = "OTHER-VISIT"  # what a site calls neither a stay nor an emergency visit
STAY = frozenset({"IMP", "ACUTE", "NONAC", "NONACUTE"})
EMERGENCY = frozenset({"EMER"})
OTHER = frozenset({"AMB", "OBSENC", "SS", "HH", "VR", "PRENC", "FLD", OTHER_VISIT})
OF_KIND = {"stay": "IMP", "emergency": "EMER", "other": OTHER_VISIT}  # what a site file may write

_ACT_CODE = {
    "http://terminology.hl7.org/codesystem/v3-actcode",
    "http://hl7.org/fhir/v3/actcode",
    "http://hl7.org/fhir/v3-actcode",
    "urn:oid:2.16.840.1.113883.5.4",
    "v3-actcode",
    "actcode",
    "",
}
# Codes too short to mean the same everywhere count in their own system alone.
_OF_SYSTEM: dict[str, dict[str, str]] = {
    system: {name: name.upper() for name in ("ss", "hh", "vr", "fld", "acute")} for system in _ACT_CODE
}
_PATIENT_CLASS = {"i": "IMP", "e": "EMER", "o": "AMB", "r": "AMB", "p": "PRENC"}  # HL7 v2 table 0004
_OF_SYSTEM |= dict.fromkeys(
    (
        "http://terminology.hl7.org/codesystem/v2-0004",
        "http://hl7.org/fhir/v2/0004",
        "urn:oid:2.16.840.1.113883.12.4",
        "urn:oid:2.16.840.1.113883.18.5",
    ),
    _PATIENT_CLASS,
)
_OF_SYSTEM["http://hl7.org/fhir/encounter-class"] = {  # of DSTU2 and STU3
    "home": "HH",
    "field": "FLD",
    "daytime": "AMB",
    "virtual": "VR",
}
_WORDS = {
    "IMP": "imp, inpatient, in patient, inpatient encounter, hospital inpatient, inpatient hospital, inp, "
    "hospitalization, hospitalisation, stationar, vollstationar, stationarer aufenthalt, hospitalizacion, "
    "hospitalitzacio, klinische opname",
    "ACUTE": "inpatient acute, acute inpatient, acute inpatient encounter",
    "NONAC": "nonac, nonacute, inpatient non acute, inpatient nonacute, non acute inpatient, "
    "non acute inpatient encounter",
    "EMER": "emer, emergency, emergency encounter, emergency department, emergency room, emergency visit, "
    "accident and emergency, notaufnahme, urgences, urgencias, spoedeisende hulp",
    "AMB": "amb, ambulatory, ambulatory encounter, outpatient, out patient, outpatient encounter, "
    "hospital outpatient, outpatient visit, office visit, clinic visit, ambulant, ambulatoire, ambulatorio, "
    "consulta externa, consultation externe, poliklinisch",
    "OBSENC": "obsenc, observation, observation encounter",
    "SS": "short stay, short stay encounter",
    "HH": "home health, home health encounter, home visit",
    "VR": "virtual, virtual encounter, telehealth, telemedicine",
    "PRENC": "prenc, pre admission, preadmission, pre admit, preadmit",
    "FLD": "field, field encounter",
}
_NAMES = {word: name for name, words in _WORDS.items() for word in words.split(", ")}


def kind_of(name: str) -> Kind:
    """What a class of EVENTS (`ENCOUNTER_START//<name>`) means."""
    if name in STAY:
        return "stay"
    if name in EMERGENCY:
        return "emergency"
    return "other" if name in OTHER else "unknown"


def name_of_code(code: str, system: str) -> str | None:
    """The standard name of a class code; None where it is not known."""
    word = plain(code)
    return _OF_SYSTEM.get(plain_system(system), {}).get(word) or _NAMES.get(word)


def name_of_text(text: str) -> str | None:
    """The standard name of a class that is only written out; None where it is not one of the known words."""
    return _NAMES.get(plain(text))
