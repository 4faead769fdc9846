"""Patients -> birth, death, and facts without a time: sex, race, ethnicity."""

from chartscan.schema import DEATH_BY_DISPOSITION, DEATH_DISPUTED
from chartscan.sources.fhir.context import Context
from chartscan.sources.fhir.identity import (
    ALIVE,
    DEAD,
    DEAD_AND_ALIVE,
    DISPUTED,
    DISPUTED_DEATH,
    UNSAID,
    Interval,
    Vital,
    vital_of,
)
from chartscan.sources.fhir.outcomes import NO_ID, Quarantined
from chartscan.sources.fhir.resources import Patient, Reference

_US_CORE = {
    "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race": "RACE",
    "http://hl7.org/fhir/us/core/StructureDefinition/us-core-ethnicity": "ETHNICITY",
}
_CATEGORY = "ombCategory"


def map_patient(patient: Patient, context: Context) -> None:
    """Add a Patient's facts; a replaced record adds only a death otherwise unknown."""
    if not patient.id:
        raise Quarantined(NO_ID)
    subject = context.subject(Reference(f"Patient/{patient.id}"))
    vital = vital_of(patient, context.clock, context.person.zones)
    status = context.index.register.status(patient.id)
    if status == UNSAID:  # also where one line says alive and another nothing
        vital = vital._replace(status=UNSAID)
    elif status == DISPUTED:
        death = context.index.register.death(patient.id)
        vital = vital._replace(death=death, status=DEAD, flags=(*vital.flags, DISPUTED_DEATH))
    context.flags.update(vital.flags)
    if context.person.patient_id != patient.id:
        context.flags["merged_patient"] += 1
        if vital.status == DEAD and context.index.register.status(context.person.patient_id) != DEAD:
            _death(vital, subject, context)
        return
    _static(patient, subject, context)
    _birth(patient, vital, subject, context)
    _death(vital, subject, context)


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


def _birth(patient: Patient, vital: Vital, subject: int, context: Context) -> None:
    """Birth is placed at the START of its date: no event may come before it."""
    if not patient.birthDate:
        context.flags["birth_unknown"] += 1
    if vital.birth is None:
        return
    birth = context.person.life.birth
    if birth is None:
        context.flags["birth_implausible"] += 1  # most encounters of the patient lie before it
        return
    if len(patient.birthDate or "") < 8:
        context.flags["birth_partial"] += 1
    context.events.add(subject, birth, "MEDS_BIRTH", "birth", birth)


def _death(vital: Vital, subject: int, context: Context) -> None:
    """That the patient is dead, alive or both; the interval of the death, without one where it is not known.

    Where only the fact is known, the end of the last stay with a deadly outcome is taken; such a stay is the
    fact too, unless the patient is said to live. Such a time is marked as a disposition's, for labels.
    """
    if DISPUTED_DEATH in vital.flags:
        context.events.add(subject, None, DEATH_DISPUTED, "outcome", None)
    if DEAD_AND_ALIVE in vital.flags:
        context.events.add(subject, None, "VITAL_STATUS//ALIVE", "outcome", None)
    if vital.death is not None:
        _add_death(vital.death, subject, context)
        return
    expired = context.index.register.expired_ends(context.person.patient_id)
    if vital.status == ALIVE:
        context.events.add(subject, None, "VITAL_STATUS//ALIVE", "outcome", None)
        context.flags["deadly_stay_of_a_living_patient"] += expired is not None
    elif vital.status == DEAD or expired is not None:
        context.flags["death_without_date" if vital.status == DEAD else "death_from_disposition"] += 1
        _add_death((expired[-1], expired[-1]) if expired else None, subject, context)
        if expired:
            context.events.add(subject, None, DEATH_BY_DISPOSITION, "outcome", None)


def _add_death(death: Interval | None, subject: int, context: Context) -> None:
    first, last = death or (None, None)
    earliest = (first, first) if first != last else None
    context.events.add(subject, last, "MEDS_DEATH", "death", last, earliest=earliest)
