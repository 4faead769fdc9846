"""The first pass: Patients, Encounters and Medications, which all other resources refer to.

It only remembers; every line is judged and counted in the second pass. Memory grows with the number of
patients and encounters, not with the size of the export.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from chartscan.sources.fhir.clock import Clock
from chartscan.sources.fhir.codes import CodeBook
from chartscan.sources.fhir.config import Config
from chartscan.sources.fhir.drugs import Ingredients, ingredients, resolve
from chartscan.sources.fhir.lines import BOM, BrokenFile, InputFile, blocks, refuse_other_formats
from chartscan.sources.fhir.outcomes import Quarantined
from chartscan.sources.fhir.references import Table, Visit, key_of, target, text_of
from chartscan.sources.fhir.resources import (
    DECODERS,
    REFERENCE_TYPES,
    Encounter,
    Medication,
    Meta,
)
from chartscan.sources.fhir.stays import DROPPED, facts_of

Report = Callable[[InputFile, int], None]
_WANTED = re.compile(rb'"resourceType"\s*:\s*"(%b)"' % "|".join(REFERENCE_TYPES).encode())
_NO_TIME = -(2**63)


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
        return resolve(reference, self._medication).codes

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

    def read(self, files: list[InputFile], report: Report) -> None:
        """Read the files; a broken one is left out as if it were not there."""
        for file in files:
            try:
                for block in blocks(file, self._config.line_limit_mb << 20):
                    report(file, block.done)
                    if block.data is not None:
                        self._block(file, block.data, block.line)
            except BrokenFile as err:
                self.broken[file.number] = err.reason
                return
        table = self.tables["Encounter"].columns
        for patient, end in zip(table["expired_patient"], table["end"], strict=True):
            if patient:
                self._expired[patient] += [] if end == _NO_TIME else [end]

    def _block(self, file: InputFile, data: bytes, line: int) -> None:
        if line == 1:
            refuse_other_formats(file, data)
        if not _WANTED.search(data):
            return
        for number, raw in enumerate(data.split(b"\n"), line):
            for resource in _decoded(raw):
                self._put(resource, place_of(file, number), raw)

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


def read_index(files: list[InputFile], config: Config, codes: CodeBook, report: Report) -> Index:
    """The index of all files that can be read to their end."""
    broken: dict[int, str] = {}
    while True:
        index = Index(config, codes)
        index.read([f for f in files if f.number not in broken], report)
        if not index.broken:
            index.broken = broken
            return index
        broken |= index.broken  # start anew: nothing of a broken file may stay


def place_of(file: InputFile, line: int) -> int:
    """One number for a line of a file; later lines and files have greater ones."""
    return file.number << 40 | line


def _decoded(raw: bytes) -> Iterator[Any]:
    """The line as the resource it is, if it is one of those wanted here."""
    for kind in dict.fromkeys(_WANTED.findall(raw)):
        try:
            yield DECODERS[kind.decode()].decode(raw.removeprefix(BOM))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue


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
