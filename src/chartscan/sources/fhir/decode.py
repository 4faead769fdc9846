"""One line of NDJSON -> a typed resource, or the reason why it is none.

Lines of a type come in runs, so each line is first decoded as what the last one was: its own `resourceType`
says whether that was right. Only where it was not is the type looked up.

The decoder skips what it does not read, and of two equal keys takes the last. So each block is looked over
as a whole for what that would hide; only where it may hide something are lines looked at one by one.
"""

import re
from typing import Any

import msgspec
import numpy as np
from msgspec import Raw

from chartscan.sources.fhir.lines import BOM
from chartscan.sources.fhir.outcomes import (
    DOUBLED_KEY,
    ENCODING,
    MALFORMED,
    NESTING,
    NO_TYPE,
    OVERSIZE,
    SURROGATE,
    TRAILING,
    TRUNCATED,
    WRONG_TYPE,
    Filtered,
    Quarantined,
)
from chartscan.sources.fhir.resources import DECODERS, R4, REFERENCE_TYPES, Head, Observation
from chartscan.store.accounting import UNROUTED

FAILURES = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
UNKNOWN_TYPE = "unknown type"
ERROR_REPORT = "OperationOutcome"
OBSERVATION = "Observation"
CHECKED_LINES = 1000  # of each file, of which every key is checked; later ones where ids or subjects double
_HEAD = msgspec.json.Decoder(Head)
_KEYS = msgspec.json.Decoder(dict[str, Raw])
_NAME = re.compile("[A-Za-z]{1,40}")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
_PAIR = re.compile(rb"\\u[dD][89abAB]..\\u[dD][c-fC-F]..")
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_ID = int.from_bytes(b'"id"', "little")
_IN_SUBJECT = [int.from_bytes(part, "little") for part in (b"subj", b"ubje", b"bjec", b"ject")]
_NO_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))
_NO_STRUCTURE = bytes(set(range(256)) - set(b"{}[]:"))


class LineDecoder:
    """Decodes lines; `kind` is the type of the last, where recognised.

    `nul_stripped` counts lines that held NUL, which no text has; it is dropped from them.
    """

    def __init__(self, line_limit: int, nesting_limit: int):
        self.kind = UNROUTED
        self.nul_stripped = 0
        self._guess = OBSERVATION
        self._decode = DECODERS[self._guess].decode
        self._line_limit = line_limit
        self._nesting_limit = nesting_limit
        self._check, self._at_once = True, False
        self._suspect_keys = self._check_keys = True
        self._space = np.empty(0, np.uint8)

    def begin(self, data: bytes, ends: list[int], line: int = 1) -> None:
        """Check the lines from number `line` together; most then need no own check."""
        if len(self._space) < len(data):
            self._space = np.empty(len(data), np.uint8)
        self._suspect_keys = line <= CHECKED_LINES or _may_double(data, len(ends), self._space)
        self._check_keys = self._suspect_keys or self._guess in REFERENCE_TYPES
        self._check = (
            len(data) > self._line_limit
            or _hides_text(data)
            or _most_brackets(data, ends, self._space) > self._nesting_limit
        )
        self._at_once = not (self._check or self._suspect_keys) and _an_object_each(data, ends)

    def decode(self, line: memoryview) -> Any:
        """The resource of a line; Filtered or Quarantined where there is none to use."""
        raw = self._checked(bytes(line)) if self._check else line
        try:
            resource = self._decode(raw)
        except FAILURES:
            resource = self._decode_otherwise(bytes(raw).removeprefix(BOM))
        else:
            self.kind = self._guess
        if self._check_keys and has_doubled_key(raw):
            raise Quarantined(DOUBLED_KEY)
        return resource

    def observations(self, lines: memoryview, count: int) -> list[Observation] | None:
        """Decode `count` lines that `begin` found to be plain Observations."""
        if not self._at_once or self._guess != OBSERVATION:
            return None
        try:
            found: list[Any] = DECODERS[OBSERVATION].decode_lines(lines)
        except FAILURES:
            return None
        if len(found) != count:
            return None
        self.kind = OBSERVATION
        return found

    def _checked(self, raw: bytes) -> bytes:
        """The line without what may be dropped; Quarantined where it is not to be read."""
        self.kind = UNROUTED
        if len(raw) > self._line_limit:
            raise Quarantined(OVERSIZE)
        if _depth(raw, self._nesting_limit) > self._nesting_limit:
            self.kind = self._type(raw)
            raise Quarantined(NESTING)
        try:
            raw.decode()
        except UnicodeDecodeError as err:
            raise Quarantined(ENCODING) from err
        if b"\\" in raw and _SURROGATE.search(_PAIR.sub(b"", raw.replace(b"\\\\", b""))):
            raise Quarantined(SURROGATE)
        if b"\x00" in raw or _NUL.search(raw):
            raw = _NUL.sub(rb"\1", raw.replace(b"\x00", b""))
            self.nul_stripped += 1
        return raw

    def _decode_otherwise(self, raw: bytes) -> Any:
        """A line that is not of the type guessed; its own is the guess for the next."""
        self.kind = UNROUTED
        self.kind = self._type(raw)
        if self.kind not in DECODERS:
            raise Filtered("error report" if self.kind == ERROR_REPORT else "unsupported type")
        self._guess = self.kind
        self._decode = DECODERS[self.kind].decode
        self._check_keys = self._suspect_keys or self.kind in REFERENCE_TYPES
        try:
            return self._decode(raw)
        except FAILURES as err:
            raise Quarantined(reason_of(err, raw)) from err

    def _type(self, raw: bytes) -> str:
        """The type a line says it is, UNKNOWN_TYPE where FHIR has none of that name.

        Filtered if the line is blank, Quarantined if it says none.
        """
        if not raw.strip():
            raise Filtered("blank")
        try:
            name = _HEAD.decode(raw).resourceType
        except FAILURES as err:
            raise Quarantined(reason_of(err, raw, missing=NO_TYPE)) from err
        if not _NAME.fullmatch(name):  # names go into reports; no other content of a record may
            raise Quarantined(NO_TYPE)
        return name if name in R4 else UNKNOWN_TYPE


