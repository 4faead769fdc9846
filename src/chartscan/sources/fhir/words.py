"""Reads words that labels depend on, by site or standard meaning, and counts them.

Classes, dispositions, sex and diagnosis systems. A word that is in neither table stays as it is written, in
upper case, and means "unknown" to labels. What each word means is decided in `chartscan.vocabulary`.
"""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from chartscan.site import Vocabulary
from chartscan.sources.fhir.remember import remember
from chartscan.sources.fhir.resources import KNOWN, Coding, Concept, Disposition, Status, WrittenClass
from chartscan.store.accounting import How, Recognition
from chartscan.vocabulary import diagnoses, dispositions
from chartscan.vocabulary.administrative import (
    CLASS_OF_KIND,
    SEXES,
    class_of_code,
    class_of_text,
    is_priority_system,
    kind_of_class,
    priority_code,
    sex_of,
)
from chartscan.vocabulary.systems import last_part, plain_system

UNRECOGNISED = "UNRECOGNISED"
NO_CLASS, NOT_SAID = "UNKNOWN", "UNKNOWN"
# What stands for "no answer" and is no code.
ABSENT = {
    "http://terminology.hl7.org/codesystem/v3-nullflavor",
    "http://terminology.hl7.org/codesystem/data-absent-reason",
    "http://hl7.org/fhir/v3/nullflavor",
    "http://hl7.org/fhir/data-absent-reason",
    "urn:oid:2.16.840.1.113883.5.1008",
}
CERTAINTY = "icd-10-gm-diagnosesicherheit"  # how the address of the extension ends
_LONGEST_CODE = 40
_CLASSES_OF_DSTU2 = "http://hl7.org/fhir/encounter-class"


_SAYS_LESS = (
    diagnoses.WRONG,
    diagnoses.UNCONFIRMED,
    diagnoses.UNKNOWN,
    diagnoses.CONFIRMED,
)


class Reading(NamedTuple):
    """How one word was read: the event's name, and the account's word."""

    name: str
    how: How
    word: str
    system: str = ""
    text: bool = False


_NO_STATUS = Reading("", "not said", "not said")


class Declared:
    """A site file's words of one kind: by word, or "SYSTEM|word"."""

    def __init__(self, words: Mapping[str, str]):
        self._words = {_exact(key): meaning for key, meaning in words.items()}
        self._of_system: dict[tuple[str, str], str] = {}
        for key, meaning in words.items():
            for cut in (key.partition("|"), key.rpartition("|")):  # a system may have a version, a word a bar
                if cut[1]:
                    self._of_system[plain_system(cut[0]), _exact(cut[2])] = meaning

    def find(self, word: str, system: str = "") -> str | None:
        """The meaning of a word, where the site has one for it."""
        exact = _exact(word)
        if self._of_system and system:
            url = plain_system(system)
            for owner in (url, last_part(url)):
                if (found := self._of_system.get((owner, exact))) is not None:
                    return found
        return self._words.get(exact)


