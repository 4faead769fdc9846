"""The second pass: every line becomes events, or is counted with the reason why not."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from chartscan.errors import DataError
from chartscan.sources.fhir.clinical import map_allergy, map_condition, map_immunization, map_procedure
from chartscan.sources.fhir.codes import CodeBook
from chartscan.sources.fhir.config import Config
from chartscan.sources.fhir.context import Context, Person
from chartscan.sources.fhir.decode import FAILURES, LineDecoder, reason_of
from chartscan.sources.fhir.encounters import map_encounter
from chartscan.sources.fhir.events import EventBuffer
from chartscan.sources.fhir.index import Index, Report, is_modified, place_of
from chartscan.sources.fhir.lines import Block, BrokenFile, InputFile, LineCount, blocks
from chartscan.sources.fhir.medications import (
    map_administration,
    map_dispense,
    map_medication,
    map_request,
    map_statement,
)
from chartscan.sources.fhir.observations import map_observation
from chartscan.sources.fhir.outcomes import BAD_GZIP, MODIFIED, NO_ID, OVERSIZE, Filtered, Quarantined
from chartscan.sources.fhir.patients import map_patient
from chartscan.store.accounting import UNROUTED
from chartscan.store.subjects import SUBJECTS
from chartscan.store.writer import DatasetWriter

MAPPERS: dict[str, Callable[[Any, Context], None]] = {
    "Patient": map_patient,
    "Encounter": map_encounter,
    "Medication": map_medication,
    "Observation": map_observation,
    "Condition": map_condition,
    "Procedure": map_procedure,
    "MedicationRequest": map_request,
    "MedicationAdministration": map_administration,
    "MedicationDispense": map_dispense,
    "MedicationStatement": map_statement,
    "Immunization": map_immunization,
    "AllergyIntolerance": map_allergy,
}


class _Duplicate(Exception):
    """The line repeats a resource of which another line is the valid version."""


class Reader:
    """Reads files into a writer, one after the other; `finish` hands over what is left."""

    def __init__(self, config: Config, index: Index, codes: CodeBook, writer: DatasetWriter):
        self._config = config
        self._index = index
        self._writer = writer
        self._events = EventBuffer(writer.write, config.batch_rows)
        self._context = Context(config, index, codes, self._events)
        self._decoder = LineDecoder(config.line_limit_mb << 20, config.nesting_limit)
        self._patients: dict[str, Person] = {}
        self._lines: dict[str, int] = {}  # of every file, by its bytes; of a broken archive nobody knows

    def read(self, file: InputFile, report: Report) -> None:
        """All lines of one file."""
        broken = self._index.broken.get(file.number)
        line, offset, count = 1, 0, LineCount()
        try:
            for block in blocks(file, self._config.line_limit_mb << 20, count):
                self._block(file, block, broken)
                self._events.flush_if_full()
                report(file, block.done)
                line, offset = block.line + len(block.ends), block.offset
        except BrokenFile as err:
            if err.reason == BAD_GZIP:  # what could not be unpacked counts as one line
                self._decoder.kind = UNROUTED
                self._count(Quarantined(err.reason), file, (line, offset), b"")
                return
        self._lines[file.name] = count.lines

    def finish(self) -> None:
        """Hand over what is left: events, descriptions, subjects and flags. DataError where a line was lost,
        or where code systems share a name."""
        self._writer.accounting.recognition.merge(self._context.words.settle())
        self._refuse_lost_lines()
        self._context.codes.refuse_shared_names()
        self._context.refuse_two_servers()
        self._events.flush()
        self._hand_over_patients(self._context.placeholders)
        context, accounting = self._context, self._writer.accounting
        for code, description in context.codes.descriptions.items():
            self._writer.code(code, description)
        for name, count in (context.flags + context.codes.flags + context.values.flags).items():
            accounting.flagged(name, count)
        for name, table in self._index.tables.items():
            if table.conflicts:
                accounting.flagged(f"{name.lower()}_versions_differ", table.conflicts)
        for name, count in self._index.register.flags.items():
            if count:
                accounting.flagged(name, count)
        if context.clock.naive:
            accounting.flagged("time_without_offset", context.clock.naive)
        if context.clock.mended:
            accounting.normalised("time_form_mended", context.clock.mended)

    def _block(self, file: InputFile, block: Block, broken: str | None) -> None:
        if broken or block.data is None:
            self._refuse(file, block, broken or OVERSIZE)
            return
        decoder, accepted = self._decoder, []
        decoder.begin(block.data, block.ends)
        view, begin = memoryview(block.data), 0
        for number, end in enumerate(block.ends, block.line):
            line, rows = view[begin:end], len(self._events.rows)
            try:
                self._map(decoder.decode(line), decoder.kind, file, number)
                accepted.append(decoder.kind)
            except (Filtered, Quarantined, _Duplicate, *FAILURES) as err:
                self._events.drop_after(rows)
                self._count(err, file, (number, block.offset + begin), bytes(line))
            begin = end + 1
        self._count_accepted(file, Counter(accepted))
        if b"\r" in block.data and (crlf := block.data.count(b"\r\n")):
            self._writer.accounting.normalised("crlf_line_end", crlf)
        self._hand_over_patients(self._patients)
        self._patients = {}

    def _refuse(self, file: InputFile, block: Block, reason: str) -> None:
        """All lines of a broken file, or the one that is too long to keep."""
        self._decoder.kind = UNROUTED
        begin = 0
        for number, end in enumerate(block.ends or [0], block.line):
            raw = (block.data or b"")[begin:end]
            self._count(Quarantined(reason), file, (number, block.offset + begin), raw)
            begin = end + 1

    def _map(self, resource: Any, kind: str, file: InputFile, line: int) -> None:
        if not resource.id:
            raise Quarantined(NO_ID)
        if kind in self._index.tables:
            self._refuse_other_versions(kind, resource.id, place_of(file, line))
        if resource.modifierExtension and is_modified(resource, self._config):
            raise Quarantined(MODIFIED)
        MAPPERS[kind](resource, self._context)
        if kind == "Patient":
            self._patients[resource.id] = self._context.person

    def _refuse_other_versions(self, kind: str, resource_id: str, place: int) -> None:
        table = self._index.tables[kind]
        row = table.row(resource_id)
        if row >= 0 and not table.is_valid(row, place):
            raise _Duplicate

    def _count(self, outcome: Exception, file: InputFile, place: tuple[int, int], raw: bytes) -> None:
        """One line that gave nothing, in the accounting and, if it is bad, in quarantine."""
        kind, accounting = self._decoder.kind, self._writer.accounting
        accounting.line(file.name, kind)
        if isinstance(outcome, FAILURES):  # in a part that the mapper decodes itself
            outcome = Quarantined(reason_of(outcome, raw))
        if isinstance(outcome, Filtered):
            accounting.filter(file.name, kind, outcome.reason)
        elif isinstance(outcome, Quarantined):
            accounting.quarantine(file.name, kind, outcome.reason)
            self._writer.quarantine.put(outcome.reason, file.name, *place, raw)
        else:
            accounting.merge_duplicate(file.name, kind)

    def _refuse_lost_lines(self) -> None:
        """Every line of a file must have one outcome: those counted here against those in its bytes."""
        found: Counter[str] = Counter()
        for row in self._writer.accounting.table():
            reasons = [*row["filtered"].values(), *row["quarantined"].values()]
            found[row["file"]] += row["accepted"] + row["merged_duplicates"] + sum(reasons)
        wrong = [
            f"{name}: {lines} lines in the file, {found[name]} accounted for"
            for name, lines in self._lines.items()
            if lines != found[name]
        ]
        if wrong:
            raise DataError(
                f"Lines were lost or counted twice; nothing is published. {'; '.join(wrong)}. "
                "If the files were not changed meanwhile, this is a fault of chartscan: please report it."
            )

    def _count_accepted(self, file: InputFile, accepted: Counter[str]) -> None:
        for kind, lines in accepted.items():
            self._writer.accounting.line(file.name, kind, lines)
            self._writer.accounting.accept(file.name, kind, lines)

    def _hand_over_patients(self, patients: dict[str, Person]) -> None:
        if patients:
            last = [person.patient_id for person in patients.values()]
            columns = {
                "patient_id": list(patients),
                "subject_id": [person.subject for person in patients.values()],
                "merged_into": [None if own == end else end for own, end in zip(patients, last, strict=True)],
            }
            self._writer.subjects(pa.table(columns, schema=SUBJECTS))
