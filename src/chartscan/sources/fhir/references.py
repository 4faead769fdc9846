"""References between resources, which of two versions is the later one, and deletions."""

import hashlib
from array import array
from typing import Any, NamedTuple

import msgspec

from chartscan.errors import DataError
from chartscan.sources.fhir.clock import Clock
from chartscan.sources.fhir.outcomes import Quarantined
from chartscan.sources.fhir.resources import Coding, Meta, Reference

NO_TIME = -(2**63)  # earlier than all others
ALWAYS = 2**63 - 1  # later than all others
_MOST_DIGITS = 18
_CLOCK = Clock()


def version_of(meta: Meta | None) -> int:
    """The number of a version, -1 where it has none."""
    return version_in(meta.versionId if meta else None)


def version_in(text: str | None) -> int:
    """The number that a `versionId` is, -1 where it is none: many servers write words."""
    if text and text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS:
        return int(text)
    return -1


def updated_of(meta: Meta | None) -> int:
    """Return when a version was written, in microseconds; NO_TIME if unknown."""
    text = meta.lastUpdated if meta else None
    try:
        return _CLOCK.known(text)
    except KeyError:
        return moment_of(text)


def stamp_of(meta: Meta | None) -> int:
    """Return a version's own number, else its time of writing."""
    version = version_of(meta)
    return version if version >= 0 else updated_of(meta)


def moment_of(text: str | None) -> int:
    """A time in microseconds, NO_TIME where there is none."""
    try:
        return _CLOCK.instant(text) if text else NO_TIME
    except Quarantined:
        return NO_TIME


def is_later(version: int, updated: int, than_version: int, than_updated: int) -> bool:
    """Whether a line is an id's later version; ties go to the second."""
    if version >= 0 and than_version >= 0 and version != than_version:
        return version > than_version
    return (updated, version) >= (than_updated, than_version)


def marked(codings: tuple[Coding, ...], code: str) -> bool:
    """Whether a server put the mark `code` on a resource, in any system."""
    return any((coding.code or "").strip().upper() == code for coding in codings)


# References are relative, absolute, versioned or urns; all lead to (type, id). The tables store 64-bit keys
# and numbers only: a million encounters take about 150 MB.

KEPT, LEFT_OUT, TEST, DELETED = range(4)  # whether a resource counts, and why not
_ENCODER = msgspec.json.Encoder()
_COLUMNS = ("check", "place", "version", "updated", "digest", "left_out")


def target(reference: str) -> tuple[str, str]:
    """Return type and id of a reference; "" for a urn's type, "" without id."""
    path = reference.strip().split("/_history/", 1)[0].partition("?")
    if path[1] or path[0].startswith("#"):
        return "", ""  # conditional and contained references name nothing in the export
    if path[0].startswith(("urn:uuid:", "urn:oid:")):
        return "", path[0].split(":", 2)[2]
    parts = path[0].rsplit("/", 2)
    return (parts[-2], parts[-1]) if len(parts) > 1 else ("", parts[-1])


def key_of(kind: str, resource_id: str) -> tuple[int, int]:
    """A 63-bit key, and 63 bits more by which a collision is noticed."""
    hashed = hashlib.blake2b(f"{kind}\x00{resource_id}".encode(), digest_size=16).digest()
    return int.from_bytes(hashed[:8]) >> 1, int.from_bytes(hashed[8:]) >> 1


def digest_of(resource: Any) -> int:
    """Return 63 bits that are equal where two resources' used contents are."""
    return int.from_bytes(hashlib.blake2b(_ENCODER.encode(resource), digest_size=8).digest()) >> 1


