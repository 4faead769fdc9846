"""Administrative words: encounter class, status and priority, and patient sex.

A word in no table here is unknown. An encounter of unknown class may be a hospital stay, and labels that
depend on that are absent.
"""

from typing import Literal

from chartscan.vocabulary.systems import plain, plain_system

Kind = Literal["stay", "emergency", "other", "unknown"]

OTHER_VISIT = "OTHER-VISIT"  # what a site calls neither a stay nor an emergency visit
STAY_CLASSES = frozenset({"IMP", "ACUTE", "NONAC", "NONACUTE"})
EMERGENCY_CLASSES = frozenset({"EMER"})
OTHER_CLASSES = frozenset({"AMB", "OBSENC", "SS", "HH", "VR", "PRENC", "FLD", OTHER_VISIT})
CLASS_OF_KIND = {"stay": "IMP", "emergency": "EMER", "other": OTHER_VISIT}  # what a site file may write

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
_CLASS_OF_SYSTEM: dict[str, dict[str, str]] = {
    system: {name: name.upper() for name in ("ss", "hh", "vr", "fld", "acute")} for system in _ACT_CODE
}
_PATIENT_CLASS = {"i": "IMP", "e": "EMER", "o": "AMB", "r": "AMB", "p": "PRENC"}  # HL7 v2 table 0004
_CLASS_OF_SYSTEM |= dict.fromkeys(
    (
        "http://terminology.hl7.org/codesystem/v2-0004",
        "http://hl7.org/fhir/v2/0004",
        "urn:oid:2.16.840.1.113883.12.4",
        "urn:oid:2.16.840.1.113883.18.5",
    ),
    _PATIENT_CLASS,
)
_CLASS_OF_SYSTEM["http://hl7.org/fhir/encounter-class"] = {  # of DSTU2 and STU3
    "home": "HH",
    "field": "FLD",
    "daytime": "AMB",
    "virtual": "VR",
}
_CLASS_WORDS = {
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
_CLASSES = {word: name for name, words in _CLASS_WORDS.items() for word in words.split(", ")}


def kind_of_class(name: str) -> Kind:
    """What a class of EVENTS (`ENCOUNTER_START//<name>`) means."""
    if name in STAY_CLASSES:
        return "stay"
    if name in EMERGENCY_CLASSES:
        return "emergency"
    return "other" if name in OTHER_CLASSES else "unknown"


def class_of_code(code: str, system: str) -> str | None:
    """The standard name of a class code; None where it is not known."""
    word = plain(code)
    return _CLASS_OF_SYSTEM.get(plain_system(system), {}).get(word) or _CLASSES.get(word)


def class_of_text(text: str) -> str | None:
    """Return the standard name of a class given as text; else None."""
    return _CLASSES.get(plain(text))


# What words of a site for the status of an encounter may mean: words of FHIR.
ENCOUNTER_STATUSES = ("finished", "in-progress", "planned", "cancelled", "entered-in-error")


_ACT_PRIORITY = {
    "http://terminology.hl7.org/codesystem/v3-actpriority",
    "http://hl7.org/fhir/v3/actpriority",
    "urn:oid:2.16.840.1.113883.5.7",
}
_PRIORITY_WORDS = {
    "EL": "el, elective, elective admission, planned, elektiv, geplant, programme, programado, gepland",
    "UR": "ur, urgent, dringlich, urgente",
    "EM": "em, emergency, emergent, notfall, urgence, urgencia, spoed",
    "R": "routine",
}
_PRIORITIES = {word: name for name, words in _PRIORITY_WORDS.items() for word in words.split(", ")}
# HL7 v2 table 0007, admission type
_ADMISSION_TYPE = {"e": "EM", "c": "EL", "u": "UR", "r": "R"}
_PRIORITY_OF_SYSTEM = dict.fromkeys(
    ("http://terminology.hl7.org/codesystem/v2-0007", "urn:oid:2.16.840.1.113883.12.7"), _ADMISSION_TYPE
)


def is_priority_system(system: str) -> bool:
    """Whether a code system is v3-ActPriority."""
    return plain_system(system) in _ACT_PRIORITY


def priority_code(word: str, system: str = "") -> str | None:
    """Return the v3-ActPriority code of a code or text; else None."""
    if is_priority_system(system):
        return word.strip().upper() or None
    return _PRIORITY_OF_SYSTEM.get(plain_system(system), {}).get(plain(word)) or _PRIORITIES.get(plain(word))


MALE, FEMALE, OTHER, UNKNOWN = "M", "F", "OTHER", "UNKNOWN"
SEXES = {"male": MALE, "female": FEMALE, "other": OTHER, "unknown": UNKNOWN}  # what a site file may write
_SEX_WORDS = {
    MALE: "male, m, man, mannlich, maennlich, masculin, masculino, homme, hombre, mannelijk, maschile, "
    "maschio, mand, mies",
    FEMALE: "female, f, woman, w, weiblich, feminin, femenino, feminino, femme, mujer, vrouw, vrouwelijk, "
    "femminile, kvinna, kvinde, kvinne, nainen",
    OTHER: "other, o, x, divers, d, non binary, nonbinary, intersex, autre, otro, anders",
    UNKNOWN: "unknown, u, unk, unbekannt, not known, not stated, undifferentiated, inconnu, desconocido, "
    "onbekend, ukjent, ukendt, okand",
}
_SEXES = {word: name for name, words in _SEX_WORDS.items() for word in words.split(", ")}


def sex_of(word: str) -> str | None:
    """Return M, F, OTHER or UNKNOWN; None for unknown words and bare numbers."""
    return _SEXES.get(plain(word))
