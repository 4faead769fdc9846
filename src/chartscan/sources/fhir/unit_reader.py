"""Unit and code of a Quantity -> the unit of an event, and an account of how each was read.

What people read (`unit`) and what programs read (`code`) may disagree; then neither is believed: the event
keeps both, as a unit of its own, and is counted. Which spellings mean one unit, `vocabulary.units` knows.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from chartscan.sources.fhir.remember import LIMIT
from chartscan.store.recognition import How
from chartscan.vocabulary.units import LONGEST, canonical_unit, same_unit

UNIFIED, CONFLICT, UNKNOWN = "unit_unified", "unit_conflict", "unit_unknown"
_Key = tuple[str | None, str | None]  # unit and code of a Quantity


class Reading(NamedTuple):
    """The unit of events, and how it was found: recognised, mapped, unknown or not said."""

    unit: str | None
    how: How
    flag: str | None = None


class Counted:
    """A unit as met in the export; `records` grows with every use."""

    __slots__ = ("reading", "records", "unit")

    def __init__(self, reading: Reading):
        self.reading = reading
        self.unit = reading.unit
        self.records = 0


class UnitReader:
    """Reads units; `words` are those of the site (`unit`, or `unit|code`), which go before all others."""

    def __init__(self, words: Mapping[str, str]):
        self._words = {_folded(word): canonical_unit(unit) or unit for word, unit in words.items()}
        self.met: dict[_Key, Counted] = {}  # by unit and code as written; cleared when full, never replaced
        self._account: Counter[tuple[str, Reading]] = Counter()

    def find(self, key: _Key) -> Counted:
        """The unit that (unit, code) stand for; add to its `records` when it is used."""
        found = self.met.get(key)
        if found is not None:
            return found
        if len(self.met) >= LIMIT:
            self._settle()
        found = self.met[key] = Counted(self._read(*key))
        return found

    def _read(self, unit: str | None, code: str | None) -> Reading:
        unit, code = _plain(unit), _plain(code)
        if not unit and not code:
            return Reading(None, "not said")
        if not unit or not code or _folded(unit) == _folded(code):
            return self._single(unit or code)
        if (mapped := self._words.get(f"{unit}|{code}")) is not None:  # a conflict that the site resolved
            return Reading(mapped, "mapped", UNIFIED)
        return self._pair(unit, code)

    def _single(self, word: str) -> Reading:
        meaning, how = self._meaning(word)
        if meaning is None:
            return Reading(word, how, UNKNOWN)
        return Reading(meaning, how, UNIFIED if meaning != word else None)

    def _pair(self, unit: str, code: str) -> Reading:
        """Where unit and code are written differently."""
        said, how = self._meaning(unit)
        coded, how_coded = self._meaning(code)
        if said is not None and coded is not None:
            both = same_unit(said, coded)
            if both is not None:
                how = "mapped" if "mapped" in (how, how_coded) else "recognised"
                return Reading(both, how, UNIFIED if both != unit else None)
            return Reading(f"{said}|{coded}", "unknown", CONFLICT)
        if coded is not None:  # words that are not understood, with a code that is
            return Reading(coded, how_coded, UNIFIED)
        if said is not None and not code.isdigit():  # it may say something else
            return Reading(f"{said}|{code}", "unknown", CONFLICT)
        if said is not None:  # a number names a unit in SNOMED or at the site, so the words are all there is
            return Reading(said, how, UNIFIED if said != unit else None)
        return Reading(unit, "unknown", UNKNOWN)

    def _meaning(self, word: str) -> tuple[str | None, How]:
        mapped = self._words.get(_folded(word))
        if mapped is not None:
            return mapped, "mapped"
        meaning = canonical_unit(word)
        return meaning, "unknown" if meaning is None else "recognised"

    def flags(self) -> Counter[str]:
        """Records whose unit was unified, contradicts itself or is unknown."""
        self._settle()
        found: Counter[str] = Counter()
        for (_, reading), records in self._account.items():
            if reading.flag:
                found[reading.flag] += records
        return found

    def account(self) -> Iterator[tuple[str, str | None, How, int]]:
        """(word, unit, how, records) of every spelling that was met."""
        self._settle()
        for (word, reading), records in self._account.items():
            yield word, reading.unit if reading.how != "unknown" else None, reading.how, records

    def _settle(self) -> None:
        """Add what was counted to the account, and start anew."""
        for (unit, code), counted in self.met.items():
            unit, code = _plain(unit), _plain(code)
            word = f"{unit}|{code}" if unit and code and unit != code else unit or code
            if counted.records:
                self._account[word, counted.reading] += counted.records
        self.met.clear()


def _plain(text: str | None) -> str:
    """A unit as written, without what cannot be seen; a narrative is cut."""
    return " ".join((text or "").replace("\x00", "").split())[:LONGEST]


def _folded(word: str) -> str:
    return " ".join(word.split())
