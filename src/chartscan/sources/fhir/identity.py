"""The identity of a Patient: birth, death, distinguishing facts, and replaced records."""

import hashlib
from array import array
from collections import Counter
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Raw

from chartscan.errors import DataError
from chartscan.sources.fhir.clock import NO_TIME, Clock, Implausible, Zones
from chartscan.sources.fhir.outcomes import Quarantined
from chartscan.sources.fhir.references import Table, key_of, target, text_of
from chartscan.sources.fhir.resources import HumanName, NumberedIdentifier, Patient, PatientLink

# Birth and death are intervals. One that is unreadable or implausible becomes unknown, with a flag; the
# patient stays. Dead at an impossible time is dead, at an unknown time.

Interval = tuple[int, int]
UNSAID, ALIVE, DEAD, DISPUTED = range(4)  # DISPUTED: two lines differ, and nothing says which is newer
UNDATED = NO_TIME, NO_TIME
DISPUTED_DEATH = "death_disputed"  # a flag: of a DISPUTED patient
DEAD_AND_ALIVE = "dead_and_alive"  # a flag: both are said of one patient


class Vital(NamedTuple):
    """Intervals of birth and death, None where unknown; `flags` name oddities."""

    birth: Interval | None
    death: Interval | None
    status: int  # UNSAID, ALIVE or DEAD
    flags: tuple[str, ...]


def vital_of(patient: Patient, clock: Clock, zones: Zones = None) -> Vital:
    """Return a Patient's birth and death, with dates in the site's zone or `zones`."""
    birth, birth_flag = _read(patient.birthDate, "birth", clock, None)
    death, death_flag = _read(patient.deceasedDateTime, "death", clock, zones)
    flags = [birth_flag, death_flag]
    if birth and death and death[1] < birth[0]:
        death = None
        flags.append("death_before_birth")
    masked = bytes(patient.masked_death) not in (b"", b"null")
    dead = bool(patient.deceasedDateTime) or masked or patient.deceasedBoolean is True
    if dead and patient.deceasedBoolean is False:
        flags.append(DEAD_AND_ALIVE)
    status = DEAD if dead else UNSAID if patient.deceasedBoolean is None else ALIVE
    return Vital(birth, death, status, tuple(filter(None, flags)))


def either(status: int, death: Interval, other_status: int, other_death: Interval) -> tuple[int, Interval]:
    """Combine two statements of a death, one valid: state and whole interval."""
    deaths = [when for state, when in ((status, death), (other_status, other_death)) if state >= DEAD]
    if status != DISPUTED and (len(deaths) == 0 or deaths == [death, death]):
        return min(status, other_status), death
    if UNDATED in deaths:
        return DISPUTED, UNDATED
    return DISPUTED, (min(first for first, _ in deaths), max(last for _, last in deaths))


def _read(text: str | None, name: str, clock: Clock, zones: Zones) -> tuple[Interval | None, str]:
    """The interval of a birth or death, or None, with the flag that says why; "" where nothing is odd."""
    if not text:
        return None, ""
    try:
        return clock.day_interval(text, zones, of_birth=name == "birth"), ""
    except Implausible:
        return None, f"{name}_implausible"
    except Quarantined:
        return None, f"{name}_invalid"


# Ids are unique within one server only. In an export joined from two, other people have the same ids; they
# must never become one. Names and numbers are kept as digests.

COLUMNS = ("born_first", "born_last", "sex", "family", "number_low", "number_high", "server")
_SEXES = {"m": 1, "f": 2, "w": 2}


class Identity(NamedTuple):
    """What tells people apart; 0 where nothing is said, NO_TIME for a birth."""

    born_first: int
    born_last: int
    sex: int
    family: int
    numbers: frozenset[int]  # digests of record numbers, with their systems
    server: int  # digest of meta.source


def identity_of(patient: Patient, birth: Interval | None) -> Identity:
    """The identity that a line states."""
    names = lenient(patient.name, list[HumanName])
    family = next((name.family or name.text for name in names if name.family or name.text), None)
    source = (patient.meta.source or "").partition("#")[0] if patient.meta else ""
    numbers = (
        _digest(f"{one.system}\x00{bytes(one.value).decode(errors='replace')}")
        for one in lenient(patient.identifier, list[NumberedIdentifier])
        if one.system and bytes(one.value) not in (b"", b'""', b"null")
    )
    return Identity(
        *(birth or (NO_TIME, NO_TIME)),
        sex=_SEXES.get((patient.gender or "")[:1].lower(), 0),
        family=_digest(family.strip().casefold()) if family else 0,
        numbers=frozenset(numbers),
        server=_digest(source) if source else 0,
    )


def keep(table: Table, row: int, identity: Identity) -> None:
    """Store an identity in a row; two of its numbers are enough."""
    numbers = identity.numbers or {0}
    for name, value in zip(
        COLUMNS,
        (*identity[:4], min(numbers), max(numbers), identity.server),
        strict=True,
    ):
        table.columns[name][row] = value


