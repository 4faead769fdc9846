"""How a stay ended, as words and codes say it: dead, alive or unknown.

Names are upper case, as the codes `HOSPITAL_DISCHARGE//<name>` of EVENTS carry them. A name in no table here
is UNKNOWN: it says neither that the patient died nor that the patient lived.
"""

import re
from typing import Literal

from chartscan.vocabulary.systems import last_part, plain, plain_system

Meaning = Literal["dead", "alive", "unknown", "conflict"]

EXPIRED = "EXPIRED"  # the one name for every way of saying that the patient died in hospital
LIVING = "ALIVE"  # left alive, and nothing is said of where to
CONFLICT = "CONFLICTING"  # one encounter says both that the patient died and that the patient lived
UNKNOWN = "UNKNOWN"
ELSEWHERE = "DIED_ELSEWHERE"  # dead, at home or at an unknown place: no word on a death in hospital
SILENT = frozenset({"", "UNK", UNKNOWN})  # nothing was said
OF_MEANING = {"dead": EXPIRED, "alive": LIVING, "unknown": UNKNOWN}  # what a site file may write

DEAD = frozenset({EXPIRED, "EXP", "DIED", "DEAD", "DECEASED", "DEATH"})
ALIVE = frozenset(
    {
        # HL7 discharge-disposition (http://terminology.hl7.org/CodeSystem/discharge-disposition)
        *("HOME", "ALT-HOME", "OTHER-HCF", "HOSP", "LONG", "AADVICE", "PSY", "REHAB", "SNF"),
        # words of MIMIC-IV
        *("HOME HEALTH CARE", "SKILLED NURSING FACILITY", "HOSPICE", "CHRONIC/LONG TERM ACUTE CARE"),
        *("PSYCH FACILITY", "ACUTE HOSPITAL", "AGAINST ADVICE", "ASSISTED LIVING", "OTHER FACILITY"),
        "HEALTHCARE FACILITY",
        # what sources of ours write where only the fact is known
        *(LIVING, "SURVIVED", "TRANSFERRED", "CUSTODY"),
    }
)

# Whole texts, in plain spelling, by the name they mean.
_TEXTS = {
    EXPIRED: "exp, exitus, exitus letalis, tod, verstorben, gestorben, todesfall, patient verstorben, deces, "
    "decede, decedee, decede e, mort, morte, fallecido, fallecida, fallecimiento, defuncion, muerte, muerto, "
    "muerta, overleden, overlijden, deceduto, deceduta, decesso, obito, falecido, falecida, avliden, død, "
    "doed, dod, afdød, kuollut, zgon",
    "HOME": "home, own home, home or self care, home self care, home or self care routine, home routine, "
    "routine, routine home, private residence, usual place of residence, residential home, nach hause, "
    "zuhause, domicile, retour a domicile, domicilio, casa, naar huis, thuis",
    "HOME HEALTH CARE": "home health care, home health, home health service, home with home health, "
    "home under care of organized home health service organization, home w home health",
    "ALT-HOME": "alt home, alternative home, relatives home, friends home",
    "SNF": "snf, nursing home, nursing facility, pflegeheim",
    "SKILLED NURSING FACILITY": "skilled nursing facility",
    "REHAB": "rehab, rehabilitation, rehabilitation facility, rehabilitation hospital, rehab facility, irf, "
    "inpatient rehabilitation facility, inpatient rehab, rehabilitationseinrichtung",
    "HOSPICE": "hospice, hospice home, hospice medical facility, hospice care, home hospice, hospiz",
    "LONG": "long, long term care, long term care hospital, long term care facility, ltac, ltach, ltch, "
    "long term acute care",
    "CHRONIC/LONG TERM ACUTE CARE": "chronic long term acute care",
    "PSY": "psy, psychiatric hospital, psychiatric facility, psychiatric unit",
    "PSYCH FACILITY": "psych facility",
    "ACUTE HOSPITAL": "acute hospital, acute care hospital, hospital, other hospital, short term hospital, "
    "short term general hospital, short term general hospital for inpatient care, critical access hospital, "
    "acute care facility, anderes krankenhaus, ein anderes krankenhaus",
    "OTHER-HCF": "other hcf, other healthcare facility, other health care facility, "
    "health care facility, intermediate care facility",
    "HEALTHCARE FACILITY": "healthcare facility",
    "OTHER FACILITY": "other facility",
    "ASSISTED LIVING": "assisted living, assisted living facility",
    "AADVICE": "aadvice, ama, left ama, left against advice, left against medical advice, "
    "against medical advice, self discharge, patient self discharge against medical advice, eloped, "
    "elopement",
    "AGAINST ADVICE": "against advice",
    "CUSTODY": "court law enforcement, law enforcement, police custody, jail, prison, jail prison",
    LIVING: "alive, survived, left alive, lebend, lebend entlassen, vivant, vivo, levend, "
    "behandlung regular beendet",
    "TRANSFERRED": "verlegung in ein anderes krankenhaus",
    UNKNOWN: "unknown, unk, other, oth, sonstige, unbekannt, not known, not stated, still patient, "
    "still a patient, autre, otro, onbekend, inconnu, desconocido",
}
_NAMES = {text: name for name, texts in _TEXTS.items() for text in texts.split(", ")}
_LEAVING = re.compile(  # what may stand before the place a patient went to
    r"(?:(?:the )?(?:patient|pt) )?(?:was |is )?"
    r"(?:(?:discharged?|transfer(?:red)?|released|sent|left|went|moved|dc|d c) ?)+"
    r"(?:(?:to|into) )?(?:an? |the |another )?"
)
# A text means death in hospital if a word of death is in it and every other word is one of these.
_OF_DEATH = frozenset({"expired", "died", "dies", "deceased", "dead", "death", "demise"})
_BESIDE_DEATH = frozenset(
    re.findall(
        r"\w+",
        "a, admission, an, arrival, as, at, by, causes, certified, coroner, department, during, ed, "
        "emergency, er, facility, home, hospice, hospital, hours, hrs, icu, in, inpatient, is, medicaid, "
        "medical, medicare, natural, of, on, patient, place, pt, room, status, stay, surgery, the, this, "
        "to, unit, was, ward, while, within, 24, 48, hr, h",
    )
)
# Beside a discharge fewer will do: who died within 24 hours of it did not die in hospital.
_DISCHARGE = frozenset({"discharge", "discharged"})
_BESIDE_DISCHARGE = _DISCHARGE | {
    "as",
    "during",
    "hospital",
    "in",
    "patient",
    "pt",
    "status",
    "stay",
    "the",
    "was",
}
_BESIDE_THE_POINT = re.compile(r" ?(?:(?:(?:with|without|no|w|w o) )?(?:an )?autopsy|place unknown)")
_AT_HOME = re.compile(r"\bhome\b|\bplace unknown\b")


