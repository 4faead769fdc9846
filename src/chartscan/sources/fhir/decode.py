"""One line of NDJSON -> a typed resource, or the reason why it is none.

Lines of a type come in runs, so each line is first decoded as what the last one was: its own `resourceType`
says whether that was right. Only where it was not is the type looked up.
"""

import re
from typing import Any

import msgspec
import numpy as np

from chartscan.sources.fhir.deletions import deletions_of
from chartscan.sources.fhir.lines import BOM
from chartscan.sources.fhir.outcomes import (
    DELETIONS,
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
from chartscan.sources.fhir.resource_types import R4
from chartscan.sources.fhir.resources import DECODERS, Head
from chartscan.store.accounting import UNROUTED

FAILURES = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
UNKNOWN_TYPE = "unknown type"
_HEAD = msgspec.json.Decoder(Head)
_NAME = re.compile("[A-Za-z]{1,40}")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_NO_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))


class LineDecoder:
    """Decodes lines; `kind` is the type of the last one, as far as it could be told."""

    def __init__(self, line_limit: int, nesting_limit: int):
        self.kind = UNROUTED
        self._guess = "Observation"
        self._decode = DECODERS[self._guess].decode
        self._line_limit = line_limit
        self._nesting_limit = nesting_limit
        self._check = True
        self._space = np.empty(0, np.uint8)

    def begin(self, data: bytes, ends: list[int]) -> None:
        """Look over the lines that come next: most need no look at their length and nesting one by one."""
        if len(self._space) < len(data):
            self._space = np.empty(len(data), np.uint8)
        most = _most_brackets(data, ends, self._space)
        self._check = len(data) > self._line_limit or most > self._nesting_limit

    def decode(self, line: memoryview) -> Any:
        """The resource of a line; Filtered or Quarantined where there is none to use."""
        if self._check:
            self._refuse_excess(bytes(line))
        try:
            resource = self._decode(line)
        except FAILURES:
            return self._decode_otherwise(bytes(line).removeprefix(BOM))
        self.kind = self._guess
        return resource

    def _refuse_excess(self, raw: bytes) -> None:
        self.kind = UNROUTED
        if len(raw) > self._line_limit:
            raise Quarantined(OVERSIZE)
        if _depth(raw, self._nesting_limit) > self._nesting_limit:
            self.kind = self._type(raw)
            raise Quarantined(NESTING)

    def _decode_otherwise(self, raw: bytes) -> Any:
        """A line that is not of the type guessed; its own is the guess for the next."""
        self.kind = UNROUTED
        self.kind = self._type(raw)
        if self.kind not in DECODERS:
            deletes = self.kind == "Bundle" and any(deletions_of(raw))
            raise Filtered(DELETIONS if deletes else "unsupported type")
        self._guess = self.kind
        self._decode = DECODERS[self.kind].decode
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