def _an_object_each(data: bytes, ends: list[int]) -> bool:
    """Whether every line begins with { and ends with }: no JSON value then reaches beyond its line.

    Inside a value no } is followed by a {.
    """
    octets, last = np.frombuffer(data, np.uint8), np.array(ends)
    first = np.append(0, last[:-1] + 1)
    if last[-1] == 0 or not (last > first).all():
        return False
    return bool((octets[first] == ord("{")).all() and (octets[last - 1] == ord("}")).all())


def reason_of(error: Exception, raw: bytes, missing: str = WRONG_TYPE) -> str:
    """The reason of the catalogue for what a decoder refused."""
    if isinstance(error, RecursionError):
        return NESTING
    if isinstance(error, UnicodeDecodeError):
        return ENCODING
    if isinstance(error, msgspec.ValidationError):
        return missing
    if _SURROGATE.search(raw):
        return SURROGATE
    if "trailing" in str(error):
        return TRAILING
    return TRUNCATED if "truncated" in str(error) else MALFORMED


def has_doubled_key(line: bytes | memoryview) -> bool:
    """Whether an object repeats a key, so that values are lost.

    Its values are then shorter than the line. The decoder has refused invalid JSON before. False where the
    line is no object.
    """
    raw = bytes(line).removeprefix(BOM).strip()
    try:
        values = _KEYS.decode(raw)
    except FAILURES:
        return False
    said = sum(map(len, values)) + sum(len(memoryview(value)) for value in values.values())
    spaces = len(raw) - said - 4 * len(values) - 1  # quotes, colon and comma each; braces, and no last comma
    if spaces == 0 or (spaces == 2 * len(values) - 1 and raw.count(b'":') == raw.count(b'": ')):
        return False
    return _keys_at_the_top(raw) > len(values)


def _keys_at_the_top(raw: bytes) -> int:
    """How many keys an object has, each as often as it is said."""
    depth = keys = 0
    for byte in _STRING.sub(b"", raw).translate(None, delete=_NO_STRUCTURE):
        depth += (byte in b"{[") - (byte in b"}]")
        keys += byte == ord(":") and depth == 1
    return keys


def _may_double(data: bytes, lines: int, space: np.ndarray) -> bool:
    """Whether a line may say its id or its subject twice; sure but where others say none.

    Four bytes are compared at a time, at each of the four ways to begin: half the time that bytes.count
    takes. Of "subject" any four bytes inside are counted, which one way to begin always meets.
    """
    ids = subjects = 0
    for skip in range(4):
        size = max(len(data) - skip, 0) // 4 * 4
        np.copyto(space[:size], np.frombuffer(data, np.uint8, size, min(skip, len(data))))
        words = space[:size].view("<u4")
        ids += int(np.count_nonzero(words == _ID))
        if skip == 0:
            subjects = sum(int(np.count_nonzero(words == part)) for part in _IN_SUBJECT)
    return ids > lines or (subjects > lines and data.count(b'"subject"') > lines)


def _hides_text(data: bytes) -> bool:
    """Whether there may be bytes or escapes that are no text."""
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError:
            return True
    return 0 in data or (b"\\" in data and _ESCAPE.search(data) is not None)


def _most_brackets(data: bytes, ends: list[int], space: np.ndarray) -> int:
    """Opening brackets in the line that has most of them; a tenth of the time that counting by line takes.

    The steps work in `space`, of at least as many bytes: fresh memory would cost more than all else here.
    """
    octets = np.bitwise_or(np.frombuffer(data, np.uint8), 0x20, out=space[: len(data)])
    brackets = np.flatnonzero(np.equal(octets, ord("{"), out=octets.view(bool)))  # [ | 0x20 is { too
    return int(np.diff(np.searchsorted(brackets, ends), prepend=0).max())


def _depth(raw: bytes, enough: int = 0) -> int:
    """How deep objects and arrays are nested; brackets inside strings do not count.

    Where there are at most `enough` brackets in all, their number is the answer.
    """
    if (most := raw.count(b"{") + raw.count(b"[")) <= enough:
        return most
    deepest = depth = 0
    for byte in _STRING.sub(b"", raw).translate(None, delete=_NO_BRACKETS):
        depth += 1 if byte in b"{[" else -1
        deepest = max(deepest, depth)
    return deepest