class Table:
    """Resources of one type: the valid version of each id, and its numbers.

    `put` keeps the highest version, else the latest update, else the later line. Rows never move. An id is
    undecided where only the order of lines says which of two that differ is valid.
    """

    def __init__(self, kind: str, *columns: str):
        self.conflicts = 0  # lines that gave an id another content
        self.deleted_and_exported = 0  # ids
        self.columns = {name: array("q") for name in (*_COLUMNS, *columns)}
        self._kind = kind
        self._rows: dict[int, int] = {}
        self._deleted: set[int] = set()  # keys
        self._undecided: set[int] = set()  # rows

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, resource_id: str) -> int:
        """Row of an id, -1 if it is not there."""
        return self._rows.get(key_of(self._kind, resource_id)[0], -1)

    def row_of_key(self, key: int) -> int:
        """Row of a key of `key_of`, -1 if it is not there."""
        return self._rows.get(key, -1)

    @property
    def undecided(self) -> int:
        """The number of ids that are undecided."""
        return len(self._undecided)

    def is_undecided(self, row: int) -> bool:
        """Whether an id is undecided."""
        return row in self._undecided

    def stamp(self, row: int) -> int:
        """What tells the version in a row from others of its id, as `ranks.stamp_of`."""
        version = self.columns["version"][row]
        return version if version >= 0 else self.columns["updated"][row]

    def left_out(self, resource_id: str) -> int:
        """Why the resource of an id does not count: KEPT, LEFT_OUT, TEST or DELETED."""
        key = key_of(self._kind, resource_id)[0]
        row = self._rows.get(key, -1)
        if row < 0:
            return DELETED if key in self._deleted else KEPT
        return self.columns["left_out"][row]

    def delete(self, resource_id: str, time: int) -> None:
        """Note that a resource was deleted, unless its valid version was written after that `time`."""
        key = key_of(self._kind, resource_id)[0]
        row = self._rows.get(key, -1)
        if row < 0:
            self._deleted.add(key)
            return
        self.deleted_and_exported += 1
        if time >= self.columns["updated"][row]:
            self.columns["left_out"][row] = DELETED

    def put(self, resource: Any, place: int, left_out: int = 0) -> int:
        """Return the row for a line's resource; -1 when an earlier line stays valid."""
        meta: Meta | None = resource.meta
        key, check = key_of(self._kind, resource.id)
        row = self._rows.setdefault(key, len(self._rows))
        version, updated = version_of(meta), updated_of(meta)
        ranks = {"version": version, "updated": updated, "left_out": left_out}
        own = {"check": check, "place": place, "digest": digest_of(resource)} | ranks
        if row == len(self.columns["place"]):
            for name, column in self.columns.items():
                column.append(own.get(name, 0))
            return row
        if self.columns["check"][row] != check:
            raise DataError(f"Two {self._kind} ids have the same 63-bit key; ingest them as two exports.")
        if own["digest"] == self.columns["digest"][row]:
            return -1
        self.conflicts += 1
        before = self.columns["version"][row], self.columns["updated"][row]
        if not is_later(version, updated, *before):
            return -1
        if before == (version, updated):
            self._undecided.add(row)
        else:
            self._undecided.discard(row)
        for name, value in own.items():
            self.columns[name][row] = value
        return row

    def is_valid(self, row: int, place: int) -> bool:
        """Whether the line at `place` is the valid version of its id."""
        return self.columns["place"][row] == place


class Visit(NamedTuple):
    """An encounter as events see it; microseconds, None where unknown or open.

    Events are expected between `first` and `last`.
    """

    id: str
    kind: int
    start: int | None
    end: int | None
    patient: int = 0  # key of the patient
    first: int = -(2**63)
    last: int = 2**63 - 1


def server_of(reference: str) -> str:
    """The server that an absolute reference names, in one spelling; "" for any other."""
    address = reference.strip().split("/_history/", 1)[0].rstrip("/")
    if not address[:8].lower().startswith(("http://", "https://")):
        return ""
    return address.partition("://")[2].rsplit("/", 2)[0].lower()


def text_of(reference: Reference | None) -> str:
    """What a reference says, "" if nothing."""
    return (reference.reference or "") if reference else ""


UNDATED = 2**63 - 1  # of a deletion whose time is not said: later than all versions


class Deletion(NamedTuple):
    """A resource deleted at `time` (microseconds); `place` locates the record of it."""

    kind: str
    id: str
    time: int
    place: int


def deleted_by(url: str | None) -> tuple[str, str] | None:
    """Return type and id in a DELETE request; None for a conditional one."""
    kind, resource_id = target(url or "")
    return (kind, resource_id) if kind and resource_id else None


def moment_of_deletion(text: str | None) -> int:
    """Return when a deletion was made; UNDATED if missing or unreadable."""
    try:
        return Clock().instant(text) if text else UNDATED
    except Quarantined:
        return UNDATED
