"""Codings -> codes such as LOINC//2345-7; no two systems share a prefix.

Free text never becomes a code unless the site asks for it. This module knows terminologies, not resources.
"""

import json
import re
import shlex
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from chartscan.errors import DataError
from chartscan.schema import DISPUTED_DIAGNOSIS, LOST_STAY
from chartscan.sources.fhir.config import Config
from chartscan.sources.fhir.identity import lenient
from chartscan.sources.fhir.remember import remember
from chartscan.sources.fhir.resources import Coding, Concept, DiagnosisConcept, Extension
from chartscan.sources.fhir.words import ABSENT, CERTAINTY, Reading, Words
from chartscan.store.accounting import How
from chartscan.vocabulary.diagnoses import (
    GROUPS,
    UNVERIFIED,
    conditions_of,
    declared_codes,
    is_code,
    is_understood,
)
from chartscan.vocabulary.systems import (
    KNOWN,
    code_of,
    icd_version,
    is_diagnosis_system,
    name_of_system,
    plain_system,
    system_name,
)

UNKNOWN_SYSTEM, NO_CODE, TEXT = "UNKNOWN-SYSTEM", "NO-CODE", "TEXT"
# First parts of codes that we make ourselves; no code system may take them.
RESERVED = {
    UNKNOWN_SYSTEM,
    NO_CODE,
    TEXT,
    "MEDS_BIRTH",
    "MEDS_DEATH",
    "GENDER",
    "RACE",
    "ETHNICITY",
    "HOSPITAL_ADMISSION",
    "HOSPITAL_DISCHARGE",
    "ICU_ADMISSION",
    "ICU_DISCHARGE",
    "ED_REGISTRATION",
    "ED_OUT",
    "ENCOUNTER_START",
    "ENCOUNTER_END",
    "HOSPITAL_OUTCOME",
    "VITAL_STATUS",
    "UNCONFIRMED",
    UNVERIFIED,
    LOST_STAY,
    "UNDATED_DIAGNOSIS",
    DISPUTED_DIAGNOSIS,
}
NO_SYSTEM, NOTHING_CODED = "no code system", "no code"
DIAGNOSIS = "Condition"  # the kind of record whose code systems are counted
_SPACE = re.compile(r"\s+")
_Key = tuple[str | None, str | None, str | None]
# Letters behind a code: its certainty and its side. The WHO's codes have none, other editions of their own.
_LETTERS = re.compile(r"(?:ICD10GM//[A-Z][0-9]{2,4}|ICD10//[A-Z][0-9]{2,4})-?[+*!†#]?(?P<letters>[A-Z]{1,3})")
_SIDES = "BLR"
_CERTAIN = CERTAINTY.rpartition("-")[2]  # how every address of the extension ends
_CONCEPT = msgspec.json.Decoder(Concept | None)


