"""How words are compared, and the names of code systems.

A system has many addresses: URLs, OIDs and bare names. National editions of the ICD are one family: their
names begin with ICD10 or ICD9, also where their address is not listed here (`_icd`).
"""

import re
import unicodedata
from collections.abc import Mapping

_GAPS = re.compile(r"[\W_]+")
_TAG = re.compile(r"\s*\((finding|procedure|event|situation|disorder|qualifier value)\)\s*$", re.IGNORECASE)
_OID = re.compile(r"(?:urn:oid:|oid:)?(\d+(?:\.\d+){3,})")


def plain(word: str) -> str:
    """Return the word in lower case without accents; other characters become spaces.

    "Décédé" is "decede", "in-patient" is "in patient", "Dead (finding)" is "dead".
    """
    apart = unicodedata.normalize("NFKD", _TAG.sub("", word).casefold())
    return _GAPS.sub(" ", "".join(c for c in apart if not unicodedata.combining(c))).strip()


def plain_system(url: str) -> str:
    """Return a code system in normal form: lower case, http, urn:oid, no version."""
    url = url.strip().partition("|")[0].rstrip("/").lower()
    if oid := _OID.fullmatch(url):
        return f"urn:oid:{oid[1]}"
    return "http://" + url[8:] if url.startswith("https://") else url


def last_part(url: str) -> str:
    """Return the text after a URL's last slash or urn's last colon."""
    url = url.strip().partition("|")[0].rstrip("/")
    return url.rsplit(":" if url.lower().startswith("urn:") else "/", 1)[-1]


# By address, in the form of `plain_system`.
KNOWN = {
    "http://loinc.org": "LOINC",
    "http://snomed.info/sct": "SNOMED",
    "http://www.nlm.nih.gov/research/umls/rxnorm": "RXNORM",
    "http://hl7.org/fhir/sid/icd-9-cm": "ICD9CM",
    "http://terminology.hl7.org/codesystem/icd9": "ICD9CM",
    "http://hl7.org/fhir/sid/icd-9-cm/diagnosis": "ICD9CM",
    "http://hl7.org/fhir/sid/icd-9-cm/procedure": "ICD9PROC",
    "http://www.cms.gov/medicare/coding/icd9": "ICD9PROC",
    "http://www.cms.gov/medicare/coding/icd10": "ICD10PCS",
    "http://hl7.org/fhir/sid/icd-10-pcs": "ICD10PCS",
    "http://hl7.org/fhir/sid/cvx": "CVX",
    "http://hl7.org/fhir/sid/ndc": "NDC",
    "http://www.ama-assn.org/go/cpt": "CPT",
    "http://www.cms.gov/medicare/coding/hcpcsreleasecodesets": "HCPCS",
    "http://terminology.hl7.org/codesystem/hcpcs": "HCPCS",
    "http://unitsofmeasure.org": "UCUM",
    "http://terminology.hl7.org/codesystem/v3-actcode": "v3-ActCode",
    "http://www.whocc.no/atc": "ATC",
    "http://fdasis.nlm.nih.gov": "UNII",
    "urn:oid:2.16.840.1.113883.6.1": "LOINC",
    "urn:oid:2.16.840.1.113883.6.96": "SNOMED",
    "urn:oid:2.16.840.1.113883.6.88": "RXNORM",
    "urn:oid:2.16.840.1.113883.6.90": "ICD10CM",
    "urn:oid:2.16.840.1.113883.6.2": "ICD9CM",
    "urn:oid:2.16.840.1.113883.6.42": "ICD9",
    "urn:oid:2.16.840.1.113883.6.103": "ICD9CM",
    "urn:oid:2.16.840.1.113883.6.104": "ICD9PROC",
    "urn:oid:2.16.840.1.113883.6.4": "ICD10PCS",
    "urn:oid:2.16.840.1.113883.12.292": "CVX",
    "urn:oid:2.16.840.1.113883.6.69": "NDC",
    "urn:oid:2.16.840.1.113883.6.12": "CPT",
    "urn:oid:2.16.840.1.113883.6.285": "HCPCS",
    "urn:oid:2.16.840.1.113883.6.8": "UCUM",
    "urn:oid:2.16.840.1.113883.5.4": "v3-ActCode",
    "urn:oid:2.16.840.1.113883.6.73": "ATC",
    "urn:oid:2.16.840.1.113883.6.3": "ICD10",
    "urn:oid:2.16.840.1.113883.6.3.2": "ICD10NL",
    "urn:oid:2.16.840.1.113883.6.3.3": "ICD10GM",  # DIMDI's German ICD-10 of 1998
    "urn:oid:2.16.840.1.113883.6.94": "ICD10CA",
    "urn:oid:2.16.840.1.113883.6.135": "ICD10AM",
    "urn:oid:1.2.276.0.76.5.409": "ICD10GM",
    "urn:oid:2.16.578.1.12.4.1.1.7110": "ICD10NO",
    "http://mimic.mit.edu/fhir/mimic/codesystem/mimic-diagnosis-icd9": "ICD9CM",
    "http://mimic.mit.edu/fhir/mimic/codesystem/mimic-diagnosis-icd10": "ICD10CM",
    "http://mimic.mit.edu/fhir/mimic/codesystem/mimic-procedure-icd9": "ICD9PROC",
    "http://mimic.mit.edu/fhir/mimic/codesystem/mimic-procedure-icd10": "ICD10PCS",
    "http://mimic.mit.edu/fhir/mimic/codesystem/mimic-medication-ndc": "NDC",
}
# OIDs below which every one is an edition of the ICD.
_BRANCHES = {
    "urn:oid:2.16.840.1.113883.6.3.": "ICD10",  # translations of the WHO's edition
    "urn:oid:2.16.840.1.113883.6.135.": "ICD10AM",
    "urn:oid:1.2.752.116.1.1.1": "ICD10SE",
    "urn:oid:1.2.246.537.6.1": "ICD10FI",
    "http://id.who.int/icd/release/10": "ICD10",
    "http://id.who.int/icd/release/11": "ICD11",
    "http://snomed.info/sct/": "SNOMED",
    "http://snomed.info/xsct": "SNOMED",
}
# Bare names and last parts of addresses, letters and digits alone. Those of HL7 v2 table 0396 are among them.
_NAMES = {
    **{name.lower(): name for name in ("LOINC", "SNOMED", "RXNORM", "CVX", "NDC", "CPT", "HCPCS", "UCUM")},
    **{name.lower(): name for name in ("ATC", "UNII")},
    **dict.fromkeys(("snomedct", "sct", "snm", "snomedctus"), "SNOMED"),
    "ln": "LOINC",
    "rxn": "RXNORM",
    **dict.fromkeys(("cpt4", "c4"), "CPT"),
    "i10": "ICD10",
    "i10c": "ICD10CM",
    "i10p": "ICD10PCS",
    "i9": "ICD9",
    **dict.fromkeys(("i9c", "i9cdx"), "ICD9CM"),
    "i9cp": "ICD9PROC",
}
_SPACE = re.compile(r"\s+")
# Where the codes of an edition have their dot. E of ICD-9 and D of Denmark have four characters before it.
_DOTTED = {
    9: re.compile(r"(?:E[0-9]{3}|[^.]{3})\.[^.]*"),
    10: re.compile(r"(?:D[A-Z][0-9][^.]|[^.]{3})\.[^.]*"),
}
_NO_LETTER = re.compile(r"[^a-z0-9]+")
_EDITION = re.compile(r"v?\d{1,4}(?:st|nd|rd|th)?[-_. ]?(?:edition|[a-z])?(?:[-_.]\d+)*")  # as a last part
_ICD = re.compile(
    r"(?:.*[-_. ])?(?P<language>br)?(?P<name>icd|cim|cie|cid)[-_. ]*(?P<version>9|10|11)"
    r"(?:[-_. ]*(?P<edition>[a-z]{1,4}?))??"
    r"(?:[-_. ]*(?:codes?|code[-_ ]?system|cs|vs|diagnos[ei]s|diagnostico|diag|dx|procedures?|proc|px))?"
    r"(?:(?:[-_. ]+(?:v|ver|version))?[-_. ]*\d[\w. -]*)?"
)
_PROCEDURES = re.compile(r"proc|pcs|(?:9|10)[-_. ]?(?:cm[-_. ]?)?(?:px|vol[-_. ]?3)")
_OF_LANGUAGE = {"icd": "", "cim": "FR", "cie": "ES", "cid": "PT", "br": "BR"}
_SAME_EDITION = {"who": "", "int": "", "mc": "CM", "wm": "CM"}


