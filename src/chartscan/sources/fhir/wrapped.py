"""Resources inside others: Bundles, Parameters, Binaries that hold files, JSON arrays, pretty-printed JSON.

Both passes read files through `Records`, so that they see the same resources under the same numbers. What
wraps counts as one line (filtered as `unwrapped`), and each resource in it as a line more.
"""

import base64
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import Raw, Struct

from chartscan.errors import DataError
from chartscan.sources.fhir.decode import FAILURES, UNKNOWN_TYPE, has_doubled_key, reason_of
from chartscan.sources.fhir.lines import (
    BOM,
    DOCUMENT,
    GZIP,
    Block,
    InputFile,
    Limits,
    LineCount,
    blocks,
    line_ends,
    opened,
    packing,
    text_of,
)
from chartscan.sources.fhir.outcomes import (
    CONTAINED_LIST,
    DOUBLED_KEY,
    UNCLEAR_DELETION,
    WRAPPED_DATA,
    WRAPPED_TOO_DEEP,
    Filtered,
    Quarantined,
)
from chartscan.sources.fhir.references import Deletion, deleted_by, moment_of_deletion
from chartscan.sources.fhir.resources import DECODERS, R4, REFERENCE_TYPES, Meta
from chartscan.store.accounting import UNROUTED

MOST_LEVELS = 8  # of wrappers in wrappers
MOST_UNPACKED = 64 << 20  # bytes of an archive in a Binary
ARRAY, ENTRY = "JSON array", "Bundle entry"  # what is counted like a type and is none
_WRAPPER = re.compile(rb'"resourceType"\s*:\s*"(?:B[iu]n|Par|List")')
_REFERENCES = re.compile(
    rb'"resourceType"\s*:\s*"(?:B[iu]n|Par|List"|%b)' % "|".join(REFERENCE_TYPES).encode()
)
_TYPE = re.compile(rb'"resourceType"\s*:\s*"[^"]*"')
_BREAKS = bytes.maketrans(b"\r\n", b"  ")

Outcome = tuple[str, Filtered | Quarantined]


class _Request(Struct):
    method: str | None = None
    url: str | None = None


class _Response(Struct):
    lastModified: str | None = None


class _Entry(Struct):
    fullUrl: str | None = None
    resource: Raw = Raw()
    request: _Request | None = None
    response: _Response | None = None


class _Bundle(Struct):
    entry: list[Raw] = []
    meta: Meta | None = None
    timestamp: str | None = None


class _Part(Struct):
    resource: Raw = Raw()
    part: list["_Part"] = []


class _Parameters(Struct):
    parameter: list[_Part] = []


class _Binary(Struct):
    contentType: str | None = None
    data: str | None = None


class _Head(Struct):
    resourceType: str | None = None
    id: str | None = None
    meta: Meta | None = None


class _List(Struct):
    contained: list[_Head] = []


_RAW = msgspec.json.Decoder(Raw)
_HEAD = msgspec.json.Decoder(_Head)
_ARRAY = msgspec.json.Decoder(list[Raw])
_ENTRY = msgspec.json.Decoder(_Entry)
_BUNDLE = msgspec.json.Decoder(_Bundle)
_PARAMETERS = msgspec.json.Decoder(_Parameters)
_BINARY = msgspec.json.Decoder(_Binary)
_LIST = msgspec.json.Decoder(_List)


class Item(NamedTuple):
    """One record found in a wrapper: what it says, or what became of it already."""

    raw: bytes
    outcome: Outcome | None = None
    deletion: tuple[str, str, int] | None = None