class Words:
    """Reads words with the tables of a site; `recognition` counts what was read."""

    def __init__(self, vocabulary: Vocabulary):
        self.recognition = Recognition()
        self._classes = Declared(vocabulary.class_)
        self._encounter_statuses = Declared(vocabulary.encounter_status)
        self._dispositions = Declared(vocabulary.disposition)
        self._statuses = Declared(vocabulary.diagnosis_status)
        self._sexes = Declared(vocabulary.sex)
        self._class_readings: dict[tuple[str | None, str | None, str | None], Reading] = {}
        self._encounter_status_readings: dict[str, Reading] = {}
        self._disposition_readings: dict[tuple[str, str, bool], Reading] = {}
        self._status_readings: dict[tuple[str, str, bool, bool], Reading] = {}
        self._sex_readings: dict[str, Reading] = {}
        self._counts: Counter[tuple[str, Reading, str | None]] = Counter()

    def class_of(self, written: WrittenClass) -> Reading:
        """What the class of an encounter says: its codings, else its texts.

        UNRECOGNISED where they contradict each other.
        """
        codings, texts = _class_words(written)
        if len(codings) < 2 and not texts:
            return self._class_of(codings[0] if codings else None)
        readings = [self._class_of(coding) for coding in codings]
        if all(reading.how == "unknown" for reading in readings):
            readings += [self._class_of(text) for text in texts]
        for how in ("mapped", "recognised"):
            understood = [reading for reading in readings if reading.how == how]
            if len({kind_of_class(reading.name) for reading in understood}) > 1:
                words = ", ".join(reading.word for reading in understood)
                return Reading(UNRECOGNISED, "unknown", words, text=any(r.text for r in understood))
            if understood:
                return understood[0]
        return readings[0]

    def _class_of(self, coding: Coding | None) -> Reading:
        key = (coding.system, coding.code, coding.display) if coding else (None, None, None)
        found = self._class_readings.get(key)
        return found or remember(self._class_readings, key, self._class(*key))

    def _class(self, system: str | None, code: str | None, display: str | None) -> Reading:
        code, display, system = (code or "").strip(), (display or "").strip(), system or ""
        word, text = code or display, not code
        if not word or plain_system(system) in ABSENT:
            return Reading(NO_CLASS, "unknown", "no class")
        meaning = (self._classes.find(code, system) if code else None) or self._classes.find(display)
        if meaning:
            return Reading(CLASS_OF_KIND.get(meaning, meaning), "mapped", word, system, text)
        name = (class_of_code(code, system) if code else None) or class_of_text(display)
        if name:
            return Reading(name, "recognised", word, system, text)
        raw = _raw(code)
        return Reading(
            raw if kind_of_class(raw) == "unknown" else UNRECOGNISED,
            "unknown",
            word,
            system,
            text,
        )

    def disposition_of(self, concept: Disposition | None) -> Reading:
        """What all evidence on the way a stay ended says: every coding and the text."""
        readings = self._evidence(concept) if concept else []
        if not readings:
            return Reading(NOT_SAID, "not said", "not said")
        understood = [r for r in readings if r.how != "unknown"]
        meanings = {dispositions.meaning_of(r.name): r for r in reversed(understood)}
        if meanings.keys() >= {"dead", "alive"}:
            return meanings["dead"]._replace(name=dispositions.CONFLICT)
        for meaning in ("conflict", "dead", "alive", "unknown"):
            if meaning in meanings:
                return meanings[meaning]
        return readings[0]

    def _evidence(self, concept: Disposition) -> list[Reading]:
        """Every word of a disposition as it was read: codes first, then what is written out.

        Of a code that the site declares, the display says nothing more.
        """
        codings = _codings(concept)
        codes = [(c, self._read_disposition(c.code or "", c.system or "", False)) for c in codings]
        texts = [
            self._read_disposition(c.display or "", c.system or "", True)
            for c, reading in codes
            if reading is None or reading.how != "mapped"
        ]
        texts.append(self._read_disposition(concept.text or "", "", True))
        return [reading for reading in [*(r for _, r in codes), *texts] if reading]

    def _read_disposition(self, word: str, system: str, text: bool) -> Reading | None:
        key = word.strip(), system, text
        if not key[0]:
            return None
        found = self._disposition_readings.get(key)
        return found or remember(self._disposition_readings, key, self._disposition(*key))

    def _disposition(self, word: str, system: str, text: bool) -> Reading:
        meaning = self._dispositions.find(word, system)
        if meaning:
            return Reading(dispositions.OF_MEANING.get(meaning, meaning), "mapped", word, system, text)
        name = None if text else dispositions.name_of_code(word, system)
        name = name or dispositions.name_of_text(word)
        if name:
            return Reading(name, "recognised", word, system, text)
        raw = UNRECOGNISED if text else _raw(word)
        if dispositions.meaning_of(raw) != "unknown" or raw in dispositions.SILENT:
            raw = UNRECOGNISED
        return Reading(raw, "unknown", word, system, text)

    def status_of(self, status: Status, clinical: bool = False) -> Reading:
        """What the verification status of a finding says, or its `clinical` one.

        Codes, else the displays of its codings, else its text: the first of these that is understood. Where
        codings, displays or text contradict each other it is not understood, unless the site declares the
        word that counts first.
        """
        readings = [self._status_words(words, clinical) for words in _status_words(status)]
        understood = [r for level in readings for r in level if r.how != "unknown"]
        unknown = [r for level in readings for r in level]
        first = next(iter([*understood, *unknown]), _NO_STATUS)
        meanings = {diagnoses.meaning_of_status(r.name) for r in understood}
        if len(meanings) > 1 and first.how != "mapped":
            words = ", ".join(r.word for r in understood)
            return Reading("", "unknown", words, text=any(r.text for r in understood))
        return first

    def _status_words(self, words: list[tuple[str, str, bool]], clinical: bool) -> list[Reading]:
        """How words were read, the one that counts first."""
        found = [self._read_status(word.strip(), system, text, clinical) for word, system, text in words]
        rank = {meaning: number for number, meaning in enumerate(_SAYS_LESS)}
        return sorted(found, key=lambda r: (r.how == "unknown", rank[diagnoses.meaning_of_status(r.name)]))

    def _read_status(self, word: str, system: str, text: bool, clinical: bool) -> Reading:
        key = word, system, text, clinical
        found = self._status_readings.get(key)
        return found or remember(self._status_readings, key, self._status(*key))

    def _status(self, word: str, system: str, text: bool, clinical: bool) -> Reading:
        meaning = self._statuses.find(word, system)
        if meaning:
            return Reading(meaning, "mapped", word, system, text)
        name = diagnoses.status_of(word, clinical)
        return Reading(name or "", "recognised" if name else "unknown", word, system, text)

    def certainty_of(self, letter: str) -> Reading:
        """What a letter of the ICD-10-GM says of how sure a diagnosis is."""
        meaning = self._statuses.find(letter, CERTAINTY)
        if meaning:
            return Reading(meaning, "mapped", letter, CERTAINTY)
        name = diagnoses.status_of_certainty(letter)
        return Reading(name or "", "recognised" if name else "unknown", letter, CERTAINTY)

    def count_status(self, reading: Reading) -> None:
        """Count a status of a diagnosis."""
        self._count("diagnosis_status", reading, diagnoses.meaning_of_status(reading.name))

    def sex_of(self, gender: str | None) -> str | None:
        """Return a Patient's M, F, OTHER or UNKNOWN, counted; None if missing or unknown."""
        if gender is None or not gender.strip():
            self._count("sex", Reading("", "not said", "not said"), None)
            return None
        reading = self._sex_readings.get(gender) or remember(self._sex_readings, gender, self._sex(gender))
        self._count("sex", reading, reading.name or None)
        return reading.name or None

    def _sex(self, gender: str) -> Reading:
        word = gender.strip()
        meaning = self._sexes.find(word)
        if meaning:
            return Reading(SEXES[meaning], "mapped", word)
        name = sex_of(word)
        return Reading(name, "recognised", word) if name else Reading("", "unknown", word)

    def count_class(self, reading: Reading, kind: str) -> None:
        """Count the class of a kept encounter; `kind` is its reading."""
        decided = reading.how == "unknown" and kind != "unknown"  # by an identifier, for any class
        self._count("class", reading._replace(how="recognised") if decided else reading, kind)

    def encounter_status_of(self, status: str | None) -> Reading:
        """Return the reading of an encounter's status; an empty one where missing."""
        if not status:
            return _NO_STATUS
        found = self._encounter_status_readings.get(status)
        return found or remember(self._encounter_status_readings, status, self._encounter_status(status))

    def _encounter_status(self, status: str) -> Reading:
        meaning = self._encounter_statuses.find(status)
        if meaning:
            return Reading(meaning, "mapped", status)
        known = status in KNOWN["Encounter"]
        text = not known and not status.isalpha()
        return Reading(status if known else "", "recognised" if known else "unknown", status, text=text)

    def count_encounter_status(self, status: str | None) -> None:
        """Count the status of an encounter that is kept."""
        reading = self.encounter_status_of(status)
        self._count("encounter_status", reading, reading.name or None)

    def count_disposition(self, reading: Reading) -> None:
        """Count the disposition of a hospital stay that is over."""
        self._count("disposition", reading, dispositions.meaning_of(reading.name))

    def count_system(self, name: str | None, how: How, word: str) -> None:
        """Count the system of a diagnosis."""
        self._count("diagnosis_system", Reading("", how, word), name)

    def count_diagnosis(self, meaning: str | None, how: How, word: str, system: str, text: bool) -> None:
        """Count the code of a diagnosis whose system is understood."""
        self._count("diagnosis", Reading("", how, word, system, text), meaning)

    def _count(self, thing: str, reading: Reading, meaning: str | None) -> None:
        self._counts[thing, reading, meaning] += 1
        if len(self._counts) > 10_000:
            self.settle()

    def settle(self) -> Recognition:
        """The counts so far, added up."""
        for (thing, reading, meaning), n in self._counts.items():
            meaning = None if reading.how in ("unknown", "not said") else meaning
            system = reading.system.partition("|")[0].strip()  # of any version
            self.recognition.recognise(
                thing, reading.word, meaning, reading.how, n, system=system, text=reading.text
            )
        self._counts.clear()
        return self.recognition


