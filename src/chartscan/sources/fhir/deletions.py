"""What an export says was deleted: Bundles whose entries are requests to DELETE, as in a folder `deleted`."""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from chartscan.sources.fhir.lines import BOM
from chartscan.sources.fhir.ranks import ALWAYS, NO_TIME, moment_of
from chartscan.sources.fhir.references import target
from chartscan.sources.fhir.resources import Bundle

_BUNDLE = msgspec.json.Decoder(Bundle)
_DELETE = b'"DELETE"'


class Deletion(NamedTuple):
    """One resource that was deleted, and when, in microseconds; ALWAYS where that is not said."""

    kind: str
    id: str
    time: int


def deletions_in(data: bytes) -> list[Deletion]:
    """The deletions in lines of NDJSON."""
    if _DELETE not in data:
        return []
    return [deletion for line in data.split(b"\n") if _DELETE in line for deletion in deletions_of(line)]


def deletions_of(line: bytes) -> Iterator[Deletion]:
    """The deletions that one line holds; none where it is no Bundle."""
    try:
        bundle = _BUNDLE.decode(line.removeprefix(BOM))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    own = moment_of(bundle.meta.lastUpdated if bundle.meta else None)
    for entry in bundle.entry:
        if entry.request is None or entry.request.method != "DELETE":
            continue
        kind, resource_id = target(entry.request.url or "")
        modified = moment_of(entry.response.lastModified if entry.response else None)
        known = modified if modified != NO_TIME else own
        if kind and resource_id:
            yield Deletion(kind, resource_id, ALWAYS if known == NO_TIME else known)