def system_name(url: str) -> str | None:
    """Return the name of a code system known by address, or ICD edition; else None."""
    key = plain_system(url)
    if key in KNOWN:
        return KNOWN[key]
    for branch, name in _BRANCHES.items():
        if key.startswith(branch):
            return name
    last = last_part(key)
    if _EDITION.fullmatch(last) and "/" in key and not key.startswith("urn:"):
        last = last_part(key.removesuffix(last))
    return _NAMES.get(_NO_LETTER.sub("", last)) or _icd(last)


def _icd(word: str) -> str | None:
    """ICD10GM of icd-10-gm, icd10gm2024 or ICD-10-GM; None where the word is no edition of the ICD."""
    found = _ICD.fullmatch(word)
    if not found:
        return None
    version, edition = found["version"], found["edition"] or ""
    if _PROCEDURES.search(word):
        return "ICD10PCS" if version == "10" else f"ICD{version}PROC"
    edition = _SAME_EDITION.get(edition, edition.upper()) or _OF_LANGUAGE[found["language"] or found["name"]]
    return f"ICD{version}{edition}"


def icd_version(name: str) -> int | None:
    """Return 9 or 10 for an ICD diagnosis edition's name; else None.

    Procedures (ICD10PCS, ICD9PROC) are none, nor is the ICD-11, whose codes are others altogether.
    """
    if name.startswith(("ICD10PCS", "ICD9PROC", "ICD10PROC")):
        return None
    if name.startswith("ICD10"):
        return 10
    return 9 if name.startswith("ICD9") else None


def is_diagnosis_system(name: str) -> bool:
    """Whether the tasks' groups of diagnoses can find a code of this system."""
    return name == "SNOMED" or icd_version(name) is not None


def name_of_system(url: str, declared: Mapping[str, str]) -> str:
    """Return a system's code prefix: declared, well-known, or its last part."""
    key = plain_system(url)
    for address, name in declared.items():
        if plain_system(address) == key:
            return name
    return system_name(url) or _SPACE.sub("-", last_part(url))


def code_of(name: str, written: str) -> str:
    """Return a code of system `name` in normal form: ICD codes lose dots.

    A dot elsewhere than ICD codes have theirs stays: 40.1 is not 401.
    """
    value = _SPACE.sub(" ", written.replace("\x00", "").strip())
    if not name.startswith(("ICD10", "ICD9")):
        return value
    value, dotted = value.upper(), _DOTTED.get(icd_version(name) or 0)
    return value.replace(".", "") if dotted is None or dotted.fullmatch(value) else value
