"""The words for how sure a diagnosis is: FHIR's verification and clinical statuses.

A word in no table here is unknown: the diagnosis may be a fact, a guess or an error.
"""

CONFIRMED, UNCONFIRMED, WRONG, UNKNOWN = "confirmed", "unconfirmed", "wrong", "unknown"
MEANINGS = (CONFIRMED, UNCONFIRMED, WRONG, UNKNOWN)  # what a site file may write
_OF_NAME = {
    **dict.fromkeys(("entered-in-error", "refuted", WRONG), WRONG),
    **dict.fromkeys(("unconfirmed", "provisional", "differential"), UNCONFIRMED),
    "confirmed": CONFIRMED,
    "unknown": UNKNOWN,
}
# What the course of a diagnosis says beside these: it is one.
_COURSES = ("active", "recurrence", "relapse", "inactive", "remission", "resolved")
_NAMES = {name.replace("-", ""): name for name in _OF_NAME if name != WRONG}
_NAMES |= {"error": "entered-in-error", "inerror": "entered-in-error"}


def name_of(word: str, clinical: bool = False) -> str | None:
    """FHIR's word for a verification status, or a `clinical` one, however it is spelled; None for others."""
    plain = "".join(word.lower().replace("-", " ").replace("_", " ").split())
    if clinical and plain in (*_COURSES, UNKNOWN):
        return CONFIRMED
    return _NAMES.get(plain)


def name_of_certainty(letter: str) -> str | None:
    """The status that a letter of the ICD-10-GM says: excluded, suspected, state after, confirmed.

    Z may be of years ago, and is no diagnosis of now: unknown. None for other letters.
    """
    return {"A": "refuted", "V": UNCONFIRMED, "Z": UNKNOWN, "G": CONFIRMED}.get(letter.strip().upper())


def meaning_of(name: str) -> str:
    """CONFIRMED, UNCONFIRMED, WRONG or UNKNOWN."""
    return _OF_NAME.get(name, UNKNOWN)