def meaning_of(name: str) -> Meaning:
    """Return an EVENTS disposition's meaning; words with EXPIRED mean death."""
    if name in DEAD or EXPIRED in name:
        return "dead"
    if name == CONFLICT:
        return "conflict"
    return "alive" if name in ALIVE else "unknown"


def name_of_text(text: str) -> str | None:
    """Return a written disposition's meaning in any system; None if unknown.

    Numbers and single letters mean nothing here: they mean something only within their code system.
    """
    word = plain(text)
    if word in _NAMES:
        return _NAMES[word]
    if _is_death(word):
        return ELSEWHERE if _AT_HOME.search(word) else EXPIRED
    leaving = _LEAVING.match(word)
    return _alive(word[leaving.end() :]) if leaving and leaving.end() else None


def _is_death(word: str) -> bool:
    words = set(_BESIDE_THE_POINT.sub("", word).split())
    others = words - _OF_DEATH
    return words != others and others <= (_BESIDE_DISCHARGE if words & _DISCHARGE else _BESIDE_DEATH)


def _alive(place: str) -> str | None:
    """The name of a place that only the living go to."""
    name = _NAMES.get(place)
    return name if name is not None and meaning_of(name) == "alive" else None


# Code systems of discharge dispositions, and each code's meaning. Sources: HL7 terminology
# (discharge-disposition, v2 table 0112), the NUBC's UB-04 form locator 17 with CMS's edition, the German
# Entlassungsgrund (§ 301 SGB V, first two digits), and SNOMED CT. A code that says neither death nor survival
# is UNKNOWN.

