"""Which condition a diagnosis code means, and how sure a diagnosis is.

A condition is a group of prefixes of ICD codes and of single SNOMED concepts. A code in no group is known not
to be its condition only where the code tells: an ICD code does, a SNOMED concept in no list here does not,
unless the site declares it. A status in no table here is unknown: the diagnosis may be a fact, a guess or an
error.

ICD prefixes follow the three-character titles (ICD-9-CM 401-405, 276, 272; ICD-10 I10-I1A, E86-E87, E78),
which every national edition shares. Hypertension in pregnancy (642, O10-O16) is not part of hypertension.
SNOMED CT is matched by the common concepts listed here, without its hierarchy.
"""

import re
from collections.abc import Mapping

import msgspec

from chartscan.vocabulary.systems import code_of, icd_version, name_of_system

UNVERIFIED = "UNVERIFIED"  # before the code of a diagnosis whose status is not understood
_MEDS_MIMIC = {"DIAGNOSIS//ICD//9//": 9, "DIAGNOSIS//ICD//10//": 10}  # how MIMIC-IV in MEDS spells them


_LIKE_A_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+*/_-]{0,19}")
# One whole code: no chapter, no range (I10-I15) and no list of codes. Only ICD-10-CM has a letter in third
# place, A or B; a letter and two digits after that are a second code, but for its Z91.A10. Denmark writes D
# before every code (DI109 is I10.9), Germany I10.- for a category and the certainty behind a code (I10.90G),
# France an extension (K56.6+1); dagger, asterisk and ! may follow a code.
_ICD10 = re.compile(
    r"(?:D(?=[A-Z][0-9]))?"
    r"(?P<bare>[A-Z][0-9][0-9AB]\.?(?![0-9A-Z]*[B-WYZ][0-9]{2})[0-9A-Z]{0,4})"
    r"-?(?:\+[0-9]|[+*!†#]?[AGVZ]?)"
)
_ICD9 = re.compile(r"(?P<bare>(?:[0-9]{3}|V[0-9]{2})\.?[0-9]{0,2}|E[0-9]{3}\.?[0-9]?|M[0-9]{4}/?[0-9]?)[+*]?")
_FORMS = {9: _ICD9, 10: _ICD10}


class CodeGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One condition: prefixes of bare ICD codes (no dots), and whole SNOMED concepts."""

    name: str
    icd9: tuple[str, ...]
    icd10: tuple[str, ...]
    snomed: tuple[str, ...]
    version: int = 2

    def matches(self, code: str) -> bool:
        """Whether `code` (`SYSTEM//code`) belongs to the group, in any ICD edition. Dots do not count."""
        system, _, value = code.partition("//")
        if system == "SNOMED":
            return value in self.snomed
        version, bare = _icd_code(code)
        return bare.startswith({9: self.icd9, 10: self.icd10}.get(version or 0, ())) if bare else False

    def says(
        self, code: str, systems: frozenset[str] = frozenset(), codes: Mapping[str, str] | None = None
    ) -> bool | None:
        """Whether a diagnosis code is of the group; None if unknown.

        A diagnosis of the group may be none where its status is not understood.
        `systems` and `codes` (as `declared_codes` gives them) are what the site declares.
        """
        if code.startswith(f"{UNVERIFIED}//"):
            may_be = self.says(code.removeprefix(f"{UNVERIFIED}//"), systems, codes)
            return False if may_be is False else None
        declared = codes.get(code.casefold()) if codes else None
        if declared is not None:
            return declared == self.name
        if self.matches(code):
            return True
        return False if is_understood(code, systems) else None


def is_understood(code: str, systems: frozenset[str] = frozenset()) -> bool:
    """Whether a code's conditions are known, or its system is declared without any.

    Any other diagnosis may be of any group. So may a SNOMED concept in no list, and a code that has no form
    of its system, such as UNK or ICD10:I10.
    """
    system, _, value = code.partition("//")
    if system == "SNOMED":
        return value in _CONCEPTS
    version, bare = _icd_code(code)
    return bool(bare) if version else system in systems


def _icd_code(code: str) -> tuple[int | None, str]:
    """The version of the ICD that a code is of, and the bare code; "" where it has not the form of one."""
    system, _, value = code.partition("//")
    version = icd_version(system)
    for start, of in _MEDS_MIMIC.items():
        if code.startswith(start):
            version, value = of, code[len(start) :]
    found = _FORMS[version].fullmatch(value.upper()) if version in _FORMS else None
    return version, found["bare"].replace(".", "") if found else ""


def is_code(code: str) -> bool:
    """Whether a text looks like a diagnosis code, and not like words."""
    return _LIKE_A_CODE.fullmatch(code.partition("//")[2]) is not None


def declared_codes(meanings: Mapping[str, str], systems: Mapping[str, str]) -> dict[str, str]:
    """Return groups of a site's codes (NONE for none), by casefolded code.

    `meanings` are those of a site file: "SYSTEM|code" to a name of GROUPS, or NONE. `systems` gives the names
    of the code systems that the site declares.
    """
    found = {}
    for key, meaning in meanings.items():
        system, _, value = key.rpartition("|")
        name = name_of_system(system, systems)
        group = GROUPS.get(meaning)
        found[f"{name}//{code_of(name, value)}".casefold()] = group.name if group else NONE
    return found


HYPERTENSION = CodeGroup(
    "hypertension",
    icd9=("401", "402", "403", "404", "405"),
    icd10=("I10", "I11", "I12", "I13", "I14", "I15", "I16", "I1A"),
    snomed=("38341003", "59621000"),  # hypertensive disorder, essential hypertension
)
FLUID_DISORDER = CodeGroup(
    "disorders of fluid, electrolyte and acid-base balance",
    icd9=("276",),
    icd10=("E86", "E87"),
    # hyperkalaemia, hypokalaemia, hyponatraemia, hypernatraemia, dehydration, metabolic acidosis
    snomed=("14140009", "43339004", "89627008", "39355002", "34095006", "59455009"),
)
LIPID_DISORDER = CodeGroup(
    "disorders of lipid metabolism",
    icd9=("272",),
    icd10=("E78",),
    # hyperlipidaemia, hypertriglyceridaemia, hypercholesterolaemia (plain and pure), dyslipidaemia
    snomed=("55822004", "302870006", "13644009", "267432004", "370992007"),
)

GROUPS = {"hypertension": HYPERTENSION, "fluid_disorder": FLUID_DISORDER, "lipid_disorder": LIPID_DISORDER}
NONE = "none"  # in a site file: the code is of no group
_CONCEPTS = frozenset(concept for group in GROUPS.values() for concept in group.snomed)


def conditions_of(code: str) -> str:
    """Return a code's group names for the account; NONE without a group."""
    return ", ".join(name for name, group in GROUPS.items() if group.matches(code)) or NONE


CONFIRMED, UNCONFIRMED, WRONG, UNKNOWN = "confirmed", "unconfirmed", "wrong", "unknown"
STATUS_MEANINGS = (CONFIRMED, UNCONFIRMED, WRONG, UNKNOWN)  # what a site file may write
_MEANING_OF_STATUS = {
    **dict.fromkeys(("entered-in-error", "refuted", WRONG), WRONG),
    **dict.fromkeys(("unconfirmed", "provisional", "differential"), UNCONFIRMED),
    "confirmed": CONFIRMED,
    "unknown": UNKNOWN,
}
# What the course of a diagnosis says beside these: it is one.
_COURSES = ("active", "recurrence", "relapse", "inactive", "remission", "resolved")
_STATUSES = {name.replace("-", ""): name for name in _MEANING_OF_STATUS if name != WRONG}
_STATUSES |= {"error": "entered-in-error", "inerror": "entered-in-error"}


def status_of(word: str, clinical: bool = False) -> str | None:
    """Return FHIR's word for a verification or `clinical` status; else None."""
    plain = "".join(word.lower().replace("-", " ").replace("_", " ").split())
    if clinical and plain in (*_COURSES, UNKNOWN):
        return CONFIRMED
    return _STATUSES.get(plain)


def status_of_certainty(letter: str) -> str | None:
    """The status that a letter of the ICD-10-GM says: excluded, suspected, state after, confirmed.

    Z may be of years ago, and is no diagnosis of now: unknown. None for other letters.
    """
    return {"A": "refuted", "V": UNCONFIRMED, "Z": UNKNOWN, "G": CONFIRMED}.get(letter.strip().upper())


def meaning_of_status(name: str) -> str:
    """CONFIRMED, UNCONFIRMED, WRONG or UNKNOWN."""
    return _MEANING_OF_STATUS.get(name, UNKNOWN)
