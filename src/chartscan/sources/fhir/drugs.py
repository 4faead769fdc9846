"""A drug's codes: those of its Medication or of its ingredients, at any depth."""

from collections.abc import Callable
from typing import NamedTuple

import msgspec
from msgspec import Raw

from chartscan.sources.fhir.codes import CodeBook
from chartscan.sources.fhir.references import text_of
from chartscan.sources.fhir.resources import Contained, Medication

_CONTAINED = msgspec.json.Decoder(list[Raw] | None)
_MEDICATION = msgspec.json.Decoder(Contained)


class Ingredients(NamedTuple):
    """Codes of a drug, and the drugs it is made of where it has none."""

    codes: tuple[str, ...]
    references: tuple[str, ...] = ()


Lookup = Callable[[str], Ingredients | None]


def ingredients(medication: Medication | Contained, codes: CodeBook) -> Ingredients:
    """What a Medication says it is; what it carries inside itself is resolved."""
    own = codes.find(medication.code)
    if own:
        return Ingredients((own,))
    concepts = (codes.find(part.itemCodeableConcept) for part in medication.ingredient)
    references = filter(None, (text_of(part.itemReference) for part in medication.ingredient))
    found = Ingredients(tuple(filter(None, concepts)), tuple(references))
    if isinstance(medication, Contained) or not medication.contained:
        return found
    inside = contained(medication.contained, codes)
    resolved = [resolve(name, inside.get) for name in found.references if name.startswith("#")]
    outside = tuple(name for name in found.references if not name.startswith("#"))
    return Ingredients((*found.codes, *(code for part in resolved for code in part.codes)), outside)


def contained(raw: Raw, codes: CodeBook) -> dict[str, Ingredients]:
    """The Medications that travel inside a record, by the reference that names them.

    Other resources that travel with them, or unusable ones, name no drug.
    """
    found = {}
    for written in _CONTAINED.decode(raw) or []:
        try:
            resource = _MEDICATION.decode(written)
        except msgspec.ValidationError:
            continue
        found["#" + (resource.id or "").removeprefix("#")] = ingredients(resource, codes)
    return found


def resolve(reference: str, find: Lookup) -> Ingredients:
    """Return codes of a drug and all its ingredients; cycles add nothing.

    References that `find` does not know are handed back.
    """
    codes: dict[str, None] = {}
    unknown: dict[str, None] = {}
    waiting, seen = [reference], {reference}
    while waiting:
        name = waiting.pop(0)
        found = find(name)
        if found is None:
            unknown[name] = None
            continue
        codes |= dict.fromkeys(found.codes)
        waiting += [part for part in found.references if part not in seen]
        seen |= set(found.references)
    return Ingredients(tuple(codes), tuple(unknown))