_HL7 = {
    "home": "HOME",
    "alt-home": "ALT-HOME",
    "other-hcf": "OTHER-HCF",
    "hosp": "HOSP",
    "long": "LONG",
    "aadvice": "AADVICE",
    "exp": "EXPIRED",
    "psy": "PSY",
    "rehab": "REHAB",
    "snf": "SNF",
    "oth": "UNKNOWN",
}
_LEFT = {  # codes that the UB-04 form and HL7 v2 table 0112 share
    "01": "HOME",
    "02": "ACUTE HOSPITAL",
    "03": "SNF",
    "04": "LONG",
    "05": "OTHER-HCF",
    "06": "HOME HEALTH CARE",
    "07": "AADVICE",
    "08": "HOME HEALTH CARE",
    "09": "OTHER-HCF",
    "20": "EXPIRED",
    "30": "UNKNOWN",
    "40": "DIED_ELSEWHERE",  # at home
    "41": "EXPIRED",
    "42": "DIED_ELSEWHERE",  # at an unknown place
}
_UB04 = _LEFT | {
    "00": "UNKNOWN",
    "21": "CUSTODY",
    "43": "OTHER-HCF",
    "50": "HOSPICE",
    "51": "HOSPICE",
    "61": "OTHER-HCF",
    "62": "REHAB",
    "63": "LONG",
    "64": "SNF",
    "65": "PSY",
    "66": "ACUTE HOSPITAL",
    "69": "OTHER-HCF",
    "70": "OTHER-HCF",
    "71": "OTHER-HCF",
    "72": "OTHER-HCF",
    "81": "HOME",
    "82": "ACUTE HOSPITAL",
    "83": "SNF",
    "84": "LONG",
    "85": "OTHER-HCF",
    "86": "HOME HEALTH CARE",
    "87": "CUSTODY",
    "88": "OTHER-HCF",
    "89": "OTHER-HCF",
    "90": "REHAB",
    "91": "LONG",
    "92": "SNF",
    "93": "PSY",
    "94": "ACUTE HOSPITAL",
    "95": "OTHER-HCF",
}
_GERMAN = {
    **dict.fromkeys(("01", "02", "03", "14", "19", "20", "21", "28"), "ALIVE"),
    **dict.fromkeys(("04", "15"), "AADVICE"),
    **dict.fromkeys(("06", "08", "13", "16", "18", "29"), "TRANSFERRED"),
    "07": "EXPIRED",
    "09": "REHAB",
    "10": "LONG",
    "11": "HOSPICE",
    **dict.fromkeys(("05", "12", "17", "22", "23", "24", "25", "26", "27"), "UNKNOWN"),
}
_SNOMED = {
    "371828006": "EXPIRED",  # patient deceased during stay (discharge status = dead)
    "419099009": "EXPIRED",  # dead
    "419620001": "EXPIRED",  # death
    "397709008": "EXPIRED",  # patient died
    "371827001": "ALIVE",  # patient discharged alive (discharge status = alive)
    "306689006": "HOME",  # discharge to home
    "306691003": "HOME",  # discharge to residential home
    "306694006": "SNF",  # discharge to nursing home
    "225928004": "AADVICE",  # patient self-discharge against medical advice
    "34596002": "AADVICE",  # patient discharge, elopement
    "19712007": "TRANSFERRED",  # patient transfer, to another health care facility
}
# By the last part of the system's address: the same table goes by many addresses.
_BY_LAST_PART = {
    "discharge-disposition": _HL7,
    "2.16.840.1.113883.4.642.1.1093": _HL7,
    "2.16.840.1.113883.4.642.4.1093": _HL7,
    "patdischargestatus": _UB04,
    "patient-discharge": _UB04,
    "patientdischargestatus": _UB04,
    "ahanubcpatientdischargestatus": _UB04,
    "nubc-patientdischargestatus": _UB04,
    "ptnt_dschrg_stus_cd": _UB04,
    "2.16.840.1.113883.6.301.5": _UB04,
    "v2-0112": _LEFT,
    "0112": _LEFT,
    "2.16.840.1.113883.12.112": _LEFT,
    "2.16.840.1.113883.18.66": _LEFT,
    "entlassungsgrund": _GERMAN,
    "entlassungsgrundersteundzweitestelle": _GERMAN,
    "2.16.840.1.113883.6.96": _SNOMED,
    "sct": _SNOMED,
}
_NUMBERED = (_UB04, _LEFT, _GERMAN)


def name_of_code(code: str, system: str) -> str | None:
    """Return a known system's code as a name of `dispositions`; else None."""
    url = plain_system(system)
    last = "sct" if url.startswith("http://snomed.info/sct") else last_part(url)
    codes, code = _BY_LAST_PART.get(last), code.strip().lower()
    if codes is None:
        return None
    if any(codes is table for table in _NUMBERED) and code.isascii() and code.isdigit():
        code = code.zfill(2)
    if codes is _GERMAN and len(code) == 3:
        code = code[:2]  # the third digit says whether the patient can work
    return codes.get(code)
