"""Whether two lines of one id tell of two people, and which patients share a record number.

Ids are unique within one server only. An export put together from two has other people, and other stays,
under the same ids; they must never become one. Names and numbers are kept as digests.
"""

import hashlib
from array import array
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Raw

from chartscan.errors import DataError
from chartscan.sources.fhir.plausible import NO_TIME
from chartscan.sources.fhir.references import Table
from chartscan.sources.fhir.resources import HumanName, NumberedIdentifier, Patient
from chartscan.sources.fhir.vital import Interval

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
    """Put an identity into the columns of a row; of its numbers two are enough to know it again."""
    numbers = identity.numbers or {0}
    for name, value in zip(
        COLUMNS,
        (*identity[:4], min(numbers), max(numbers), identity.server),
        strict=True,
    ):
        table.columns[name][row] = value


def another_person(table: Table, row: int, other: Identity, one_history: bool) -> bool:
    """Whether the line kept at `row` and this one cannot be two versions of one person.

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
        """How many patients have a record number that another has too; `person` is who each row is."""
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
    """A list that is read where it can be; it decides nothing that would cost the record."""
    try:
        return msgspec.json.decode(raw, type=kind) if bytes(raw) not in (b"", b"null") else []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []


def _digest(text: str) -> int:
    hashed = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(hashed) >> 1) | 1
