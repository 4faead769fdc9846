"""The second pass: every line becomes events, or is counted with the reason why not."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from chartscan.errors import DataError
from chartscan.sources.fhir.codes import CodeBook
from chartscan.sources.fhir.config import Config
from chartscan.sources.fhir.context import Context, Person
from chartscan.sources.fhir.decode import FAILURES, LineDecoder, reason_of
from chartscan.sources.fhir.events import EventBuffer
from chartscan.sources.fhir.identity import refuse_two_servers
from chartscan.sources.fhir.index import Index, Judge, Report, place_of
from chartscan.sources.fhir.lines import Block, BrokenFile, InputFile, LineCount
from chartscan.sources.fhir.mappers import map_resource, refuse_marked
from chartscan.sources.fhir.observations import read_plain
from chartscan.sources.fhir.outcomes import DELETED_PATIENT, NO_ID, Duplicate, Filtered, Quarantined
from chartscan.sources.fhir.references import DELETED
from chartscan.sources.fhir.second_look import leave_doubts, verdict_on
from chartscan.sources.fhir.traces import leave_trace, leave_traces_of_line
from chartscan.sources.fhir.versions import GONE, MERGED, REASONS, Repeats, Verdict, by_file, kind_name
from chartscan.sources.fhir.wrapped import Records
from chartscan.store.accounting import UNROUTED
from chartscan.store.subjects import SUBJECTS
from chartscan.store.writer import DatasetWriter

UNDECIDED = "_versions_undecided"  # how such flags end
_LINES_AT_ONCE = 32  # decoded Observations that the processor's cache holds beside all else


class Reader:
    """Reads files into a writer, one after the other; `finish` hands over what is left."""

    def __init__(
        self,
        config: Config,
        records: Records,
        index: Index,
        codes: CodeBook,
        writer: DatasetWriter,
        judge: Judge,
    ):
        self._config = config
        self._records = records
        self._index = index
        self._writer = writer
        self._judge = judge
        self._repeats = Repeats(writer.spool_folder / "ids")
        self._events = EventBuffer(writer.write, config.batch_rows)
        self._context = Context(config, index, codes, self._events)
        self._decoder = LineDecoder(config.line_limit_mb << 20, config.nesting_limit)
        self._patients: dict[str, Person] = {}
        self._lines: dict[str, int] = {}  # of every file, by its bytes; of a broken archive it is unknown
        self._files: dict[int, InputFile] = {}  # by their numbers

    def read(self, file: InputFile, report: Report) -> None:
        """All lines of one file."""
        self._files[file.number] = file
        broken = self._index.broken.get(file.number)
        place, count = (1, 0), LineCount()
        try:
            for block in self._records.blocks(file, count):
                self._block(file, block, broken)
                self._events.flush_if_full()
                report(file, block.done)
                place = block.place(block.line + len(block.ends), len(block.data or b""))
        except BrokenFile as err:
            if not err.unpacked:  # what could not be unpacked counts as one line
                self._decoder.kind = UNROUTED
                self._count(Quarantined(err.reason), file, place, b"")
                return
        self._lines[file.name] = count.lines + count.more

    def finish(self, report: Report) -> None:
        """Choose between versions and pass on events, descriptions, subjects and flags.

        For that some lines are read again. DataError where a line was lost, or where code systems share a
        name.
        """
        self._writer.accounting.recognition.merge(self._context.words.settle())
        self._refuse_lost_lines()
        self._context.codes.refuse_shared_names()
        self._context.refuse_two_servers()
        self._events.flush()
        verdict = self._verdict(report)
        self._doubt(verdict)
        self._apply(verdict)
        self._hand_over_patients(self._context.placeholders)
        context, accounting = self._context, self._writer.accounting
        for code, description in context.codes.descriptions.items():
            self._writer.code(code, description)
        context.values.finish(accounting)
        flags = context.flags + context.codes.flags + context.values.flags
        for name, count in flags.items():
            accounting.flagged(name, count)
        for name, table in self._index.tables.items():
            if table.conflicts:
                accounting.flagged(f"{name.lower()}_versions_differ", table.conflicts)
            if table.undecided:
                accounting.flagged(f"{name.lower()}{UNDECIDED}", table.undecided)
        self._warn_of_undecided(verdict)
        for name, count in self._index.register.flags.items():
            if count:
                accounting.flagged(name, count)
        if self._decoder.nul_stripped:
            accounting.normalised("nul_stripped", self._decoder.nul_stripped)
        if context.clock.naive:
            accounting.flagged("time_without_offset", context.clock.naive)
        if context.clock.mended:
            accounting.normalised("time_form_mended", context.clock.mended)

    def _block(self, file: InputFile, block: Block, broken: str | None) -> None:
        if broken or block.data is None or block.outcome:
            self._refuse(file, block, (UNROUTED, Quarantined(broken)) if broken else block.outcome)
            return
        decoder, accepted = self._decoder, Counter[str]()
        decoder.begin(block.data, block.ends, block.line)
        view, first, ends = memoryview(block.data), place_of(file, block.line), block.ends
        for start in range(0, len(ends), _LINES_AT_ONCE):
            stop = min(start + _LINES_AT_ONCE, len(ends))
            rest: Iterable[int] = range(start, stop)
            lines = view[ends[start - 1] + 1 if start else 0 : ends[stop - 1] + 1]
            if (observations := decoder.observations(lines, stop - start)) is not None:
                left = read_plain(observations, first + start, self._context, self._repeats)
                accepted[decoder.kind] += len(observations) - len(left)
                rest = [start + index for index in left]
            for index in rest:
                begin = ends[index - 1] + 1 if index else 0
                line, rows, resource = view[begin : ends[index]], len(self._events.rows), None
                try:
                    resource = decoder.decode(line)
                    self._map(resource, decoder.kind, first + index)
                    accepted[decoder.kind] += 1
                except (Filtered, Quarantined, Duplicate, *FAILURES) as err:
                    self._events.drop_after(rows)
                    if resource is None:
                        leave_traces_of_line(line, decoder.kind, err, first + index, self._context)
                    else:
                        leave_trace(resource, err, first + index, self._context)
                    self._count(err, file, block.place(block.line + index, begin), bytes(line))
        self._repeats.gather()
        self._count_accepted(file, +accepted)
        if b"\r" in block.data and (crlf := block.data.count(b"\r\n")):
            self._writer.accounting.normalised("crlf_line_end", crlf)
        self._hand_over_patients(self._patients)
        self._patients = {}

    def _refuse(self, file: InputFile, block: Block, outcome: tuple[str, Exception] | None) -> None:
        """Counts a line without its text: of a broken file, too long to keep, or a wrapper of others."""
        assert outcome is not None
        self._decoder.kind, why = outcome
        begin = 0
        for number, end in enumerate(block.ends, block.line):
            raw = (block.data or b"")[begin:end]
            self._count(why, file, block.place(number, begin), raw)
            begin = end + 1

    def _map(self, resource: Any, kind: str, place: int) -> None:
        self._events.place = place
        if not resource.id:
            raise Quarantined(NO_ID)
        if kind in self._index.tables:
            self._map_indexed(resource, kind, place)
            return
        try:
            map_resource(kind, resource, self._context)
        except Filtered:
            self._repeats.note(kind, (resource.id,), (place,))
            raise
        self._repeats.note(kind, (resource.id,), (place,))

    def _map_indexed(self, resource: Any, kind: str, place: int) -> None:
        """A line of a type that the index remembers, and of which it knows the valid version."""
        table = self._index.tables[kind]
        row = table.row(resource.id)
        if row < 0 or not table.is_valid(row, place):
            self._judge(kind, resource)  # what cannot be used is no duplicate
        if row >= 0 and not table.is_valid(row, place):
            raise Duplicate
        refuse_marked(kind, resource.meta)
        if table.left_out(resource.id) == DELETED:
            raise Filtered(DELETED_PATIENT if kind == "Patient" else REASONS[GONE])
        map_resource(kind, resource, self._context)
        if kind == "Patient":
            self._patients[resource.id] = self._context.person

    def _warn_of_undecided(self, verdict: Verdict) -> None:
        """Tell of ids that the order of lines alone decides: their events may be wrong."""
        counts = {name: table.undecided for name, table in self._index.tables.items() if table.undecided}
        for flag, count in verdict.flags.items():
            if flag.endswith(UNDECIDED):
                counts[flag.removesuffix(UNDECIDED)] = count
        if counts:
            found = ", ".join(f"{count} of type {name.lower()}" for name, count in counts.items())
            self._writer.accounting.warn(
                f"Different lines have one id, and no version or time tells which is newer: {found}. "
                "The last line counts, in the order of file names, and labels that depend on which of them "
                "is valid are left out. Export again with meta.versionId or meta.lastUpdated."
            )

    def _verdict(self, report: Report) -> Verdict:
        """What versions and deletions decide about lines whose id came more than once, or is deleted."""
        repeated = self._repeats.found(self._index.deletions)
        files, folder = list(self._files.values()), self._writer.spool_folder / "versions"
        return verdict_on(repeated, files, self._records, self._config, self._index, folder, report)

    def _doubt(self, verdict: Verdict) -> None:
        """Leave open what undecided Conditions say; DataError where ids name two patients."""
        if not self._config.one_server:
            refuse_two_servers(0, 0, verdict.of_two_patients)
        if len(verdict.undecided):
            files, lines = list(self._files.values()), by_file(verdict.undecided)
            leave_doubts(lines, files, self._records, self._config, self._judge, self._context)
            self._events.flush()

    def _apply(self, verdict: Verdict) -> None:
        """Drop and delay events as the versions say, and count their lines as what became of them."""
        accounting, tables = self._writer.accounting, self._index.tables.values()
        both = verdict.deleted_and_exported + sum(table.deleted_and_exported for table in tables)
        if both and self._writer.config.strict:
            raise DataError(
                f"{both} resources are in the export and in its list of deletions, which the bulk-data "
                "standard forbids. Nothing is published. Without --strict the later of both is believed."
            )
        self._writer.amend(verdict.places, verdict.late_places, verdict.late_times)
        rows = np.stack([verdict.places >> 40, verdict.kinds, verdict.outcomes]).T
        for (number, kind, outcome), lines in zip(*np.unique(rows, axis=0, return_counts=True), strict=True):
            name, kind = self._files[int(number)].name, kind_name(kind)
            accounting.accept(name, kind, -int(lines))
            if outcome == MERGED:
                accounting.merge_duplicate(name, kind, int(lines))
            else:
                accounting.filter(name, kind, REASONS[outcome], int(lines))
        for flag, count in (verdict.flags + Counter(deleted_and_exported=both)).items():
            accounting.flagged(flag, count)

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
