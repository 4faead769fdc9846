"""The words for administrative sex. A word in no table here is unknown, and no fact about the patient."""

from chartscan.vocabulary.systems import plain

MALE, FEMALE, OTHER, UNKNOWN = "M", "F", "OTHER", "UNKNOWN"
MEANINGS = {"male": MALE, "female": FEMALE, "other": OTHER, "unknown": UNKNOWN}  # what a site file may write
_WORDS = {
    MALE: "male, m, man, mannlich, maennlich, masculin, masculino, homme, hombre, mannelijk, maschile, "
    "maschio, mand, mies",
    FEMALE: "female, f, woman, w, weiblich, feminin, femenino, feminino, femme, mujer, vrouw, vrouwelijk, "
    "femminile, kvinna, kvinde, kvinne, nainen",
    OTHER: "other, o, x, divers, d, non binary, nonbinary, intersex, autre, otro, anders",
    UNKNOWN: "unknown, u, unk, unbekannt, not known, not stated, undifferentiated, inconnu, desconocido, "
    "onbekend, ukjent, ukendt, okand",
}
_NAMES = {word: name for name, words in _WORDS.items() for word in words.split(", ")}


def name_of(word: str) -> str | None:
    """M, F, OTHER or UNKNOWN; None where the word is not known. Numbers mean nothing without a system."""
    return _NAMES.get(plain(word))
