"""Patient.link: which record replaced which, followed to the last one.

A chain that comes back to itself, or two records that replaced the same one, leave nobody to follow: those
in a cycle cannot be used, those with two successors stay themselves.
"""

from collections import Counter
from typing import NamedTuple

from chartscan.sources.fhir.identity import lenient
from chartscan.sources.fhir.references import Table, key_of, target, text_of
from chartscan.sources.fhir.resources import Patient, PatientLink


class Merges(NamedTuple):
    """Key of a replaced patient -> id of the last record; keys that lead into a cycle; and what was odd."""

    last: dict[int, str]
    cyclic: set[int]
    flags: Counter[str]

    def id_of(self, patient_id: str) -> str:
        """The id under which a patient is known in the end."""
        return self.last.get(key_of("Patient", patient_id)[0], patient_id) if self.last else patient_id

    def is_cyclic(self, patient_id: str) -> bool:
        return bool(self.cyclic) and key_of("Patient", patient_id)[0] in self.cyclic


def successors_of(patient: Patient) -> list[tuple[int, str]]:
    """(key of the replaced, id of the replacing) for each merge that a Patient tells of."""
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