class Records:
    """Reads files as records; `deletions` has, by file number, what the files say is gone."""

    def __init__(self, limits: Limits):
        self.deletions: dict[int, list[Deletion]] = {}
        self._limits = limits
        self._plain: set[int] = set()  # numbers of files that were read to their end and wrap nothing

    def blocks(self, file: InputFile, count: LineCount | None = None) -> Iterator[Block]:
        """Yield a file's records in blocks; `count` gets lines and lineless records.

        BrokenFile at the end if none of it can be trusted; DataError where it is too large.
        """
        if file.number in self._plain:
            yield from blocks(file, self._limits, count)
            return
        self.deletions[file.number] = []
        document = file.form == DOCUMENT
        more, plain = 0, not file.deleted and not document
        for block in self._document(file, count) if document else blocks(file, self._limits, count):
            here = block._replace(line=block.line + more) if more else block
            if here.data is None or here.outcome:
                yield here
                continue
            if not (
                file.deleted or document or _may_refer(here.data, here.ends) or _lists(here.data, here.ends)
            ):
                yield here._replace(may_be_referred_to=False)
                continue
            wrappers = _wrappers(here.data, here.ends, every=file.deleted)
            if not wrappers:
                yield here
                continue
            plain = False
            for part in self._unwrapped(file, here, wrappers):
                yield part
                last = part.line + len(part.ends) - 1
            found = last - (here.line + len(here.ends) - 1)
            more += found
        if count:
            count.more += more
        if plain:
            self._plain.add(file.number)

    def _document(self, file: InputFile, count: LineCount | None) -> Iterator[Block]:
        """The JSON values of a file, each of them over many lines, as if each stood in one."""
        most = self._limits.line_bytes
        with opened(file, self._limits) as (stream, disk):
            counted = count.over(stream) if count else stream
            data = bytearray()
            while part := counted.read(most + 1 - len(data)):
                data += part
            if len(data) > most:
                raise DataError(
                    f"{file.name} holds JSON over many lines (pretty-printed) of more than {most >> 20} MB, "
                    "which is read as one piece. Expected NDJSON: one resource on each line. Raise "
                    "line_limit_mb, or convert it, for example with: jq -c '.entry[].resource' (a Bundle), "
                    "jq -c '.[]' (an array), jq -c . (single resources)."
                )
            values = documents(bytes(data))
            if count:
                count.more += len(values) - count.lines
            joined = b"\n".join(values)
            if values:
                yield Block(joined, line_ends(joined), 1, 0, disk.tell(), 1)

    def _unwrapped(self, file: InputFile, block: Block, wrappers: Sequence[int]) -> Iterator[Block]:
        """A block of which the lines `wrappers`, counted from 0, may wrap others."""
        assert block.data is not None
        begins = [0, *(end + 1 for end in block.ends)]
        done, more = 0, 0
        for row in wrappers:
            raw = block.data[begins[row] : block.ends[row]]
            items = unwrap(raw)
            if file.deleted:
                items = [_as_deletion(item) for item in items or [Item(raw)]]
            if items is None:
                continue
            if row > done:
                yield _rows(block, begins, done, row, more)
            place = block.place(block.line + row, begins[row])
            yield from self._inside(file, block, items, place, block.line + row + more)
            done, more = row + 1, more + len(items) - 1
        if done < len(block.ends):
            yield _rows(block, begins, done, len(block.ends), more)

    def _inside(
        self, file: InputFile, block: Block, items: list[Item], place: tuple[int, int], line: int
    ) -> Iterator[Block]:
        """Records of one line: those alike, one after the other, are one block."""
        begin = 0
        at, offset = place
        for end in range(1, len(items) + 1):
            first = items[begin]
            if first.deletion:
                kind, resource_id, time = first.deletion
                number = file.number << 40 | line + begin
                self.deletions[file.number].append(Deletion(kind, resource_id, time, number))
            if end < len(items) and first.outcome is None and items[end].outcome is None:
                continue
            data = b"\n".join(item.raw for item in items[begin:end])
            ends = line_ends(data) if data else [0]
            yield Block(data, ends, line + begin, offset, block.done, at, True, first.outcome)
            begin = end


def _rows(block: Block, begins: list[int], first: int, stop: int, more: int) -> Block:
    """Some lines of a block, `more` records after their own number."""
    assert block.data is not None
    begin = begins[first]
    ends = [end - begin for end in block.ends[first:stop]]
    data = block.data[begin : begins[stop]]
    offset, at = block.offset + begin, block.at + first
    return Block(data, ends, block.line + first + more, offset, block.done, at)


def _wrappers(data: bytes, ends: list[int], every: bool) -> Sequence[int]:
    """The lines, counted from 0, that may wrap others; `every`: all of them."""
    if every:
        return range(len(ends))
    found = set(_lists(data, ends))
    for match in _WRAPPER.finditer(data):
        found.add(int(np.searchsorted(ends, match.start())))
    return sorted(found)


