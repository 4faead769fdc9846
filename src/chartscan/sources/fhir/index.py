"""The first pass: Patients, Encounters and Medications, which all other resources refer to.

It only remembers; every line is judged and counted in the second pass. Memory grows with the number of
patients and encounters, not with the size of the export.
"""

import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

from chartscan.sources.fhir.clock import Clock
from chartscan.sources.fhir.codes import CodeBook
from chartscan.sources.fhir.config import Config
from chartscan.sources.fhir.decode import LineDecoder
from chartscan.sources.fhir.lines import Block, BrokenFile, InputFile
from chartscan.sources.fhir.outcomes import Filtered, Quarantined
from chartscan.sources.fhir.references import Table, Visit, key_of, target, text_of
from chartscan.sources.fhir.resources import (
    REFERENCE_TYPES,
    Contained,
    Encounter,
    Medication,
    Meta,
)
from chartscan.sources.fhir.stays import DROPPED, facts_of
from chartscan.sources.fhir.wrapped import Records

Report = Callable[[InputFile, int], None]
_WANTED = re.compile(rb'"resourceType"\s*:\s*"(%b)"' % "|".join(REFERENCE_TYPES).encode())
_NO_TIME = -(2**63)


class Ingredients(NamedTuple):
    """Codes of a drug, or the drugs it is made of where it has none."""

    codes: tuple[str, ...]
    references: tuple[str, ...]


class Index:
    """What the first pass found. `broken` tells, by file number, why a file cannot be used."""

    def __init__(self, config: Config, codes: CodeBook):
        self.broken: dict[int, str] = {}
        self.tables = {
            "Patient": Table("Patient"),
            "Encounter": Table("Encounter", "start", "end", "kind", "expired_patient"),
            "Medication": Table("Medication"),
        }
        self._config = config
        self._codes = codes
        self._clock = Clock(config.time_zone)
        self._decoder = LineDecoder(config.line_limit_mb << 20, config.nesting_limit)
        self._medications: dict[int, Ingredients] = {}
        self._expired: defaultdict[int, list[int]] = defaultdict(list)

    def visit(self, reference: str) -> Visit | None:
        """The encounter that a reference names, None if it is not in the export or does not count."""
        kind, encounter_id = target(reference)
        table = self.tables["Encounter"]
        row = table.row(encounter_id) if kind in ("", "Encounter") else -1
        if row < 0 or table.columns["kind"][row] == DROPPED:
            return None
        start, end = (table.columns[name][row] for name in ("start", "end"))
        times = (None if t == _NO_TIME else t for t in (start, end))
        return Visit(encounter_id, table.columns["kind"][row], *times)

    def medication(self, reference: str) -> tuple[str, ...]:
        """Codes of the drug that a reference names, those of its ingredients if it has none itself."""
        found = self._medication(reference)
        if found is None:
            return ()
        parts = (self._medication(part) for part in found.references)
        return tuple(dict.fromkeys([*found.codes, *(code for part in parts if part for code in part.codes)]))

    def _medication(self, reference: str) -> Ingredients | None:
        kind, medication_id = target(reference)
        if kind not in ("", "Medication"):
            return None
        return self._medications.get(self.tables["Medication"].row(medication_id))

    def expired_ends(self, patient_id: str) -> list[int] | None:
        """Ends, as far as they are known, of the stays that this patient did not survive, earliest first;
        None where there was no such stay."""
        found = self._expired.get(key_of("Patient", patient_id)[0])
        return None if found is None else sorted(found)

    def read(self, files: list[InputFile], records: Records, report: Report) -> None:
        """Read the files; a broken one is left out as if it were not there."""
        for file in files:
            try:
                for block in records.blocks(file):
                    report(file, block.done)
                    self._block(file, block)
            except BrokenFile as err:
                self.broken[file.number] = err.reason
                return
        table = self.tables["Encounter"].columns
        for patient, end in zip(table["expired_patient"], table["end"], strict=True):
            if patient:
                self._expired[patient] += [] if end == _NO_TIME else [end]

    def _block(self, file: InputFile, block: Block) -> None:
        data = block.data
        if data is None or block.outcome or not block.may_be_referred_to:
            return
        self._decoder.begin(data, block.ends, block.line)
        begin = 0
        for number, end in enumerate(block.ends, block.line):
            raw = data[begin:end]
            begin = end + 1
            if _WANTED.search(raw):
                self._line(raw, place_of(file, number))

    def _line(self, raw: bytes, place: int) -> None:
        """A line that may be one of those wanted here."""
        try:
            resource = self._decoder.decode(memoryview(raw))
        except (Filtered, Quarantined):
            return
        if self._decoder.kind in REFERENCE_TYPES:
            self._put(resource, place, raw)

    def _put(self, resource: Any, place: int, raw: bytes) -> None:
        if not resource.id:
            return
        if isinstance(resource, Encounter):
            self._put_encounter(resource, place, raw)
            return
        table = self.tables[type(resource).__name__]
        row = table.put(resource.id, place, _version(resource.meta), raw)
        if row >= 0 and isinstance(resource, Medication):
            self._medications[row] = ingredients(resource, self._codes)

    def _put_encounter(self, encounter: Encounter, place: int, raw: bytes) -> None:
        try:
            facts = facts_of(encounter, self._clock, self._config, self._codes.words)
        except Quarantined:
            return
        table = self.tables["Encounter"]
        row = table.put(encounter.id or "", place, _version(encounter.meta), raw)
        if row < 0:
            return
        patient = target(text_of(encounter.subject))[1] if facts.expired else ""
        columns = table.columns
        columns["kind"][row] = facts.kind
        columns["start"][row] = _NO_TIME if facts.start is None else facts.start
        columns["end"][row] = _NO_TIME if facts.end is None else facts.end
        columns["expired_patient"][row] = key_of("Patient", patient)[0] if patient else 0


def read_index(
    files: list[InputFile], records: Records, config: Config, codes: CodeBook, report: Report
) -> Index:
    """The index of all files that can be read to their end."""
    broken: dict[int, str] = {}
    while True:
        index = Index(config, codes)
        index.read([f for f in files if f.number not in broken], records, report)
        if not index.broken:
            index.broken = broken
            return index
        broken |= index.broken  # start anew: nothing of a broken file may stay


def place_of(file: InputFile, line: int) -> int:
    """One number for a line of a file; later lines and files have greater ones."""
    return file.number << 40 | line


def ingredients(medication: Medication | Contained, codes: CodeBook) -> Ingredients:
    """What a Medication says it is."""
    own = codes.find(medication.code)
    if own:
        return Ingredients((own,), ())
    concepts = (codes.find(part.itemCodeableConcept) for part in medication.ingredient)
    references = (text_of(part.itemReference) for part in medication.ingredient)
    return Ingredients(tuple(filter(None, concepts)), tuple(filter(None, references)))


def _version(meta: Meta | None) -> int:
    """A number that grows with the version: versionId where it is one, else the time of the last update."""
    if meta is None:
        return -1
    if meta.versionId and meta.versionId.isascii() and meta.versionId.isdigit() and len(meta.versionId) < 16:
        return int(meta.versionId)
    try:
        return Clock().instant(meta.lastUpdated) if meta.lastUpdated else -1
    except Quarantined:
        return -1