def _class_words(written: WrittenClass) -> tuple[list[Coding], list[Coding]]:
    """The codings of a class, and its texts in the form of one."""
    if written is None or isinstance(written, str):
        return ([Coding(_CLASSES_OF_DSTU2, written)] if written else []), []
    codings, texts = [], []
    for part in written if isinstance(written, list) else [written]:
        if part.code or part.display or not (part.coding or part.text):
            codings.append(Coding(part.system, part.code, part.display))
        codings += part.coding
        texts += [Coding(display=part.text)] if part.text else []
    return codings, texts


def _status_words(status: Status) -> list[list[tuple[str, str, bool]]]:
    """The words of a status: its codes, the displays of its codings, its text; each with its system, and
    whether it is text."""
    if isinstance(status, str):
        return [[(status, "", False)]] if status.strip() else []
    concepts = status if isinstance(status, list) else [status] if status else []
    written = [c for one in concepts for c in (Coding(one.system, one.code, one.display), *one.coding)]
    codings = [c for c in written if plain_system(c.system or "") not in ABSENT]
    levels = (
        [(c.code or "", c.system or "", False) for c in codings],
        [(c.display or "", c.system or "", True) for c in codings],
        [(one.text or "", "", True) for one in concepts],
    )
    kept = [[word for word in level if word[0].strip()] for level in levels]
    return [level for level in kept if level]