def _may_refer(data: bytes, ends: list[int]) -> bool:
    """Whether `_REFERENCES` is found in the data.

    Nearly always all lines begin with one type, and then it is found in what they contain at most.
    """
    head = _TYPE.match(data, 1)
    if (
        head
        and data.startswith(b"{")
        and not _REFERENCES.match(head[0])
        and _all_begin(data, ends, head.end())
    ):
        return False
    return _REFERENCES.search(data) is not None


def _all_begin(data: bytes, ends: list[int], length: int) -> bool:
    """Whether all lines begin with the same `length` bytes."""
    begins = np.array([0, *ends[:-1]])
    begins[1:] += 1
    if begins[-1] + length > len(data):
        return False
    octets = np.frombuffer(data, np.uint8)
    return bool((octets[begins[:, None] + np.arange(length)] == octets[:length]).all())


def _lists(data: bytes, ends: list[int]) -> list[int]:
    """The lines that begin with a bracket."""
    begins = np.array([0, *ends[:-1]])
    begins[1:] += 1
    begins[0] = len(BOM) * data.startswith(BOM)
    octets = np.frombuffer(data, np.uint8)
    rows: list[int] = np.flatnonzero(octets[np.minimum(begins, len(data) - 1)] == ord("[")).tolist()
    return rows


def unwrap(raw: bytes, level: int = 0) -> list[Item] | None:
    """Return a wrapper and its records, at any depth; None for others."""
    raw = text_of(raw).rstrip()
    kind = ARRAY if raw.startswith(b"[") else _kind(raw)
    opener = _OPENERS.get(kind)
    if opener is None:
        return None
    if level == MOST_LEVELS:
        return [Item(raw, (kind, Quarantined(WRAPPED_TOO_DEEP)))]
    try:
        if kind != ARRAY and has_doubled_key(raw):
            raise Quarantined(DOUBLED_KEY)
        items = opener(raw)
    except FAILURES as err:
        return [Item(raw, (UNROUTED if kind == ARRAY else kind, Quarantined(reason_of(err, raw))))]
    except Quarantined as err:
        return [Item(raw, (kind, err))]
    if items is None:
        return None
    inner = ([item] if item.outcome else unwrap(item.raw, level + 1) or [item] for item in items)
    return [Item(b"", (kind, Filtered("unwrapped"))), *chain.from_iterable(inner)]


def _kind(raw: bytes) -> str:
    """The type a line says it is, "" where it says none."""
    try:
        return _HEAD.decode(raw).resourceType or ""
    except FAILURES:
        return ""


def _in_array(raw: bytes) -> list[Item]:
    return [Item(bytes(value)) for value in _ARRAY.decode(raw)]


def _in_bundle(raw: bytes) -> list[Item]:
    bundle = _BUNDLE.decode(raw)
    updated = bundle.meta.lastUpdated if bundle.meta else None
    return [_entry(bytes(entry), bundle.timestamp or updated) for entry in bundle.entry]


def _entry(raw: bytes, time: str | None) -> Item:
    """An entry of a Bundle that was written at `time`."""
    try:
        entry = _ENTRY.decode(raw)
        if has_doubled_key(raw):
            return Item(raw, (UNROUTED, Quarantined(DOUBLED_KEY)))
    except FAILURES as err:
        return Item(raw, (UNROUTED, Quarantined(reason_of(err, raw))))
    if entry.request and (entry.request.method or "").upper() == "DELETE":
        modified = entry.response.lastModified if entry.response else None
        return _deletion(raw, deleted_by(entry.request.url), modified or time)
    resource = bytes(entry.resource)
    if resource in (b"", b"null"):
        return Item(raw, (ENTRY, Filtered("no resource")))
    return Item(_with_id(resource, entry.fullUrl))


def _with_id(resource: bytes, url: str | None) -> bytes:
    """A resource that has no id gets the one that the Bundle refers to it by."""
    try:
        head = _HEAD.decode(resource)
    except FAILURES:
        return resource
    name = (url or "").rstrip("/").replace(":", "/").rsplit("/", 1)[-1]
    if head.id is not None or not name:
        return resource
    return b'{"id":' + msgspec.json.encode(name) + b"," + resource.lstrip()[1:]


