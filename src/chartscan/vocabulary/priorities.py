"""The urgency of an admission: codes of HL7 v3-ActPriority, and the words for them."""

from chartscan.vocabulary.systems import plain, plain_system

_ACT_PRIORITY = {
    "http://terminology.hl7.org/codesystem/v3-actpriority",
    "http://hl7.org/fhir/v3/actpriority",
    "urn:oid:2.16.840.1.113883.5.7",
}
_WORDS = {
    "EL": "el, elective, elective admission, planned, elektiv, geplant, programme, programado, gepland",
    "UR": "ur, urgent, dringlich, urgente",
    "EM": "em, emergency, emergent, notfall, urgence, urgencia, spoed",
    "R": "routine",
}
_NAMES = {word: name for name, words in _WORDS.items() for word in words.split(", ")}
# HL7 v2 table 0007, admission type
_ADMISSION_TYPE = {"e": "EM", "c": "EL", "u": "UR", "r": "R"}
_OF_SYSTEM = dict.fromkeys(
    ("http://terminology.hl7.org/codesystem/v2-0007", "urn:oid:2.16.840.1.113883.12.7"), _ADMISSION_TYPE
)


def is_standard(system: str) -> bool:
    """Whether a code system is v3-ActPriority."""
    return plain_system(system) in _ACT_PRIORITY


def name_of(word: str, system: str = "") -> str | None:
    """The code of v3-ActPriority that a code or a text stands for; None where it is not known."""
    if is_standard(system):
        return word.strip().upper() or None
    return _OF_SYSTEM.get(plain_system(system), {}).get(plain(word)) or _NAMES.get(plain(word))