def priority_of(concept: Concept | None) -> str:
    """Return an admission's urgency, a code of v3-ActPriority if known; else empty."""
    codings = [c for c in concept.coding if c.code and c.code.strip()] if concept else []
    for coding in sorted(codings, key=lambda c: not is_priority_system(c.system or "")):
        code = (coding.code or "").strip()
        named = priority_code(code, coding.system or "") or priority_code(coding.display or "")
        if named:
            return named
    text = priority_code(concept.text or "") if concept else None
    return text or (" ".join((codings[0].code or "").upper().split()) if codings else "")


def _codings(concept: Disposition) -> list[Coding]:
    """The codings of a disposition that say something; German exports have them in parts of an extension."""
    codings = [Coding(concept.system, concept.code, concept.display), *concept.coding]
    for extension in concept.extension:
        parts = [extension, *extension.extension]
        codings += [part.valueCoding for part in parts if part.valueCoding]
    return [c for c in codings if plain_system(c.system or "") not in ABSENT]


def _exact(word: str) -> str:
    """A declared word: letter case and blanks at its ends do not count; all else does."""
    return " ".join(word.casefold().split())


def _raw(code: str) -> str:
    """A code that is not understood, as events carry it; a text where a code should be stays out of them."""
    raw = " ".join(code.upper().replace("\0", "").split()).replace("//", "/")
    return raw if 0 < len(raw) <= _LONGEST_CODE else UNRECOGNISED
