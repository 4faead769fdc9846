"""Patients -> birth, death, and facts without a time: sex, race, ethnicity."""

from chartscan.sources.fhir.clock import DAY
from chartscan.sources.fhir.context import Context
from chartscan.sources.fhir.outcomes import NO_ID, Quarantined
from chartscan.sources.fhir.resources import Patient, Reference

_US_CORE = {
    "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race": "RACE",
    "http://hl7.org/fhir/us/core/StructureDefinition/us-core-ethnicity": "ETHNICITY",
}
_CATEGORY = "ombCategory"
_ZONES = 14 * DAY // 24  # how far a date of one time zone may reach into another


def map_patient(patient: Patient, context: Context) -> None:
    """All that a Patient tells."""
    if not patient.id:
        raise Quarantined(NO_ID)
    subject = context.subject(Reference(f"Patient/{patient.id}"))
    _static(patient, subject, context)
    _birth(patient, subject, context)
    dead, death = _death(patient, context)
    if dead:
        context.events.add(subject, death, "MEDS_DEATH", "death", death)


def _static(patient: Patient, subject: int, context: Context) -> None:
    if sex := context.words.sex_of(patient.gender):
        context.events.add(subject, None, f"GENDER//{sex}", "static", None)
    for extension in patient.extension:
        name = _US_CORE.get(extension.url or "")
        for part in extension.extension if name else []:
            if part.url == _CATEGORY and part.valueCoding and part.valueCoding.code:
                code = f"{name}//{part.valueCoding.code.strip()}"
                if part.valueCoding.display:
                    context.codes.describe(code, part.valueCoding.display)
                context.events.add(subject, None, code, "static", None)


def _birth(patient: Patient, subject: int, context: Context) -> None:
    """Birth is placed at the START of its date: no event may come before it."""
    if not patient.birthDate:
        context.flags["birth_unknown"] += 1
        return
    if len(patient.birthDate) < 10:
        context.flags["birth_partial"] += 1
    birth = context.clock.interval(patient.birthDate)[0]
    context.events.add(subject, birth, "MEDS_BIRTH", "birth", birth)


def _death(patient: Patient, context: Context) -> tuple[bool, int | None]:
    """Whether the patient is dead, and the moment of death; None where nobody knows when.

    A date means its last moment, and not before the end of the stay that the patient died in. Where only
    the fact is known, the end of the last stay with a deadly outcome is taken; such a stay is the fact too,
    unless the patient is said to live.
    """
    expired = context.index.expired_ends(patient.id or "")
    stays = expired or []
    if patient.deceasedDateTime:
        first, last = context.clock.interval(patient.deceasedDateTime)
        if first == last:
            return True, last
        return True, max([last, *(end for end in stays if first - _ZONES <= end <= last + _ZONES)])
    if patient.deceasedBoolean is None and expired is None:
        return False, None
    if patient.deceasedBoolean is False:
        context.flags["deadly_stay_of_a_living_patient"] += expired is not None
        return False, None
    context.flags["death_without_date" if patient.deceasedBoolean else "death_from_disposition"] += 1
    return True, stays[-1] if stays else None
