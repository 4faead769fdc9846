"""The lines of many record files at once: what each says, or why it says nothing that can be used.

Everything here is arrays over lines: 1.7 million of them, the lines of one set, take about two seconds.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chartscan.sources.physionet2012.members import BOM, HEADER, Member
from chartscan.sources.physionet2012.parameters import (
    CODED_DESCRIPTORS,
    DESCRIPTORS,
    MEASURED,
    NAMES,
    RECORD_ID,
)

LAST_MINUTE = 48 * 60
NOWHERE = -1  # in place of a minute or parameter that is none

# What becomes of a line. Used lines come first, then those left out on purpose, then those in quarantine.
ACCEPTED, MERGED, HEAD, BLANK, NO_PARAMETER, NOT_MEASURED, NEGATIVE = range(7)
FILTERED = {
    HEAD: "header",
    BLANK: "blank",
    NO_PARAMETER: "no parameter name",
    NOT_MEASURED: "value -1: not measured",
    NEGATIVE: "negative value",
}
(
    BAD_ENCODING,
    NOT_THREE_FIELDS,
    UNKNOWN_PARAMETER,
    BAD_TIME,
    LATE_DESCRIPTOR,
    BAD_VALUE,
    BAD_DESCRIPTOR,
    NO_HEADER,
    NO_RECORD_ID,
    OTHER_RECORD_ID,
) = range(7, 17)
QUARANTINED = {
    BAD_ENCODING: "B07 bad_encoding",
    NOT_THREE_FIELDS: "B20 not_three_fields",
    UNKNOWN_PARAMETER: "B33 unknown_parameter",
    BAD_TIME: "B43 invalid_time",
    LATE_DESCRIPTOR: "B43 descriptor_after_admission",
    BAD_VALUE: "B57 invalid_number",
    BAD_DESCRIPTOR: "B57 invalid_descriptor",
    NO_HEADER: "B20 no_header",
    NO_RECORD_ID: "B23 missing_record_id",
    OTHER_RECORD_ID: "B26 record_id_differs_from_file_name",
}

_TIMES = pa.array([f"{minute // 60:02}:{minute % 60:02}" for minute in range(LAST_MINUTE + 1)])
_PARAMETERS = pa.array([*NAMES, RECORD_ID, ""])
RECORD_ID_INDEX, NO_NAME = len(NAMES), len(NAMES) + 1
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_IDENTITY = r"^[0-9]{1,18}$"


@dataclass(frozen=True)
class Lines:
    """The lines of several record files; arrays of shape (lines,)."""

    file: np.ndarray  # index of the file
    outcome: np.ndarray  # int8, one of the constants above
    minute: np.ndarray  # since admission; NOWHERE where it is no time
    parameter: np.ndarray  # index into NAMES, or RECORD_ID_INDEX
    value: np.ndarray  # float64; nan where it is no number
    record_ids: np.ndarray  # (files,) int64; NOWHERE where the file is not used
    crlf: int  # lines that ended in a carriage return
    trimmed: int  # fields with spaces around them
    marked: int  # files that began with a byte order mark
    repeated: int  # measurements of one parameter at one time beyond the first, with other values

    def events(self) -> np.ndarray:
        """Indices of the lines that become events."""
        return np.flatnonzero((self.outcome == ACCEPTED) & (self.parameter < len(NAMES)))


def read_lines(files: list[Member]) -> Lines:
    """What the lines of record files say."""
    texts = [_text(file.data) for file in files]
    counts = np.array([len(lines) for lines in texts])
    file = np.repeat(np.arange(len(files)), counts)
    raw = pa.array([line for lines in texts for line in lines], pa.string())
    crlf = pc.ends_with(raw, "\r")
    lines = pc.if_else(crlf, pc.utf8_slice_codeunits(raw, 0, -1), raw)
    first = np.zeros(len(file), bool)
    first[(np.cumsum(counts) - counts)[counts > 0]] = True

    fields, whole, trimmed = _fields(lines)
    minute = _index(fields[0], _TIMES)
    parameter = _index(fields[1], _PARAMETERS)
    value = _numbers(fields[2])
    header = first & _mask(pc.equal(lines, HEADER.decode()))

    outcome = np.full(len(file), ACCEPTED, np.int8)
    blank = _mask(pc.equal(pc.utf8_trim_whitespace(lines), ""))
    _judge(outcome, minute, parameter, value)
    outcome[~whole] = NOT_THREE_FIELDS
    outcome[_mask(pc.is_null(lines))] = BAD_ENCODING
    outcome[blank] = BLANK
    outcome[header] = HEAD

    record_ids = _record_ids(files, file, outcome, parameter, fields[2])
    _refuse_files(files, file, header, record_ids, outcome)
    repeated = _merge_repeats(file, outcome, minute, parameter, value)
    marked = sum(f.data.startswith(BOM) for f in files)
    return Lines(
        file,
        outcome,
        minute,
        parameter,
        value,
        record_ids,
        pc.sum(crlf).as_py() or 0,
        trimmed,
        marked,
        repeated,
    )


def line_count(data: bytes) -> int:
    """Lines of a file by its bytes alone: what the accounting must add up to."""
    return data.count(b"\n") + (len(data) > 0 and not data.endswith(b"\n"))


def split_lines(data: bytes) -> list[bytes]:
    """The lines of a file, cut at byte 0x0A and nowhere else, without it."""
    lines = data.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def _text(data: bytes) -> list[str | None]:
    """The lines of a file without its byte order mark; None where a line is not UTF-8.

    A file of nothing but the mark keeps it, for it has one line.
    """
    data = data.removeprefix(BOM) if len(data) > len(BOM) else data
    try:
        lines = data.decode().split("\n")
        return lines if lines[-1] else lines[:-1]  # type: ignore[return-value]
    except UnicodeDecodeError:
        return [_decoded(line) for line in split_lines(data)]


def _decoded(line: bytes) -> str | None:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return None


def _fields(lines: pa.Array) -> tuple[list[pa.Array], np.ndarray, int]:
    """Time, parameter and value of every line (null where it has not three fields), which have three, and
    how many fields had spaces around them."""
    parts = pc.split_pattern(lines, ",")
    whole = _mask(pc.equal(pc.list_value_length(parts), 3))
    flat = pc.list_flatten(parts.filter(pa.array(whole)))
    trimmed = pc.utf8_trim_whitespace(flat)
    changed = pc.sum(pc.not_equal(trimmed, flat)).as_py() or 0
    place = np.cumsum(whole) - 1
    fields = []
    for number in range(3):
        index = pa.array(place * 3 + number, pa.int64(), mask=~whole)
        fields.append(trimmed.take(index))
    return fields, whole, changed


def _index(words: pa.Array, known: pa.Array) -> np.ndarray:
    return pc.fill_null(pc.index_in(words, value_set=known), NOWHERE).to_numpy()


def _numbers(words: pa.Array) -> np.ndarray:
    """Plain decimal numbers that a 32-bit float holds; nan for all else."""
    plain = pc.if_else(pc.match_substring_regex(words, _NUMBER), words, None)
    values = pc.fill_null(plain.cast(pa.float64()), np.nan).to_numpy().copy()
    values[np.abs(values) > np.finfo(np.float32).max] = np.nan
    return values


def _judge(outcome: np.ndarray, minute: np.ndarray, parameter: np.ndarray, value: np.ndarray) -> None:
    """What becomes of lines of three fields, written into `outcome`; where several hold, the last counts."""
    descriptor = (parameter >= len(MEASURED)) & (parameter < len(NAMES))
    with np.errstate(invalid="ignore"):
        for number, name in enumerate(DESCRIPTORS, len(MEASURED)):
            if name in CODED_DESCRIPTORS:
                known = np.isin(value, list(CODED_DESCRIPTORS[name]))
                outcome[(parameter == number) & ~known] = BAD_DESCRIPTOR
        outcome[value < 0] = NEGATIVE
        outcome[value == -1] = NOT_MEASURED
    outcome[np.isnan(value)] = BAD_VALUE
    outcome[parameter == RECORD_ID_INDEX] = ACCEPTED  # _record_ids reads its value
    outcome[descriptor & (minute > 0)] = LATE_DESCRIPTOR
    outcome[minute == NOWHERE] = BAD_TIME
    outcome[parameter == NOWHERE] = UNKNOWN_PARAMETER
    outcome[parameter == NO_NAME] = NO_PARAMETER


def _record_ids(
    files: list[Member], file: np.ndarray, outcome: np.ndarray, parameter: np.ndarray, words: pa.Array
) -> np.ndarray:
    """The RecordID that each file tells of itself, shape (files,); NOWHERE without one.

    Where a file tells several, the outcome of their lines says so.
    """
    found = np.full(len(files), NOWHERE, np.int64)
    told = np.flatnonzero((parameter == RECORD_ID_INDEX) & (outcome == ACCEPTED))
    texts = words.take(pa.array(told))
    valid = _mask(pc.match_substring_regex(texts, _IDENTITY))
    outcome[told[~valid]] = BAD_VALUE
    told, numbers = told[valid], texts.filter(pa.array(valid)).cast(pa.int64()).to_numpy()
    for line, number in zip(told.tolist(), numbers.tolist(), strict=True):
        before = found[file[line]]
        if before == NOWHERE:
            found[file[line]] = number
        elif before == number:
            outcome[line] = MERGED
        else:
            outcome[line] = OTHER_RECORD_ID
    return found


def _refuse_files(
    files: list[Member], file: np.ndarray, header: np.ndarray, record_ids: np.ndarray, outcome: np.ndarray
) -> None:
    """Quarantines all lines of the files that cannot be told to be the record of their name."""
    with_header = np.zeros(len(files), bool)
    with_header[file[header]] = True
    told = np.zeros(len(files), bool)
    told[file[outcome == OTHER_RECORD_ID]] = True
    for number, member in enumerate(files):
        reason = ACCEPTED
        if not with_header[number]:
            reason = NO_HEADER
        elif told[number]:
            reason = OTHER_RECORD_ID
        elif record_ids[number] == NOWHERE:
            reason = NO_RECORD_ID
        elif not member.stem.isdecimal() or int(member.stem) != record_ids[number]:
            reason = OTHER_RECORD_ID
        if reason != ACCEPTED:
            outcome[file == number] = reason
            record_ids[number] = NOWHERE


def _merge_repeats(
    file: np.ndarray, outcome: np.ndarray, minute: np.ndarray, parameter: np.ndarray, value: np.ndarray
) -> int:
    """Marks lines that say what another line of the file says; how many more say it with another value."""
    used = np.flatnonzero((outcome == ACCEPTED) & (parameter < len(NAMES)))
    key = (file[used] * (LAST_MINUTE + 1) + minute[used]) * len(NAMES) + parameter[used]
    order = np.lexsort((value[used], key))
    same_key = key[order][1:] == key[order][:-1]
    same_value = same_key & (value[used][order][1:] == value[used][order][:-1])
    outcome[used[order[1:][same_value]]] = MERGED
    return int(same_key.sum() - same_value.sum())


def _mask(values: pa.Array) -> np.ndarray:
    return pc.fill_null(values, False).to_numpy(zero_copy_only=False)