def _in_parameters(raw: bytes) -> list[Item]:
    def inside(parts: list[_Part]) -> Iterator[Item]:
        for part in parts:
            if bytes(part.resource) not in (b"", b"null"):
                yield Item(bytes(part.resource))
            yield from inside(part.part)

    return list(inside(_PARAMETERS.decode(raw).parameter))


def _in_binary(raw: bytes) -> list[Item] | None:
    """The lines of a file of FHIR in base64; None where the Binary holds something else."""
    binary = _BINARY.decode(raw)
    says_json = "json" in (binary.contentType or "").lower()
    try:
        content = base64.b64decode("".join((binary.data or "").split()), validate=True)
        if packing(content) == GZIP:
            content = _unpacked(content)
    except (ValueError, zlib.error) as err:
        if says_json:
            raise Quarantined(WRAPPED_DATA) from err
        return None
    text = text_of(content)
    if b'"resourceType"' not in content or text[:1] not in (b"{", b"["):
        if says_json and text:
            raise Quarantined(WRAPPED_DATA)
        return None
    values = documents(content) if is_document(content) else content.split(b"\n")
    return [Item(value) for value in values if value.strip()]


def _unpacked(content: bytes) -> bytes:
    """What a gzip archive in memory holds; ValueError where it holds more than a line may."""
    unpacking = zlib.decompressobj(wbits=31)
    found = unpacking.decompress(content, MOST_UNPACKED)
    if not unpacking.eof or unpacking.unconsumed_tail:
        raise ValueError
    return found


def _in_list(raw: bytes) -> None:
    """A List names resources, which are in the export; those that it contains have no id of their own."""
    if any(inner.resourceType in DECODERS for inner in _LIST.decode(raw).contained):
        raise Quarantined(CONTAINED_LIST)


_OPENERS: dict[str, Callable[[bytes], list[Item] | None]] = {
    ARRAY: _in_array,
    "Bundle": _in_bundle,
    "Parameters": _in_parameters,
    "Binary": _in_binary,
    "List": _in_list,
}


def _deletion(raw: bytes, named: tuple[str, str] | None, time: str | None) -> Item:
    """A record that says that another one is gone."""
    if named is None:
        return Item(raw, (UNROUTED, Quarantined(UNCLEAR_DELETION)))
    kind = named[0] if named[0] in R4 else UNKNOWN_TYPE
    return Item(raw, (kind, Filtered("deletion")), (*named, moment_of_deletion(time)))


def _as_deletion(item: Item) -> Item:
    """A record in the folder of deletions: everything in it is gone."""
    if item.outcome is not None or not item.raw.strip():
        return item
    try:
        head = _HEAD.decode(item.raw.removeprefix(BOM))
    except FAILURES:
        return item  # judged like any other line
    if head.resourceType == "OperationOutcome":
        return item
    named = (head.resourceType, head.id) if head.resourceType and head.id else None
    return _deletion(item.raw, named, head.meta.lastUpdated if head.meta else None)


def is_document(head: bytes) -> bool:
    """Whether a file starting so is one JSON over many lines."""
    first, _, rest = text_of(head).partition(b"\n")
    first, second = first.strip(), rest.lstrip()[:1]
    if first.startswith(b"["):
        return bool(second) and not first.endswith(b"]")
    follows = {b"{": b'"}', b"[": b"{[]", b",": b'"', b":": b'"{['}.get(first[-1:], b"")
    return first.startswith(b"{") and bool(second) and second in follows


def documents(data: bytes) -> list[bytes]:
    """Return JSON values, each on one line; text that is no JSON last."""
    try:
        return [bytes(_RAW.decode(text_of(data))).translate(_BREAKS)]
    except FAILURES:
        pass  # more than one, or none
    found, begin = [], 0
    text = text_of(data).decode("utf-8", "surrogateescape")
    decoder = json.JSONDecoder()
    while begin < len(text):
        if text[begin] in " \t\r\n":
            begin += 1
            continue
        try:
            end = decoder.raw_decode(text, begin)[1]
        except (ValueError, RecursionError):
            end = len(text)
        found.append(text[begin:end].encode("utf-8", "surrogateescape").translate(_BREAKS).strip())
        begin = end
    return found
