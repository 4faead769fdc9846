"""Groups of diagnosis codes that mean one condition: code system plus prefix, and single concepts.

ICD prefixes follow the three-character titles (ICD-9-CM 401-405, 276, 272; ICD-10 I10-I16, E86-E87, E78).
Hypertension in pregnancy (642, O10-O16) is not part of hypertension. SNOMED CT is matched by the common
concepts listed here, without its hierarchy: records coded in SNOMED CT alone may use others.
"""

from typing import Self

import msgspec

_ICD9 = ("ICD9CM", "DIAGNOSIS//ICD//9")  # the second spelling is that of MIMIC-IV in MEDS
_ICD10 = ("ICD10CM", "ICD10", "DIAGNOSIS//ICD//10")
_READ = ("ICD9CM//", "ICD10", "SNOMED//", "DIAGNOSIS//ICD//")
_NOT_DIAGNOSES = ("ICD10PCS//",)


class CodeGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One condition. `prefixes` begin a code, `concepts` are whole codes; both carry their system."""

    name: str
    version: int
    prefixes: tuple[str, ...]
    concepts: tuple[str, ...]

    @classmethod
    def of(cls, name: str, *, icd9: tuple[str, ...], icd10: tuple[str, ...], snomed: tuple[str, ...]) -> Self:
        """A group from bare codes (no dots)."""
        prefixes = [f"{system}//{code}" for system in _ICD9 for code in icd9]
        prefixes += [f"{system}//{code}" for system in _ICD10 for code in icd10]
        return cls(name, 1, tuple(prefixes), tuple(f"SNOMED//{code}" for code in snomed))

    def matches(self, code: str) -> bool:
        """Whether `code` (`SYSTEM//code`) belongs to the group. Dots do not count."""
        return code in self.concepts or code.replace(".", "").startswith(self.prefixes)


def can_be_read(code: str, declared: frozenset[str] = frozenset()) -> bool:
    """Whether a diagnosis is coded in a system that the groups are written in, or that the site declares.

    Any other diagnosis may be of any group: nobody can say that it is not.
    """
    if code.startswith(_READ) and not code.startswith(_NOT_DIAGNOSES):
        return True
    return code.partition("//")[0] in declared


HYPERTENSION = CodeGroup.of(
    "hypertension",
    icd9=("401", "402", "403", "404", "405"),
    icd10=("I10", "I11", "I12", "I13", "I14", "I15", "I16"),
    snomed=("38341003", "59621000"),  # hypertensive disorder, essential hypertension
)
FLUID_DISORDER = CodeGroup.of(
    "disorders of fluid, electrolyte and acid-base balance",
    icd9=("276",),
    icd10=("E86", "E87"),
    # hyperkalaemia, hypokalaemia, hyponatraemia, hypernatraemia, dehydration, metabolic acidosis
    snomed=("14140009", "43339004", "89627008", "39355002", "34095006", "59455009"),
)
LIPID_DISORDER = CodeGroup.of(
    "disorders of lipid metabolism",
    icd9=("272",),
    icd10=("E78",),
    # hyperlipidaemia, hypertriglyceridaemia, hypercholesterolaemia (plain and pure), dyslipidaemia
    snomed=("55822004", "302870006", "13644009", "267432004", "370992007"),
)
