"""The lines of many record files: each one's content, or why it is unusable.

Everything here is arrays over lines: 1.7 million of them, the lines of one set, take about two seconds.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chartscan.sources.physionet2012.folder import HEADER
from chartscan.sources.physionet2012.members import Member
from chartscan.sources.physionet2012.parameters import (
    AGE,
    CODED_DESCRIPTORS,
    DESCRIPTORS,
    MEASURED,
    NAMES,
    POSSIBLE,
    RECORD_ID,
)

LAST_MINUTE = 48 * 60
NOWHERE = -1  # in place of a minute or parameter that is none

# What becomes of a line. Used lines come first, then those left out on purpose, then those in quarantine.
ACCEPTED, MERGED, HEAD, BLANK, NO_PARAMETER, NOT_MEASURED, NEGATIVE, HEAD_AGAIN = range(8)
FILTERED = {
    HEAD: "header",
    BLANK: "blank",
    NO_PARAMETER: "no parameter name",
    NOT_MEASURED: "value -1: not measured",
    NEGATIVE: "negative value",
    HEAD_AGAIN: "repeated header",
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
    CUT_LINE,
) = range(8, 19)
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
    CUT_LINE: "B01 cut_last_line",
}

_TIMES = pa.array([f"{minute // 60:02}:{minute % 60:02}" for minute in range(LAST_MINUTE + 1)])
_PARAMETERS = pa.array([*NAMES, RECORD_ID, ""])
RECORD_ID_INDEX, NO_NAME = len(NAMES), len(NAMES) + 1
_MARK = "\ufeff"  # byte order mark
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_IDENTITY = r"^[0-9]{1,18}$"
_OLDEST = 120.0  # years; a larger Age is one that was masked
# What stands for a missing value, as in FHIR: the limits of 32-bit integers, and six nines or more.
_INTEGER_LIMITS = (2147483647.0, 2147483648.0, 4294967295.0)
_FIRST_ODD, _SURE_NINES, _DOUBTFUL_NINES = 999.0, 6, 3


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
    nulls: int  # lines with NUL in them
    flags: Counter[str]  # values that are kept, or null, although they are in doubt
    unknown: Counter[str]  # names of parameters that are none, in lines that are quarantined for it

    def events(self) -> np.ndarray:
        """Indices of the lines that become events."""
        return np.flatnonzero((self.outcome == ACCEPTED) & (self.parameter < len(NAMES)))


def read_lines(files: list[Member]) -> Lines:
    """What the lines of record files say."""
    texts = [_text(file.data) for file in files]
    nulls = sum(_without_nulls(lines) for lines, file in zip(texts, files, strict=True) if b"\0" in file.data)
    counts = np.array([len(lines) for lines in texts])
    file = np.repeat(np.arange(len(files)), counts)
    raw = pa.array([line for lines in texts for line in lines], pa.string())
    crlf = pc.ends_with(raw, "\r")
    lines = pc.if_else(crlf, pc.utf8_slice_codeunits(raw, 0, -1), raw)
    first, last = np.zeros(len(file), bool), np.zeros(len(file), bool)
    first[(np.cumsum(counts) - counts)[counts > 0]] = True
    unended = np.array([not f.data.endswith(b"\n") for f in files]) & (counts > 0)
    last[(np.cumsum(counts) - 1)[unended]] = True

    fields, whole, trimmed = _fields(lines)
    minute = _index(fields[0], _TIMES)
    parameter = _index(fields[1], _PARAMETERS)
    value = _numbers(fields[2])
    heads = _mask(pc.equal(lines, HEADER.decode()))
    header = first & heads

    outcome = np.full(len(file), ACCEPTED, np.int8)
    blank = _mask(pc.equal(pc.utf8_trim_whitespace(lines), ""))
    _judge(outcome, minute, parameter, value)
    outcome[~whole] = NOT_THREE_FIELDS
    outcome[_mask(pc.is_null(lines))] = BAD_ENCODING
    outcome[blank] = BLANK
    outcome[heads] = HEAD_AGAIN
    outcome[header] = HEAD
    zeros = np.array([f.data.endswith(b"\0") for f in files])  # a disk fills what was not written so
    outcome[last & ((outcome >= min(QUARANTINED)) | zeros[file])] = CUT_LINE

    record_ids = _record_ids(files, file, outcome, parameter, fields[2])
    _refuse_files(files, file, header, record_ids, outcome)
    repeated = _merge_repeats(file, outcome, minute, parameter, value)
    flags = _doubt(outcome, parameter, value)
    flags["no_final_newline"] = int((last & (outcome == ACCEPTED)).sum())
    unknown = fields[1].filter(pa.array(outcome == UNKNOWN_PARAMETER)).to_pylist()
    marked = sum(_marks(f.data) for f in files)
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
        nulls,
        +flags,
        Counter(unknown),
    )


def line_count(data: bytes) -> int:
    """Lines of a file by its bytes alone: what the accounting must add up to."""
    return data.count(b"\n") + (len(data) > 0 and not data.endswith(b"\n"))


def split_lines(data: bytes) -> list[bytes]:
    """The lines of a file, cut at byte 0x0A and nowhere else, without it."""
    lines = data.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def _text(data: bytes) -> list[str | None]:
    """The lines of a file without byte order marks, also those of files that were put together; None where
    a line is not UTF-8."""
    try:
        text = data.decode()
        lines = text.split("\n")
        lines = lines if lines[-1] else lines[:-1]
        return [line.lstrip(_MARK) for line in lines] if _MARK in text else lines  # type: ignore[return-value]
    except UnicodeDecodeError:
        return [_decoded(line) for line in split_lines(data)]


def _marks(data: bytes) -> int:
    """Lines that begin with a byte order mark."""
    mark = _MARK.encode()
    return data.startswith(mark) + data.count(b"\n" + mark)


def _without_nulls(lines: list[str | None]) -> int:
    """Drop NUL from the lines after the header, if that is one and not UTF-16; how many lines had any."""
    found = 0
    if not lines or (lines[0] or "").rstrip("\r") != HEADER.decode():
        return found
    for number, line in enumerate(lines):
        if number and line and "\0" in line:
            lines[number] = line.replace("\0", "")
            found += 1
    return found


def _decoded(line: bytes) -> str | None:
    try:
        return line.decode().lstrip(_MARK)
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
    return values + 0.0  # -0.0 is 0


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


def _doubt(outcome: np.ndarray, parameter: np.ndarray, value: np.ndarray) -> Counter[str]:
    """Counts used values that no patient has, or that stand for a missing one; those become nan in `value`.

    An age that was masked by a large number becomes the oldest there is.
    """
    used = np.flatnonzero((outcome == ACCEPTED) & (parameter < len(NAMES)))
    flags: Counter[str] = Counter()
    odd = used[value[used] >= _FIRST_ODD]
    for number in np.unique(value[odd]).tolist():
        if nines := _nines(number):
            lines = odd[value[odd] == number]
            flags["sentinel_value"] += len(lines)
            if nines >= _SURE_NINES:
                value[lines] = np.nan
    old = used[(parameter[used] == AGE) & (value[used] > _OLDEST)]
    flags["age_above_120"] = len(old)
    value[old] = _OLDEST
    low, high = POSSIBLE[parameter[used]].T
    flags["impossible_value"] = int(((value[used] < low) | (value[used] > high)).sum())
    return flags


def _nines(number: float) -> int:
    """Nines before the point of a number of nothing but nines; 0 where it has other digits, or few nines."""
    if number in _INTEGER_LIMITS:
        return _SURE_NINES
    whole, _, part = f"{number:.12g}".partition(".")
    return len(whole) if set(whole + part) == {"9"} and len(whole) >= _DOUBTFUL_NINES else 0


def _mask(values: pa.Array) -> np.ndarray:
    return pc.fill_null(values, False).to_numpy(zero_copy_only=False)
