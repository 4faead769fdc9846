"""What an export says is gone: DELETE requests in Bundles, and whatever lies in its folder `deleted`."""

from typing import NamedTuple

from chartscan.sources.fhir.clock import Clock
from chartscan.sources.fhir.outcomes import Quarantined
from chartscan.sources.fhir.references import target

UNDATED = 2**63 - 1  # of a deletion whose time is not said: later than all versions


class Deletion(NamedTuple):
    """A resource that is gone since `time`, in microseconds; `place` is that of the record that says so."""

    kind: str
    id: str
    time: int
    place: int


def deleted_by(url: str | None) -> tuple[str, str] | None:
    """Type and id that a DELETE request names, None where it names none, as a conditional one does."""
    kind, resource_id = target(url or "")
    return (kind, resource_id) if kind and resource_id else None


def moment_of(text: str | None) -> int:
    """When a deletion was made, UNDATED where that is not said or not to be read."""
    try:
        return Clock().instant(text) if text else UNDATED
    except Quarantined:
        return UNDATED
