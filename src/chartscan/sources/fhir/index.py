"""The first pass: Patients, Encounters and Medications, which all other resources refer to.

It only remembers; every line is judged and counted in the second pass. Memory grows with the number of
patients and encounters, not with the size of the export.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec

from chartscan.sources.fhir.clock import Clock
from chartscan.sources.fhir.codes import CodeBook
from chartscan.sources.fhir.config import Config
from chartscan.sources.fhir.lines import BOM, BrokenFile, InputFile, blocks, refuse_other_formats
from chartscan.sources.fhir.outcomes import Quarantined
from chartscan.sources.fhir.references import Table, Visit, target, text_of
from chartscan.sources.fhir.register import Register
from chartscan.sources.fhir.resources import (
    DECODERS,
    REFERENCE_TYPES,
    Contained,
    Encounter,
    Medication,
    Meta,
    Patient,
)

Report = Callable[[InputFile, int], None]
_WANTED = re.compile(rb'"resourceType"\s*:\s*"(%b)"' % "|".join(REFERENCE_TYPES).encode())


class Ingredients(NamedTuple):
    """Codes of a drug, or the drugs it is made of where it has none."""

    codes: tuple[str, ...]
    references: tuple[str, ...]


class Index:
    """What the first pass found. `broken` tells, by file number, why a file cannot be used."""

    def __init__(self, config: Config, codes: CodeBook, export: int | None = None):
        self.broken: dict[int, str] = {}
        self.register = Register(config, codes.words, export)
        self.tables = {
            "Patient": self.register.patients,
            "Encounter": self.register.encounters,
            "Medication": Table("Medication"),
        }
        self._config = config
        self._codes = codes
        self._medications: dict[int, Ingredients] = {}

    def visit(self, reference: str) -> Visit | None:
        """The encounter that a reference names, None if it is not in the export or does not count."""
        kind, encounter_id = target(reference)
        return self.register.visit(encounter_id) if kind in ("", "Encounter") else None

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
        self.register.finish()

    def _block(self, file: InputFile, data: bytes, line: int) -> None:
        if line == 1:
            refuse_other_formats(file, data)
        if not _WANTED.search(data):
            return
        for number, raw in enumerate(data.split(b"\n"), line):
            for resource in _decoded(raw):
                self._put(resource, place_of(file, number), raw)

    def _put(self, resource: Any, place: int, raw: bytes) -> None:
        if not resource.id or is_modified(resource, self._config):
            return
        version = _version(resource.meta)
        try:
            if isinstance(resource, Patient):
                self.register.check_patient(resource, place, version)
            elif isinstance(resource, Encounter):
                self.register.check_encounter(resource, version)
        except Quarantined:
            return
        row = self.tables[type(resource).__name__].put(resource.id, place, version, raw)
        if row < 0:
            return
        if isinstance(resource, Patient):
            self.register.fill_patient(row, resource)
        elif isinstance(resource, Encounter):
            self.register.fill_encounter(row, resource, place)
        else:
            self._medications[row] = ingredients(resource, self._codes)


def read_index(
    files: list[InputFile], config: Config, codes: CodeBook, report: Report, export: int | None = None
) -> Index:
    """The index of all files that can be read to their end; `export` is the time of the export, if known."""
    broken: dict[int, str] = {}
    while True:
        index = Index(config, codes, export)
        index.read([f for f in files if f.number not in broken], report)
        if not index.broken:
            index.broken = broken
            return index
        broken |= index.broken  # start anew: nothing of a broken file may stay


def place_of(file: InputFile, line: int) -> int:
    """One number for a line of a file; later lines and files have greater ones."""
    return file.number << 40 | line


def is_modified(resource: Any, config: Config) -> bool:
    """Whether a modifier extension that is not known may turn the meaning of a record around."""
    if not resource.modifierExtension:
        return False
    urls = (extension.url for extension in resource.modifierExtension)
    return any(url not in config.harmless_modifiers for url in urls)


def ingredients(medication: Medication | Contained, codes: CodeBook) -> Ingredients:
    """What a Medication says it is."""
    own = codes.find(medication.code)
    if own:
        return Ingredients((own,), ())
    concepts = (codes.find(part.itemCodeableConcept) for part in medication.ingredient)
    references = (text_of(part.itemReference) for part in medication.ingredient)
    return Ingredients(tuple(filter(None, concepts)), tuple(filter(None, references)))


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
