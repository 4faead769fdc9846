"""The first pass: Patients, Encounters and Medications, which all other resources refer to.

It only remembers; every line is judged and counted in the second pass. Memory grows with the number of
patients and encounters, not with the size of the export.
"""

import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from chartscan.sources.fhir.clock import Clock
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
    Table,
    Visit,
    key_of,
    target,
    text_of,
)
from chartscan.sources.fhir.resources import REFERENCE_TYPES, Encounter, Medication
from chartscan.sources.fhir.retractions import Deletion
from chartscan.sources.fhir.stays import DROPPED, facts_of
from chartscan.sources.fhir.wrapped import Records

Report = Callable[[InputFile, int], None]
Judge = Callable[[str, Any], None]  # raises Filtered or Quarantined where a resource gives nothing
_WANTED = re.compile(rb'"resourceType"\s*:\s*"(%b)"' % "|".join(REFERENCE_TYPES).encode())
_NO_TIME = -(2**63)
_LEFT_OUT = {TEST_PATIENT: TEST, TAGGED_DELETED: DELETED}


class Index:
    """What the first pass found. `broken` tells, by file number, why a file cannot be used."""

    def __init__(self, config: Config, codes: CodeBook):
        self.broken: dict[int, str] = {}
        self.deletions: list[Deletion] = []
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
        if row < 0 or table.columns["kind"][row] == DROPPED or table.columns["left_out"][row]:
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

    def read(self, files: list[InputFile], records: Records, report: Report, judge: Judge) -> None:
        """Read the files; a broken one is left out as if it were not there. Lines that `judge` refuses do not
        stand for their id."""
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
        table = self.tables["Encounter"].columns
        columns = (table[name] for name in ("expired_patient", "end", "left_out"))
        for patient, end, left_out in zip(*columns, strict=True):
            if patient and not left_out:
                self._expired[patient] += [] if end == _NO_TIME else [end]

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
            self._put(self._decoder.kind, resource, place, raw, judge)

    def _put(self, kind: str, resource: Any, place: int, raw: bytes, judge: Judge) -> None:
        try:
            judge(kind, resource)
            left_out = KEPT
        except (Quarantined, *FAILURES):
            return
        except Filtered as err:
            left_out = _LEFT_OUT.get(err.reason, LEFT_OUT)
        row = self.tables[kind].put(resource.id, place, resource.meta, raw, left_out)
        if row < 0:
            return
        if isinstance(resource, Encounter):
            self._fill_encounter(row, resource)
        if isinstance(resource, Medication):
            self._medications[row] = Ingredients((), ()) if left_out else ingredients(resource, self._codes)

    def _fill_encounter(self, row: int, encounter: Encounter) -> None:
        facts = facts_of(encounter, self._clock, self._config, self._codes.words)
        patient = target(text_of(encounter.subject))[1] if facts.expired else ""
        columns = self.tables["Encounter"].columns
        columns["kind"][row] = facts.kind
        columns["start"][row] = _NO_TIME if facts.start is None else facts.start
        columns["end"][row] = _NO_TIME if facts.end is None else facts.end
        columns["expired_patient"][row] = key_of("Patient", patient)[0] if patient else 0


def read_index(
    files: list[InputFile],
    records: Records,
    config: Config,
    codes: CodeBook,
    report: Report,
    judge: Judge,
) -> Index:
    """The index of all files that can be read to their end, and of the lines in them that can be used."""
    broken: dict[int, str] = {}
    while True:
        index = Index(config, codes)
        index.read([f for f in files if f.number not in broken], records, report, judge)
        if not index.broken:
            index.broken = broken
            return index
        broken |= index.broken  # start anew: nothing of a broken file may stay


def place_of(file: InputFile, line: int) -> int:
    """One number for a line of a file; later lines and files have greater ones."""
    return file.number << 40 | line
