"""How a stay ended, as the discharge disposition says it: dead, alive or unknown.

Names are upper case, as the codes `HOSPITAL_DISCHARGE//<name>` of EVENTS carry them. A name in no table here
is UNKNOWN: it was not understood, and says neither that the patient died nor that the patient lived.
"""

from typing import Literal

Meaning = Literal["dead", "alive", "unknown", "conflict"]

EXPIRED = "EXPIRED"  # the one name for every way of saying that the patient died in hospital
CONFLICT = "CONFLICTING"  # one encounter says both that the patient died and that the patient lived
SILENT = frozenset({"", "UNK", "UNKNOWN"})  # nothing was said

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
        *("ALIVE", "SURVIVED", "TRANSFERRED"),
    }
)


def meaning_of(name: str) -> Meaning:
    """What a disposition of EVENTS says of the patient. Words with EXPIRED in them mean death."""
    if name in DEAD or EXPIRED in name:
        return "dead"
    if name == CONFLICT:
        return "conflict"
    return "alive" if name in ALIVE else "unknown"
