"""References between resources, and the compact tables of what they point to.

A reference may be relative, absolute, versioned or a urn; all lead to (type, id). The tables hold 64-bit
keys and numbers only, so that a million encounters cost some 150 MB.
"""

import hashlib
from array import array
from collections.abc import Iterable
from typing import NamedTuple

from chartscan.errors import DataError
from chartscan.sources.fhir.resources import Reference


def target(reference: str) -> tuple[str, str]:
    """Type and id that a reference names; the type is "" for a urn, the id is "" where none is named."""
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


def digest_of(raw: bytes) -> int:
    """63 bits that tell whether two lines say the same."""
    return int.from_bytes(hashlib.blake2b(raw.strip(), digest_size=8).digest()) >> 1


class Table:
    """Resources of one type: which line is the valid version of each id, and numbers kept beside it.

    `put` keeps the highest version; of equal versions the later line. Rows never move.
    """

    def __init__(self, kind: str, *columns: str):
        self.conflicts = 0  # lines that gave an id another content
        self.columns = {name: array("q") for name in ("check", "place", "version", "digest", *columns)}
        self._kind = kind
        self._rows: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, resource_id: str) -> int:
        """Row of an id, -1 if it is not there."""
        return self._rows.get(key_of(self._kind, resource_id)[0], -1)

    def row_of_key(self, key: int) -> int:
        """Row of a key of `key_of`, -1 if it is not there."""
        return self._rows.get(key, -1)

    def keys(self) -> Iterable[int]:
        """The keys of all rows, in the order of the rows."""
        return self._rows

    def put(self, resource_id: str, place: int, version: int, raw: bytes) -> int:
        """The row to fill for this line, or -1 when an earlier line stays valid."""
        key, check = key_of(self._kind, resource_id)
        row = self._rows.setdefault(key, len(self._rows))
        own = {"check": check, "place": place, "version": version, "digest": digest_of(raw)}
        if row == len(self.columns["place"]):
            for name, column in self.columns.items():
                column.append(own.get(name, 0))
            return row
        if self.columns["check"][row] != check:
            raise DataError(f"Two {self._kind} ids have the same 63-bit key; ingest them as two exports.")
        if own["digest"] == self.columns["digest"][row]:
            return -1
        self.conflicts += 1
        if version < self.columns["version"][row]:
            return -1
        for name, value in own.items():
            self.columns[name][row] = value
        return row

    def is_valid(self, row: int, place: int) -> bool:
        """Whether the line at `place` is the valid version of its id."""
        return self.columns["place"][row] == place


class Visit(NamedTuple):
    """An encounter as its events see it; times in microseconds, None where unknown or still open.

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
