"""The Outcomes files: only RecordID and In-hospital_death of each row are used.

Their other columns are outcomes too, or scores: length of stay, survival, SAPS-I, SOFA.
"""

from collections import Counter
from typing import NamedTuple

from chartscan.errors import DataError
from chartscan.sources.physionet2012.folder import BOM
from chartscan.sources.physionet2012.lines import line_count, split_lines
from chartscan.sources.physionet2012.members import Member
from chartscan.sources.physionet2012.parameters import OUTCOMES, RECORD_ID
from chartscan.store.writer import DatasetWriter

DEATH = "In-hospital_death"
KIND = "outcome"  # the type of these lines in the accounting
NOT_KNOWN = ("", "-1")

CUT = "B01 cut_last_line"
BAD_ENCODING = "B07 bad_encoding"
RAGGED = "B20 not_the_fields_of_the_header"
BAD_ID = "B23 missing_record_id"
CONFLICT = "B25 two_outcomes_of_one_record"
BAD_OUTCOME = "B57 outcome_neither_0_nor_1"


def columns_of(line: bytes) -> list[str]:
    """The names in a header."""
    return [name.strip() for name in line.removeprefix(BOM).decode(errors="replace").split(",")]


class Row(NamedTuple):
    """One row that tells an outcome."""

    member: Member
    line: int  # 1-based
    record_id: int
    death: str  # a key of parameters.OUTCOMES


class OutcomeBook:
    """Outcomes of all sets: `add` files in any order, then `settle`."""

    def __init__(self, writer: DatasetWriter):
        self._writer = writer
        self._rows: dict[tuple[str, int], list[Row]] = {}
        self.sets: set[str] = set()  # that have an Outcomes file

    def add(self, member: Member) -> None:
        """Read one file; DataError where it lacks the two columns."""
        accounting = self._writer.accounting
        accounting.line(member.source, KIND, line_count(member.data))
        lines = split_lines(member.data)
        columns = columns_of(lines[0]) if lines else []
        if columns.count(RECORD_ID) != 1 or columns.count(DEATH) != 1:
            raise DataError(
                f"{member.name}, line 1: expected a header with the columns {RECORD_ID} and {DEATH}, each "
                "once. Take the file as its publisher gives it."
            )
        self.sets.add(member.set_name)
        accounting.filter(member.source, KIND, "header")
        self._normalise(member, lines)
        unended = len(lines) if not member.data.endswith(b"\n") else 0
        for number, line in enumerate(lines[1:], 2):
            self._row(member, number, line, columns, number == unended)

    def _normalise(self, member: Member, lines: list[bytes]) -> None:
        mended = {
            "byte_order_mark": sum(line.startswith(BOM) for line in lines),
            "crlf_line_end": sum(line.endswith(b"\r") for line in lines),
            "nul_dropped": sum(b"\0" in line for line in lines),
        }
        for name, count in mended.items():
            if count:
                self._writer.accounting.normalised(name, count)

    def _row(self, member: Member, number: int, line: bytes, columns: list[str], last: bool) -> None:
        """One row; `last`: it has no line end, so that it may have been cut short."""
        try:
            text = line.replace(b"\0", b"").decode().removeprefix("\ufeff")
        except UnicodeDecodeError:
            self._refuse(member, number, BAD_ENCODING)
            return
        if not text.strip():
            self._writer.accounting.filter(member.source, KIND, "blank")
            return
        fields = [field.strip() for field in text.split(",")]
        if fields == columns:
            self._writer.accounting.filter(member.source, KIND, "repeated header")
            return
        if len(fields) != len(columns):  # with a field more or less, another column would be read
            self._refuse(member, number, CUT if last else RAGGED)
            return
        if last and not fields[-1]:
            self._refuse(member, number, CUT)
            return
        record_id, death = fields[columns.index(RECORD_ID)], fields[columns.index(DEATH)]
        if not (record_id.isdecimal() and record_id.isascii() and len(record_id) <= 18):
            self._refuse(member, number, BAD_ID)
        elif death in NOT_KNOWN:
            self._writer.accounting.filter(member.source, KIND, "outcome not known")
        elif death not in OUTCOMES:
            self._refuse(member, number, BAD_OUTCOME)
        else:
            row = Row(member, number, int(record_id), death)
            self._rows.setdefault((member.set_name, row.record_id), []).append(row)

    def settle(self, records: dict[int, str]) -> dict[int, str]:
        """Return the key of OUTCOMES for each of `records` with a known outcome.

        Rows of no record are left out, and those that contradict each other are unusable; both are counted.
        DataError where sets and Outcomes files do not go together, as after renaming a folder.
        """
        self._check_sets(set(records.values()))
        found, accounting = {}, self._writer.accounting
        strangers: Counter[str] = Counter()
        for (set_name, record_id), rows in self._rows.items():
            if records.get(record_id) != set_name:
                strangers[set_name] += 1
                for row in rows:
                    accounting.filter(row.member.source, KIND, "no such record in the set")
            elif len({row.death for row in rows}) > 1:
                for row in rows:
                    self._refuse(row.member, row.line, CONFLICT)
            else:
                found[record_id] = rows[0].death
                accounting.accept(rows[0].member.source, KIND)
                for row in rows[1:]:
                    accounting.merge_duplicate(row.member.source, KIND)
        missing = Counter(
            "record_without_outcome" if set_name in self.sets else "record_of_unlabelled_set"
            for record_id, set_name in records.items()
            if record_id not in found
        )
        for name, count in sorted(missing.items()):
            accounting.flagged(name, count)
        self._warn(strangers, missing["record_without_outcome"])
        return found

    def _warn(self, strangers: Counter[str], missing: int) -> None:
        """Records and outcomes that do not go together: a part of one or the other was not copied."""
        accounting = self._writer.accounting
        for set_name, count in sorted(strangers.items()):
            accounting.warn(
                f"The outcomes of set {set_name} name {count:,} records that are not in the set: "
                "a part of it may be missing."
            )
        if missing:
            accounting.warn(
                f"{missing:,} records have no known outcome in the Outcomes file of their set; they get no "
                "label."
            )

    def _check_sets(self, read: set[str]) -> None:
        """Outcomes of a set without records, beside records of a set without outcomes, are a wrong name."""
        strangers, unlabelled = sorted(self.sets - read), sorted(read - self.sets)
        if strangers and unlabelled:
            raise DataError(
                f"Outcomes files name the sets {', '.join(strangers)}, which have no records, and there are "
                f"records of {', '.join(unlabelled)} without outcomes. A set has the name of its folder "
                "or archive: rename that, or remove the Outcomes files of other sets."
            )

    def _refuse(self, member: Member, number: int, reason: str) -> None:
        lines = split_lines(member.data)
        offset = sum(len(line) + 1 for line in lines[: number - 1])
        self._writer.accounting.quarantine(member.source, KIND, reason)
        self._writer.quarantine.put(reason, member.name, number, offset, lines[number - 1])
