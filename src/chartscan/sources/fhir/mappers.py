"""What reads each type of resource, and whether a line would be used."""

from collections.abc import Callable
from typing import Any

import msgspec

from chartscan.sources.fhir.clinical import map_allergy, map_condition, map_immunization, map_procedure
from chartscan.sources.fhir.codes import CodeBook
from chartscan.sources.fhir.config import Config
from chartscan.sources.fhir.context import Context
from chartscan.sources.fhir.encounters import map_encounter
from chartscan.sources.fhir.events import EventBuffer
from chartscan.sources.fhir.index import Index
from chartscan.sources.fhir.medications import (
    map_administration,
    map_dispense,
    map_medication,
    map_request,
    map_statement,
)
from chartscan.sources.fhir.observations import map_observation
from chartscan.sources.fhir.outcomes import (
    MODIFIED,
    NO_ID,
    TAGGED_DELETED,
    TEST_DATA,
    TEST_PATIENT,
    Filtered,
    Quarantined,
)
from chartscan.sources.fhir.patients import map_patient
from chartscan.sources.fhir.references import marked
from chartscan.sources.fhir.resources import Meta

MAPPERS: dict[str, Callable[[Any, Context], None]] = {
    "Patient": map_patient,
    "Encounter": map_encounter,
    "Medication": map_medication,
    "Observation": map_observation,
    "Condition": map_condition,
    "Procedure": map_procedure,
    "MedicationRequest": map_request,
    "MedicationAdministration": map_administration,
    "MedicationDispense": map_dispense,
    "MedicationStatement": map_statement,
    "Immunization": map_immunization,
    "AllergyIntolerance": map_allergy,
}


def map_resource(kind: str, resource: Any, context: Context) -> None:
    """Add a resource's events to the context; Filtered or Quarantined without any."""
    if (meta := resource.meta) is not None and (meta.tag or meta.security):
        refuse_marked(kind, meta)
    if resource.modifierExtension:
        refuse_modified(resource, context.config)
    MAPPERS[kind](resource, context)


def refuse_marked(kind: str, meta: Meta | None) -> None:
    """Filtered where a server marked a resource as deleted or as a test."""
    if meta is None:
        return
    if meta.tag and marked(meta.tag, "DELETED"):
        raise Filtered(TAGGED_DELETED)
    if (meta.security and marked(meta.security, "HTEST")) or (meta.tag and marked(meta.tag, "HTEST")):
        raise Filtered(TEST_PATIENT if kind == "Patient" else TEST_DATA)


def refuse_modified(resource: Any, config: Config) -> None:
    """Raise Quarantined where an unknown modifier extension may invert a record."""
    urls = (extension.url for extension in resource.modifierExtension or ())
    if any(url not in config.harmless_modifiers for url in urls):
        raise Quarantined(MODIFIED)


# Both passes must agree on unused Patients and Encounters, so the first pass tries the mapper of the second.


class Judge:
    """Tries mappers in a separate context, which accepts any patient."""

    def __init__(self, config: Config):
        codes, lenient = CodeBook(config), msgspec.structs.replace(config, allow_missing=True)
        self._events = EventBuffer(lambda table, places: None, config.batch_rows)
        self._context = Context(lenient, Index(lenient, codes), codes, self._events)

    def __call__(self, kind: str, resource: Any) -> None:
        """Filtered or Quarantined where `resource`, of type `kind`, gives nothing."""
        if not resource.id:
            raise Quarantined(NO_ID)
        try:
            map_resource(kind, resource, self._context)
        finally:
            self._events.drop_after(0)
            self._context.placeholders.clear()
            self._context.flags.clear()
