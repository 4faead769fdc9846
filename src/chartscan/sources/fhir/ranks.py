"""What says which of two versions of a resource is the later one."""

from chartscan.sources.fhir.clock import Clock
from chartscan.sources.fhir.outcomes import Quarantined
from chartscan.sources.fhir.resources import Coding, Meta

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
    """When a version was written, in microseconds; NO_TIME where that is not said or not to be read."""
    text = meta.lastUpdated if meta else None
    try:
        return _CLOCK.known(text)
    except KeyError:
        return moment_of(text)


def stamp_of(meta: Meta | None) -> int:
    """One number for a version: its own where it has one, else when it was written."""
    version = version_of(meta)
    return version if version >= 0 else updated_of(meta)


def moment_of(text: str | None) -> int:
    """A time in microseconds, NO_TIME where there is none."""
    try:
        return _CLOCK.instant(text) if text else NO_TIME
    except Quarantined:
        return NO_TIME


def is_later(version: int, updated: int, than_version: int, than_updated: int) -> bool:
    """Whether a line is the later version of an id; of two equal ones, which come one after the other, the
    second is."""
    if version >= 0 and than_version >= 0 and version != than_version:
        return version > than_version
    return (updated, version) >= (than_updated, than_version)


def marked(codings: tuple[Coding, ...], code: str) -> bool:
    """Whether a server put the mark `code` on a resource, in any system."""
    return any((coding.code or "").strip().upper() == code for coding in codings)
