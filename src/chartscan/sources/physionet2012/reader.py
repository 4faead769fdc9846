"""Record files -> events, some megabytes at a time."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from itertools import groupby

import numpy as np
import pyarrow as pa

from chartscan.errors import DataError
from chartscan.schema import EVENTS, TIME
from chartscan.sources.physionet2012 import lines as L
from chartscan.sources.physionet2012.members import Member
from chartscan.sources.physionet2012.parameters import (
    ADMISSION,
    CODED_DESCRIPTORS,
    MEASURED,
    NAMES,
    OUTCOMES,
    PREFIX,
    Config,
    descriptions,
)
from chartscan.store.accounting import Accounting
from chartscan.store.writer import DatasetWriter

KIND = "record"  # the type of these lines in the accounting
# When an outcome is placed: the source says how a stay ended, not when. Far behind every prediction.
OUTCOME_AFTER = timedelta(days=1000)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_%/+-]{0,19}")
_MINUTE = np.timedelta64(1, "m")


class Reader:
    """Reads record files into a writer; `finish` hands over what is left."""

    def __init__(self, config: Config, writer: DatasetWriter):
        self._writer = writer
        self._time_zero = np.datetime64(datetime.fromisoformat(config.time_zero), "us")
        self._limit = config.batch_mb << 20
        self._waiting: list[Member] = []
        self._bytes = 0
        self.records: dict[int, str] = {}  # set of every record that was used
        self._copies: dict[tuple[str, str, bytes], bool] = {}  # files taken in: whether they were used
        self._known = np.zeros(len(NAMES), np.int64)  # used lines of every parameter
        self._unknown: Counter[str] = Counter()
        self._empty: list[str] = []

    def add(self, member: Member) -> None:
        """Take one record file in; it is read once enough of them wait.

        A file that is byte for byte one that was used, of the same set and record, is merged.
        """
        if not member.data:
            self._empty.append(member.name)
        copy = _copy_key(member)
        if self._copies.get(copy) is False:
            self._flush()
        if self._copies.get(copy):
            count = L.line_count(member.data)
            self._writer.accounting.line(member.source, KIND, count)
            self._writer.accounting.merge_duplicate(member.source, KIND, count)
            self._writer.accounting.flagged("file_given_twice")
            return
        self._copies[copy] = False
        self._waiting.append(member)
        self._bytes += len(member.data)
        if self._bytes >= self._limit:
            self._flush()

    def finish(self) -> None:
        """Read what waits, and tell what the codes mean."""
        self._flush()
        self._warn()
        for code, description in descriptions().items():
            self._writer.code(code, description)

    def subjects_by_set(self) -> dict[str, np.ndarray]:
        """Sorted subject ids of every set."""
        found: dict[str, list[int]] = {}
        for record_id, name in sorted(self.records.items()):
            found.setdefault(name, []).append(record_id)
        return {name: np.array(ids, np.int64) for name, ids in found.items()}

    def write_outcomes(self, outcomes: Mapping[int, str]) -> None:
        """One outcome event for every record given; values are keys of parameters.OUTCOMES."""
        ids = np.array(sorted(outcomes), np.int64)
        at = np.full(len(ids), self._time_zero + np.timedelta64(OUTCOME_AFTER))
        codes = [OUTCOMES[outcomes[record_id]] for record_id in ids.tolist()]
        self._writer.write(_events(ids, codes, ["outcome"] * len(ids), at))

    def _flush(self) -> None:
        if not self._waiting:
            return
        files, self._waiting, self._bytes = self._waiting, [], 0
        found = L.read_lines(files)
        self._count(files, found)
        self._remember(files, found.record_ids)
        self._writer.write(self._admissions(found.record_ids))
        self._writer.write(self._measured(found))
        self._writer.write(_descriptors(found))

    def _remember(self, files: list[Member], record_ids: np.ndarray) -> None:
        """DataError where a record was read before: its measurements would count twice."""
        for member, record_id in zip(files, record_ids.tolist(), strict=True):
            if record_id == L.NOWHERE:
                self._copies.pop(_copy_key(member), None)
                continue
            self._copies[_copy_key(member)] = True
            if record_id in self.records:
                raise DataError(
                    f"{member.source} (set '{member.set_name}') holds a record that was read before, in set "
                    f"'{self.records[record_id]}'. Expected every stay once. Remove one of the copies, such "
                    "as an archive that was unpacked beside itself."
                )
            self.records[record_id] = member.set_name

    def _admissions(self, record_ids: np.ndarray) -> pa.Table:
        ids = record_ids[record_ids != L.NOWHERE]
        at = np.full(len(ids), self._time_zero)
        return _events(ids, [ADMISSION] * len(ids), ["admission"] * len(ids), at)

    def _measured(self, found: L.Lines) -> pa.Table:
        index = found.events()
        index = index[found.parameter[index] < len(MEASURED)]
        parameter = pa.array(found.parameter[index])
        return _events(
            found.record_ids[found.file[index]],
            pa.array([p.code for p in MEASURED]).take(parameter),
            pa.array([p.event_type for p in MEASURED]).take(parameter),
            self._time_zero + found.minute[index] * _MINUTE,
            found.value[index],
        )

    def _count(self, files: list[Member], found: L.Lines) -> None:
        """Every line of the files in the accounting, and the unusable ones in quarantine."""
        accounting, begin = self._writer.accounting, 0
        counts = np.bincount(found.file, minlength=len(files))
        for source, group in groupby(files, key=lambda member: member.source):
            members = list(group)
            lines = int(counts[: len(members)].sum())
            counts = counts[len(members) :]
            accounting.line(source, KIND, sum(L.line_count(member.data) for member in members))
            _count_outcomes(accounting, source, Counter(found.outcome[begin : begin + lines].tolist()))
            begin += lines
        mended = {
            "crlf_line_end": found.crlf,
            "byte_order_mark": found.marked,
            "spaces_around_field": found.trimmed,
            "nul_dropped": found.nulls,
        }
        for name, count in mended.items():
            if count:
                accounting.normalised(name, count)
        for name, count in (Counter(repeated_measurement=found.repeated) + found.flags).items():
            accounting.flagged(name, count)
        self._unknown += found.unknown
        self._known += np.bincount(found.parameter[found.events()], minlength=len(NAMES))
        self._quarantine(files, found)

    def _warn(self) -> None:
        """Names of parameters that are none, and empty files, as warnings."""
        accounting = self._writer.accounting
        if self._empty:
            accounting.flagged("empty_file", len(self._empty))
            accounting.warn(f"{_named(self._empty)}: empty record files, which are no stays.")
        for name, count in zip(NAMES, self._known.tolist(), strict=True):
            if count:
                accounting.recognition.recognise("parameter", name, f"{PREFIX}//{name}", "recognised", count)
        if self._unknown:
            for name, count in self._unknown.items():
                # what stands where a name should may be anything, also a person
                accounting.recognition.recognise(
                    "parameter", name, None, "unknown", count, text=not _NAME.fullmatch(name)
                )
            accounting.warn(
                f"{self._unknown.total()} lines name {len(self._unknown)} parameters that the challenge does "
                "not have; they are in quarantine."
            )

    def _quarantine(self, files: list[Member], found: L.Lines) -> None:
        bad = np.flatnonzero(found.outcome >= min(L.QUARANTINED))
        starts = np.searchsorted(found.file, np.arange(len(files)))
        for number, group in groupby(bad.tolist(), key=lambda line: int(found.file[line])):
            member = files[number]
            raw = L.split_lines(member.data)
            offsets = np.cumsum([0, *(len(line) + 1 for line in raw)])
            for line in group:
                place = line - int(starts[number])
                reason = L.QUARANTINED[int(found.outcome[line])]
                offset = int(offsets[place])
                self._writer.quarantine.put(reason, member.name, place + 1, offset, raw[place])


def _copy_key(member: Member) -> tuple[str, str, bytes]:
    return member.set_name, member.stem, blake2b(member.data, digest_size=16).digest()


def _named(names: list[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more


def _count_outcomes(accounting: Accounting, source: str, outcomes: Counter[int]) -> None:
    for outcome, count in outcomes.items():
        if outcome == L.ACCEPTED:
            accounting.accept(source, KIND, count)
        elif outcome == L.MERGED:
            accounting.merge_duplicate(source, KIND, count)
        elif outcome in L.FILTERED:
            accounting.filter(source, KIND, L.FILTERED[outcome], count)
        else:
            accounting.quarantine(source, KIND, L.QUARANTINED[outcome], count)


def _descriptors(found: L.Lines) -> pa.Table:
    """Events without a time: age and height with their number, sex and kind of unit as codes."""
    index = found.events()
    index = index[found.parameter[index] >= len(MEASURED)]
    ids, codes = [], []
    values: list[float | None] = []
    for line in index.tolist():
        name, value = NAMES[found.parameter[line]], float(found.value[line])
        ids.append(int(found.record_ids[found.file[line]]))
        if name in CODED_DESCRIPTORS:
            codes.append(CODED_DESCRIPTORS[name][int(value)][0])
            values.append(None)
        else:
            codes.append(f"{PREFIX}//{name}")
            values.append(value)
    return _events(np.array(ids, np.int64), codes, ["static"] * len(ids), None, values)


def _events(
    ids: np.ndarray,
    codes: Sequence[str] | pa.Array,
    event_types: Sequence[str] | pa.Array,
    at: np.ndarray | None,
    values: Sequence[float | None] | np.ndarray | None = None,
) -> pa.Table:
    """EVENTS rows; `at` is None for facts without a time, which belong to no encounter."""
    n = len(ids)
    time = pa.nulls(n, TIME) if at is None else pa.array(at, TIME)
    subject = pa.array(ids, pa.int64())
    found = {
        "subject_id": subject,
        "time": time,
        "code": codes,
        "numeric_value": pa.nulls(n, pa.float32())
        if values is None
        else pa.array(values, pa.float32(), from_pandas=True),  # nan is null
        "event_type": event_types,
        "encounter_id": pa.nulls(n, pa.string()) if at is None else subject.cast(pa.string()),
        "available_time": time,
    }
    return pa.table(
        [pa.array(found[f.name], f.type) if f.name in found else pa.nulls(n, f.type) for f in EVENTS],
        schema=EVENTS,
    )