def another_person(table: Table, row: int, other: Identity, one_history: bool) -> bool:
    """Whether `row` and this line cannot be versions of one person.

    Versions correct one thing at a time. Two things that differ (birth, sex, family name, record numbers)
    are another person, three in `one_history` (versions in one file), one where also the source differs;
    but never where a record number is the same.
    """
    kept = {name: table.columns[name][row] for name in COLUMNS}
    numbers = {kept["number_low"], kept["number_high"]} - {0}
    if numbers & other.numbers:
        return False
    births = NO_TIME not in (kept["born_first"], other.born_first)
    differing = (
        births and (kept["born_last"] < other.born_first or other.born_last < kept["born_first"]),
        0 not in (kept["sex"], other.sex) and kept["sex"] != other.sex,
        0 not in (kept["family"], other.family) and kept["family"] != other.family,
        bool(numbers and other.numbers),
    )
    sources = 0 not in (kept["server"], other.server) and kept["server"] != other.server
    return sum(differing) >= (1 if sources else 3 if one_history else 2)


class Numbers:
    """Record numbers of all patients, in arrays: 16 bytes for each."""

    def __init__(self) -> None:
        self._numbers = array("q")
        self._rows = array("q")

    def add(self, row: int, numbers: frozenset[int]) -> None:
        for number in numbers:
            self._numbers.append(number)
            self._rows.append(row)

    def sharing(self, person: np.ndarray) -> int:
        """Return how many patients share a record number; `person` identifies rows."""
        if not self._numbers:
            return 0
        pairs = np.stack([np.array(self._numbers), person[np.array(self._rows)]], axis=1)
        pairs = np.unique(pairs, axis=0)
        shared = np.flatnonzero(np.diff(pairs[:, 0]) == 0)
        return len(np.unique(pairs[np.concatenate([shared, shared + 1]), 1]))


def refuse_two_servers(patients: int, encounters: int, others: int = 0) -> None:
    """DataError where ids stand for two people, or for records of two people."""
    if patients or encounters or others:
        found = {"patient": patients, "encounter": encounters, "other": others}
        ids = " and ".join(f"{count} {name} ids" for name, count in found.items() if count)
        raise DataError(
            f"{ids} of this export each name two different people: these are records of two servers, whose "
            "ids overlap. Ingest each server's files as an export of its own, with its own namespace (--set "
            "namespace=...). If it is one server, say so: --set one_server=true. Then of two versions the "
            "valid one counts."
        )


def lenient(raw: Raw, kind: Any) -> Any:
    """Decode a list leniently: a failure never costs the record."""
    try:
        return msgspec.json.decode(raw, type=kind) if bytes(raw) not in (b"", b"null") else []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []


def _digest(text: str) -> int:
    hashed = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(hashed) >> 1) | 1


# Patient.link, followed to the last record. Records in a cycle cannot be used; those with two successors
# stay.


class Merges(NamedTuple):
    """Replaced patients: key -> last record; keys in cycles; and oddities."""

    last: dict[int, str]
    cyclic: set[int]
    flags: Counter[str]

    def id_of(self, patient_id: str) -> str:
        """The id under which a patient is known in the end."""
        return self.last.get(key_of("Patient", patient_id)[0], patient_id) if self.last else patient_id

    def is_cyclic(self, patient_id: str) -> bool:
        return bool(self.cyclic) and key_of("Patient", patient_id)[0] in self.cyclic


def successors_of(patient: Patient) -> list[tuple[int, str]]:
    """Return (key of the replaced, id of the replacing) for each merge."""
    own, found = patient.id or "", []
    for link in lenient(patient.link, list[PatientLink]):
        kind, other = target(text_of(link.other))
        if not other or kind not in ("", "Patient"):
            continue
        if link.type == "replaced-by":
            found.append((key_of("Patient", own)[0], other))
        elif link.type == "replaces":
            found.append((key_of("Patient", other)[0], own))
    return found


def followed(told: dict[int, list[tuple[int, str]]], table: Table) -> Merges:
    """All merges, from what each row of `table` told."""
    successors: dict[int, set[str]] = {}
    for pairs in told.values():
        for key, replacing in pairs:
            successors.setdefault(key, set()).add(replacing)
    flags: Counter[str] = Counter()
    after: dict[int, str] = {}
    for key, named in successors.items():
        if len(named) > 1:
            flags["merged_into_two"] += 1
        elif table.row(min(named)) < 0:
            flags["merged_into_unknown"] += 1
        else:
            after[key] = min(named)
    last: dict[int, str] = {}
    cyclic: set[int] = set()
    for key in after:
        _follow(key, after, last, cyclic)
    flags["merge_cycle"] += len(cyclic)
    return Merges(last, cyclic, flags)


def _follow(key: int, after: dict[int, str], last: dict[int, str], cyclic: set[int]) -> None:
    """Find the end of the chain that begins at `key`, for all of its links."""
    path, seen = [], set()
    here, end = key, ""
    while here in after and here not in seen and here not in last and here not in cyclic:
        path.append(here)
        seen.add(here)
        end = after[here]
        here = key_of("Patient", end)[0]
    if here in seen or here in cyclic:
        cyclic.update(path)
        return
    last.update(dict.fromkeys(path, last.get(here, end)))
