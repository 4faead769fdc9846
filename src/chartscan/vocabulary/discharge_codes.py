"""Code systems of discharge dispositions: their addresses, and what each code says.

Sources: HL7 terminology (discharge-disposition, v2 table 0112), the NUBC's UB-04 form locator 17 (patient
discharge status) with CMS's edition of it, the German Entlassungsgrund (§ 301 SGB V, first two digits), and
single concepts of SNOMED CT. A code that says neither death nor survival is UNKNOWN: the patient was still in
hospital, or the code only closes a bill.
"""

from chartscan.vocabulary.spelling import last_part, plain_system

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
    """What a code of a known system says, as a name of `dispositions`; None where it is not known."""
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
