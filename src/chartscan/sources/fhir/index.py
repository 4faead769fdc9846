"""The first pass: Patients, Encounters and Medications, which all other resources refer to.

It only remembers; every line is judged and counted in the second pass. Memory grows with the number of
patients and encounters, not with the size of the export.
"""

import re
from collections.abc import Callable
from typing import Any

from chartscan.sources.fhir.codes import CodeBook
from chartscan.sources.fhir.config import Config
from chartscan.sources.fhir.decode import FAILURES, LineDecoder
from chartscan.sources.fhir.drugs import Ingredients, ingredients, resolve
from chartscan.sources.fhir.lines import Block, BrokenFile, InputFile
from chartscan.sources.fhir.outcomes import TAGGED_DELETED, TEST_PATIENT, Filtered, Quarantined
from chartscan.sources.fhir.references import (
    DELETED,
    KEPT,
    LEFT_OUT,
    TEST,
    Deletion,
    Table,
    Visit,
    stamp_of,
    target,
)
from chartscan.sources.fhir.register import Register
from chartscan.sources.fhir.resources import REFERENCE_TYPES, Encounter, Medication, Patient
from chartscan.sources.fhir.wrapped import Records

Report = Callable[[InputFile, int], None]
Judge = Callable[[str, Any], None]  # raises Filtered or Quarantined where a resource gives nothing
_WANTED = re.compile(rb'"resourceType"\s*:\s*"(%b)"' % "|".join(REFERENCE_TYPES).encode())
NOWHERE = -1  # the place of events that no line gave alone
_LEFT_OUT = {TEST_PATIENT: TEST, TAGGED_DELETED: DELETED}


class Index:
    """What the first pass found; `broken` says why a file is unusable."""

    def __init__(self, config: Config, codes: CodeBook, export: int | None = None):
        self.broken: dict[int, str] = {}
        self.deletions: list[Deletion] = []
        self.register = Register(config, codes.words, export)
        self.tables = {
            "Patient": self.register.patients,
            "Encounter": self.register.encounters,
            "Medication": Table("Medication"),
        }
        self._config = config
        self._codes = codes
        self._decoder = LineDecoder(config.line_limit_mb << 20, config.nesting_limit)
        self._medications: dict[int, Ingredients] = {}

    def visit(self, reference: str) -> Visit | None:
        """Return a reference's encounter; None if absent or not counted."""
        kind, encounter_id = target(reference)
        return self.register.visit(encounter_id) if kind in ("", "Encounter") else None

    def medication(self, reference: str) -> tuple[str, ...]:
        """Return a referenced drug's codes, or those of its ingredients."""
        return resolve(reference, self._medication).codes

    def _medication(self, reference: str) -> Ingredients | None:
        kind, medication_id = target(reference)
        if kind not in ("", "Medication"):
            return None
        return self._medications.get(self.tables["Medication"].row(medication_id))

    def read(self, files: list[InputFile], records: Records, report: Report, judge: Judge) -> None:
        """Read the files; broken ones, and lines that `judge` refuses, do not count."""
        for file in files:
            try:
                for block in records.blocks(file):
                    report(file, block.done)
                    self._block(file, block, judge)
            except BrokenFile as err:
                self.broken[file.number] = err.reason
                return
        self.deletions = [one for file in files for one in records.deletions.get(file.number, [])]
        for deletion in self.deletions:
            if deletion.kind in self.tables:
                self.tables[deletion.kind].delete(deletion.id, deletion.time)
        self.register.finish()

    def _block(self, file: InputFile, block: Block, judge: Judge) -> None:
        data = block.data
        if data is None or block.outcome or not block.may_be_referred_to:
            return
        self._decoder.begin(data, block.ends, block.line)
        begin = 0
        for number, end in enumerate(block.ends, block.line):
            raw = data[begin:end]
            begin = end + 1
            if _WANTED.search(raw):
                self._line(raw, place_of(file, number), judge)

    def _line(self, raw: bytes, place: int, judge: Judge) -> None:
        """A line that may be one of those wanted here."""
        try:
            resource = self._decoder.decode(memoryview(raw))
        except (Filtered, Quarantined):
            return
        if self._decoder.kind in self.tables:
            self._put(self._decoder.kind, resource, place, judge)

    def _put(self, kind: str, resource: Any, place: int, judge: Judge) -> None:
        try:
            judge(kind, resource)
            left_out = KEPT
        except (Quarantined, *FAILURES):
            return
        except Filtered as err:
            left_out = _LEFT_OUT.get(err.reason, LEFT_OUT)
        if isinstance(resource, Patient):
            self.register.check_patient(resource, place, stamp_of(resource.meta))
        elif isinstance(resource, Encounter):
            self.register.check_encounter(resource, stamp_of(resource.meta))
        row = self.tables[kind].put(resource, place, left_out)
        if row < 0:
            return
        if isinstance(resource, Patient):
            self.register.fill_patient(row, resource)
        elif isinstance(resource, Encounter):
            self.register.fill_encounter(row, resource, place)
        elif isinstance(resource, Medication):
            self._medications[row] = Ingredients((), ()) if left_out else ingredients(resource, self._codes)


def read_index(
    files: list[InputFile],
    records: Records,
    config: Config,
    codes: CodeBook,
    report: Report,
    judge: Judge,
    export: int | None = None,
) -> Index:
    """Return the index of all readable files and their usable lines.

    `export` is the time of the export in microseconds, if known.
    """
    broken: dict[int, str] = {}
    while True:
        index = Index(config, codes, export)
        index.read([f for f in files if f.number not in broken], records, report, judge)
        if not index.broken:
            index.broken = broken
            return index
        broken |= index.broken  # start anew: nothing of a broken file may stay


def place_of(file: InputFile, line: int) -> int:
    """One number for a line of a file; later lines and files have greater ones."""
    return file.number << 40 | line