class CodeBook:
    """Names codes, remembers their descriptions, and counts in `flags` what was odd about them."""

    def __init__(self, config: Config):
        self.flags: Counter[str] = Counter()
        self.descriptions: dict[str, str] = {}
        self._shared: dict[str, set[str]] = {}  # name -> systems that would have it; "" is one of our own
        self.words = Words(config.words)
        self._systems = config.words.systems
        self._keep_text = config.keep_text_codes
        self._declared = {plain_system(url): name for url, name in self._systems.items()}
        self._declared_codes = declared_codes(config.words.diagnoses, self._systems)
        self._own_systems = frozenset(self._systems.values())
        self._names = KNOWN | self._declared
        self._owners = dict.fromkeys({*self._names.values(), *RESERVED}, "")
        self._addresses: dict[str, str] = {}  # name -> an address that has it
        self._ranks = {name: rank for rank, name in enumerate(config.coding_priority)}
        self._codes: dict[_Key, str | None] = {}
        self.met: dict[bytes, str] = {}  # code of concepts as written, but for those that are flagged

    def code(self, concept: Concept | None, kind: str) -> str:
        """Return a concept's code, by priority of systems; else NO-CODE//kind, flagged."""
        found = self.diagnosis(concept) if kind == DIAGNOSIS else self.find(concept)
        if kind == DIAGNOSIS:
            self._count_diagnosis(found)
        if found is None:
            self.flags["no_code"] += 1
            return f"{NO_CODE}//{kind}"
        return found

    def _count_diagnosis(self, code: str | None) -> None:
        """Count the code system of a diagnosis, and whether tasks can find its codes."""
        name = code.partition("//")[0] if code else ""
        address = self._addresses.get(name, name)
        if not code or name in (UNKNOWN_SYSTEM, TEXT):
            self.words.count_system(None, "unknown", NO_SYSTEM if name == UNKNOWN_SYSTEM else NOTHING_CODED)
        elif plain_system(address) in self._declared:
            self.words.count_system(name, "mapped", address)
            self._count_code(code, name)
        elif is_diagnosis_system(name):
            self.words.count_system(name, "recognised", address)
            self._count_code(code, name)
        elif code.casefold() in self._declared_codes:
            self.words.count_system(name, "mapped", address)
            self._count_code(code, name)
        else:
            self.words.count_system(None, "unknown", address)

    def _count_code(self, code: str, name: str) -> None:
        """Count whether tasks can tell which conditions a code of a known system means.

        Codes that tell by their form are counted by their system, and so are those of a system that the site
        declares as one of no condition.
        """
        value, meaning = code.partition("//")[2], self._declared_codes.get(code.casefold())
        if meaning is not None:
            self.words.count_diagnosis(meaning, "mapped", value, name, False)
        elif not is_understood(code, self._own_systems):
            self.words.count_diagnosis(None, "unknown", value, name, not is_code(code))
        elif name == "SNOMED":
            self.words.count_diagnosis(conditions_of(code), "recognised", value, name, False)
        else:
            how: How = "recognised" if is_diagnosis_system(name) else "mapped"
            self.words.count_diagnosis(None, how, f"codes of {name}", "", False)

    def raw(self, written: Raw, kind: str) -> str:
        """As `code`, for undecoded bytes: equal bytes are decoded only once."""
        text = bytes(written)
        return self.met.get(text) or self._new_raw(text, kind)

    def _new_raw(self, text: bytes, kind: str) -> str:
        flagged = self.flags.total()
        code = self.code(_CONCEPT.decode(text) if text else None, kind)
        if self.flags.total() == flagged:  # what is flagged is counted every time, so not remembered
            remember(self.met, text, code)
        return code

    def find(self, concept: Concept | None, rank: Callable[[str], Any] | None = None) -> str | None:
        """Return a concept's first usable code by `rank`; None without one."""
        if concept is None:
            return None
        if len(concept.coding) == 1:
            found = self.coding(concept.coding[0])
        else:
            found = min(filter(None, map(self.coding, concept.coding)), key=rank or self._rank, default=None)
        if found is None and self._keep_text and concept.text and concept.text.strip():
            return f"{TEXT}//{_SPACE.sub(' ', concept.text.strip().lower())}"
        return found

    def diagnosis(self, concept: Concept | None) -> str | None:
        """As `find`, for a diagnosis: a code that tells which conditions it means comes first."""
        return self.find(concept, self._rank_of_diagnosis)

    def disputed(self, concept: Concept | None, code: str) -> list[str]:
        """Return a diagnosis's code, and its other codes that contradict it.

        They differ in the conditions that they mean. `code` is UNVERIFIED where another denies a condition of
        it. Those after it are UNVERIFIED, and of a condition that `code` denies. A code of the site's own
        system denies nothing unless it is declared: many sites code every diagnosis twice.
        """
        if concept is None or len(concept.coding) < 2:
            return [code]
        own, denied, others = self._conditions(code, self._own_systems), False, []
        for other in sorted(set(filter(None, map(self.coding, concept.coding))) - {code}):
            says = self._conditions(other, frozenset())
            denied |= any(mine and of is False for mine, of in zip(own, says, strict=True))
            if any(mine is False and of for mine, of in zip(own, says, strict=True)):
                others.append(f"{UNVERIFIED}//{other}")
        self.flags["codings_of_a_diagnosis_disagree"] += denied or bool(others)
        return [f"{UNVERIFIED}//{code}" if denied else code, *others]

    def certainty(self, concept: DiagnosisConcept | None) -> Reading:
        """Return a diagnosis's certainty by the ICD-10-GM letters in extensions or codes.

        Letters that contradict each other are not understood.
        """
        if concept is None:
            return Reading("", "not said", "not said")
        letters = _letters_in(concept.extension)
        for coding in concept.coding:
            letters += [*_letters_in(coding.extension), *_letters_behind(self.coding(coding) or "")]
        readings = [self.words.certainty_of(letter) for letter in sorted(set(letters))]
        if len(readings) < 2:
            return readings[0] if readings else Reading("", "not said", "not said")
        return Reading("", "unknown", ", ".join(reading.word for reading in readings), CERTAINTY)

    def _conditions(self, code: str, systems: frozenset[str]) -> list[bool | None]:
        """For each group of diagnoses, whether a code is of it; None where that is not known.

        `systems` are those whose codes are of no group unless they are declared.
        """
        return [group.says(code, systems, self._declared_codes) for group in GROUPS.values()]

    def coding(self, coding: Coding) -> str | None:
        """The code of one coding, or None where it names none."""
        key = coding.system, coding.code, coding.display
        try:
            return self._codes[key]
        except KeyError:
            return self._new(coding, key)

    def _new(self, coding: Coding, key: _Key) -> str | None:
        value = code_of("", coding.code or "")
        url = plain_system(coding.system or "")
        if not value or url in ABSENT:
            return remember(self._codes, key, None)
        if not url:
            self.flags["code_without_system"] += 1  # counted every time, so not remembered
            return f"{UNKNOWN_SYSTEM}//{value}"
        name = self.system(coding.system or "")
        code = f"{name}//{code_of(name, value)}"
        if coding.display:
            self.describe(code, coding.display)
        return remember(self._codes, key, code)

    def describe(self, code: str, display: str) -> None:
        """Describe a code; of several texts the alphabetically first is kept."""
        text = display.strip()
        self.descriptions[code] = min(self.descriptions.get(code, text), text)

    def system(self, url: str) -> str:
        """Name of a code system: the well-known one, or the last part of its URL.

        Systems that would share a name are noted, for `refuse_shared_names` once all are known.
        """
        key = plain_system(url)
        if key in self._names:
            name = self._names[key]
            self._addresses.setdefault(name, url.strip())
            return name
        if (known := system_name(url)) is not None:
            self._names[key] = known
            self._owners[known] = ""
            return self.system(url)
        name = name_of_system(url, {})
        self._addresses.setdefault(name, url.strip())
        owner = self._owners.setdefault(name, key)
        if owner != key:
            self._shared.setdefault(name, {owner}).add(key)
        self._names[key] = name
        return name

    def refuse_shared_names(self) -> None:
        """DataError where systems would share a name, with the setting that gives each its own.

        What a code means cannot depend on which system was met first.
        """
        if not self._shared:
            return
        told, settings = [], dict(self._systems)
        for name, urls in sorted(self._shared.items()):
            owned = [url or "a name that is taken" for url in sorted(urls)]
            told.append(f"'{name}' ({', '.join(owned)})")
            for url in sorted(urls)[1:]:  # the first keeps the name; "" comes first
                settings[url] = self._own_name(url, name)
        setting = shlex.quote("systems=" + json.dumps(settings, separators=(",", ":")))
        raise DataError(
            f"{len(told)} names would each mean several code systems: {'; '.join(told)}. Give them different "
            f"names, for example with --set {setting} (two addresses of one system: give both the same name)"
        )

    def _own_name(self, url: str, name: str) -> str:
        """A name that no other system has: the host before it, and a number where that is not enough."""
        host = url.partition("//")[2].partition("/")[0]
        proposed = base = "-".join(filter(None, [_SPACE.sub("-", host), name]))
        number = 2
        while proposed in self._owners:
            proposed, number = f"{base}-{number}", number + 1
        self._owners[proposed] = url
        return proposed

    def _rank_of_diagnosis(self, code: str) -> tuple[bool, int, int]:
        """As `_rank`, after whether the code itself tells which conditions it means."""
        return not (code.casefold() in self._declared_codes or is_understood(code)), *self._rank(code)

    def _rank(self, code: str) -> tuple[int, int]:
        """Systems with a declared priority first, then any named one, then those without a system."""
        name = code.partition("//")[0]
        rank = self._ranks.get(name)
        if rank is None and (version := icd_version(name)):  # a national edition ranks with the WHO's
            rank = self._ranks.get(f"ICD{version}", self._ranks.get(f"ICD{version}CM"))
        return len(self._ranks) if rank is None else rank, name == UNKNOWN_SYSTEM


def _letters_in(raw: Raw) -> list[str]:
    """The certainties in an extension; "?" for one that cannot be read."""
    if _CERTAIN.encode() not in bytes(raw).lower():
        return []
    found = lenient(raw, list[Extension])
    named = [one for one in found if (one.url or "").strip().rstrip("/").lower().endswith(_CERTAIN)]
    letters = [(one.valueCoding.code or "").strip() if one.valueCoding else "" for one in named]
    return [letter or "?" for letter in letters] if found else ["?"]


def _letters_behind(code: str) -> list[str]:
    """The certainty that stands behind a code, such as G of I10.90G.

    Of an edition that is not named, whose letters may mean something else, it is not understood.
    """
    found = _LETTERS.fullmatch(code)
    letters = [letter for letter in found["letters"] if letter not in _SIDES] if found else []
    if code.startswith("ICD10GM//"):
        return letters
    return [f"{letter}?" for letter in letters if letter in "AVZ"]
