"""Groups of diagnosis codes that mean one condition: prefixes of ICD codes, and single SNOMED concepts.

ICD prefixes follow the three-character titles (ICD-9-CM 401-405, 276, 272; ICD-10 I10-I16, E86-E87, E78),
which every national edition shares. Hypertension in pregnancy (642, O10-O16) is not part of hypertension.
SNOMED CT is matched by the common concepts listed here, without its hierarchy: records coded in SNOMED CT
alone may use others.
"""

import re

import msgspec

from chartscan.vocabulary.systems import icd_version, is_diagnosis_system

_MEDS_MIMIC = {"DIAGNOSIS//ICD//9//": 9, "DIAGNOSIS//ICD//10//": 10}  # how MIMIC-IV in MEDS spells them


# How codes begin. Denmark writes D before every code of its ICD-10 (DI109 is I10.9).
_CODES = {9: re.compile(r"[VEM]?\d"), 10: re.compile(r"D?(?=[A-Z]\d)")}


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
        version = icd_version(system)
        for start, of in _MEDS_MIMIC.items():
            if code.startswith(start):
                version, value = of, code[len(start) :]
        prefixes = {9: self.icd9, 10: self.icd10}.get(version or 0, ())
        bare = value.replace(".", "").upper()
        return (_CODES[10].sub("", bare, count=1) if version == 10 else bare).startswith(prefixes)


def can_be_read(code: str, declared: frozenset[str] = frozenset()) -> bool:
    """Whether a diagnosis is coded in a system that the groups are written in, or that the site declares.

    Any other diagnosis may be of any group: its system does not tell. So may one whose code has no form of
    its system, such as UNK or ICD10:I10.
    """
    system, _, value = code.partition("//")
    form = _CODES.get(icd_version(system) or 0)
    if form and not form.match(value.upper()):
        return False
    return is_diagnosis_system(system) or code.startswith(tuple(_MEDS_MIMIC)) or system in declared


HYPERTENSION = CodeGroup(
    "hypertension",
    icd9=("401", "402", "403", "404", "405"),
    icd10=("I10", "I11", "I12", "I13", "I14", "I15", "I16"),
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
