"""One subject's record as FHIR R4 resources, one JSON text per resource, by resource type.

Texts are put together from templates made once per code: all values are codes, numbers or times of our own,
so nothing needs escaping.
"""

import json
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

from chartscan.simulator.catalogue import (
    ALLERGENS,
    BY_REFERENCE,
    DRUGS,
    MEASURES,
    OTHER_DRUGS,
    RACES,
    VACCINES,
)
from chartscan.simulator.subject import DAY, Encounter, Record

RESOURCE_TYPES = (
    "Patient",
    "Encounter",
    "Condition",
    "Observation",
    "Procedure",
    "Medication",
    "MedicationRequest",
    "MedicationAdministration",
    "Immunization",
    "AllergyIntolerance",
)
_LOINC = "http://loinc.org"
_UCUM = "http://unitsofmeasure.org"
_RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
_ICD10CM = "http://hl7.org/fhir/sid/icd-10-cm"
_SNOMED = "http://snomed.info/sct"
_CVX = "http://hl7.org/fhir/sid/cvx"
_HL7 = "http://terminology.hl7.org/CodeSystem"
_RACE_URL = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race"
_RACE_SYSTEM = "urn:oid:2.16.840.1.113883.6.238"
_EPOCH = date(1970, 1, 1)
_CLOCK = tuple(f"T{m // 60:02}:{m % 60:02}" for m in range(1440))
_SECOND = tuple(f":{s:02}Z" for s in range(60))

_DRUG_NAMES = dict((*DRUGS.values(), *OTHER_DRUGS))
_REFERENCED = frozenset(DRUGS[role][0] for role in BY_REFERENCE)
_VACCINE_NAMES = dict(VACCINES)
_ALLERGEN_NAMES = dict(ALLERGENS)


def render(record: Record, subject: str) -> dict[str, list[str]]:
    """JSON texts of the record of `subject` (the Patient's id), by resource type."""
    return {
        "Patient": [_patient(record, subject)],
        "Encounter": [_encounter(e, k, subject) for k, e in enumerate(record.encounters)],
        "Condition": _conditions(record, subject),
        "Observation": _observations(record, subject) + _pressures(record, subject),
        "Procedure": _procedures(record, subject),
        "MedicationRequest": _requests(record, subject),
        "MedicationAdministration": _administrations(record, subject),
        "Immunization": _immunizations(record, subject),
        "AllergyIntolerance": _allergies(record, subject),
    }


def medications() -> list[str]:
    """The Medication resources that prescriptions refer to."""
    return [
        _compact({"resourceType": "Medication", "id": f"medication-{code}", "code": _drug(code)})
        for code in sorted(_REFERENCED)
    ]


def instant(seconds: int) -> str:
    """Seconds since 1970 as a FHIR instant in UTC."""
    day, rest = divmod(seconds, DAY)
    minute, second = divmod(rest, 60)
    return _day(day) + _CLOCK[minute] + _SECOND[second]


def moment(seconds: int) -> datetime:
    """Seconds since 1970 as a datetime in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


@cache
def _day(day: int) -> str:
    return (_EPOCH + timedelta(days=day)).isoformat()


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _concept(system: str, code: str, display: str | None = None) -> dict[str, Any]:
    coding = {"system": system, "code": code}
    return {"coding": [coding | {"display": display}] if display else [coding]}


def _drug(code: str) -> dict[str, Any]:
    return _concept(_RXNORM, code, _DRUG_NAMES[code])


def _patient(record: Record, subject: str) -> str:
    code, name = RACES[record.race]
    race = {
        "url": _RACE_URL,
        "extension": [
            {"url": "ombCategory", "valueCoding": {"system": _RACE_SYSTEM, "code": code, "display": name}},
            {"url": "text", "valueString": name},
        ],
    }
    patient = {
        "resourceType": "Patient",
        "id": subject,
        "extension": [race],
        "gender": record.sex,
        "birthDate": _day(record.birth // DAY),
    }
    if record.death is not None:
        patient["deceasedDateTime"] = instant(record.death)
    return _compact(patient)


@cache
def _encounter_class(kind: str) -> str:
    display = {"IMP": "inpatient encounter", "EMER": "emergency", "AMB": "ambulatory"}[kind]
    return _compact({"system": f"{_HL7}/v3-ActCode", "code": kind, "display": display})


@cache
def _hospitalization(source: str, disposition: str) -> str:
    if not disposition:
        return ""
    detail = {
        "admitSource": _concept(f"{_HL7}/admit-source", source),
        "dischargeDisposition": _concept(f"{_HL7}/discharge-disposition", disposition),
    }
    return f',"hospitalization":{_compact(detail)}'


def _encounter(e: Encounter, k: int, subject: str) -> str:
    return (
        f'{{"resourceType":"Encounter","id":"{subject}-e{k}","status":"finished",'
        f'"class":{_encounter_class(e.kind)},"subject":{{"reference":"Patient/{subject}"}},'
        f'"period":{{"start":"{instant(e.start)}","end":"{instant(e.end)}"}}'
        f"{_hospitalization(e.source, e.disposition)}}}"
    )


def _links(subject: str, key: str = "subject", encounter: str = "encounter") -> str:
    """Template text of the references to the patient and to an encounter, whose number follows."""
    return f'"{key}":{{"reference":"Patient/{subject}"}},"{encounter}":{{"reference":"Encounter/{subject}-e'


@cache
def _condition_head(code: str) -> str:
    category = _compact([_concept(f"{_HL7}/condition-category", "encounter-diagnosis")])
    return f'"category":{category},"code":{_compact(_concept(_ICD10CM, code))}'


def _conditions(record: Record, subject: str) -> list[str]:
    links = _links(subject)
    return [
        f'{{"resourceType":"Condition","id":"{subject}-c{k}",{_condition_head(c.code)},'
        f'{links}{c.encounter}"}},"recordedDate":"{instant(c.time)}"}}'
        for k, c in enumerate(record.conditions)
    ]


@cache
def _observation_head(measure: str) -> str:
    m = MEASURES[measure]
    category = _compact([_concept(f"{_HL7}/observation-category", m.category)])
    return f'"category":{category},"code":{_compact(_concept(_LOINC, m.code, m.display))}'


@cache
def _unit(measure: str) -> str:
    unit = MEASURES[measure].unit
    return f'"unit":"{unit}","system":"{_UCUM}","code":"{unit}"'


def _observations(record: Record, subject: str) -> list[str]:
    links = _links(subject)
    return [
        f'{{"resourceType":"Observation","id":"{subject}-o{k}","status":"{o.status}",'
        f'{_observation_head(o.measure)},{links}{o.encounter}"}},"effectiveDateTime":"{instant(o.time)}",'
        f'"issued":"{instant(o.issued)}","valueQuantity":{{"value":{o.value:.12g},{_unit(o.measure)}}}}}'
        for k, o in enumerate(record.observations)
    ]


@cache
def _component(measure: str) -> str:
    m = MEASURES[measure]
    code = _compact(_concept(_LOINC, m.code, m.display))
    return f'{{"code":{code},"valueQuantity":{{{_unit(measure)},"value":'


@cache
def _pressure_head() -> str:
    category = _compact([_concept(f"{_HL7}/observation-category", "vital-signs")])
    return f'"category":{category},"code":{_compact(_concept(_LOINC, "85354-9", "Blood pressure panel"))}'


def _pressures(record: Record, subject: str) -> list[str]:
    links, high, low = _links(subject), _component("systolic"), _component("diastolic")
    return [
        f'{{"resourceType":"Observation","id":"{subject}-b{k}","status":"final",'
        f'{_pressure_head()},{links}{p.encounter}"}},"effectiveDateTime":"{instant(p.time)}",'
        f'"issued":"{instant(p.time + 60)}","component":[{high}{p.systolic}}}}},{low}{p.diastolic}}}}}]}}'
        for k, p in enumerate(record.pressures)
    ]


@cache
def _procedure_head(code: str) -> str:
    return f'"status":"completed","code":{_compact(_concept(_SNOMED, code))}'


def _procedures(record: Record, subject: str) -> list[str]:
    links = _links(subject)
    return [
        f'{{"resourceType":"Procedure","id":"{subject}-p{k}",{_procedure_head(p.code)},'
        f'{links}{p.encounter}"}},"performedDateTime":"{instant(p.time)}"}}'
        for k, p in enumerate(record.procedures)
    ]


@cache
def _medication(code: str) -> str:
    """The drug, written out or by reference."""
    if code in _REFERENCED:
        return f'"medicationReference":{{"reference":"Medication/medication-{code}"}}'
    return f'"medicationCodeableConcept":{_compact(_drug(code))}'


def _requests(record: Record, subject: str) -> list[str]:
    links = _links(subject)
    return [
        f'{{"resourceType":"MedicationRequest","id":"{subject}-m{k}","status":"completed","intent":"order",'
        f'{_medication(m.drug)},{links}{m.encounter}"}},"authoredOn":"{instant(m.time)}"}}'
        for k, m in enumerate(record.orders)
    ]


def _administrations(record: Record, subject: str) -> list[str]:
    links = _links(subject, encounter="context")
    return [
        f'{{"resourceType":"MedicationAdministration","id":"{subject}-a{k}","status":"completed",'
        f'{_medication(d.drug)},{links}{d.encounter}"}},"effectiveDateTime":"{instant(d.time)}",'
        f'"request":{{"reference":"MedicationRequest/{subject}-m{d.order}"}}}}'
        for k, d in enumerate(record.doses)
    ]


def _immunizations(record: Record, subject: str) -> list[str]:
    links = _links(subject, key="patient")
    return [
        f'{{"resourceType":"Immunization","id":"{subject}-i{k}","status":"completed",'
        f'"vaccineCode":{_compact(_concept(_CVX, v.code, _VACCINE_NAMES[v.code]))},'
        f'{links}{v.encounter}"}},"occurrenceDateTime":"{instant(v.time)}"}}'
        for k, v in enumerate(record.immunizations)
    ]


def _allergies(record: Record, subject: str) -> list[str]:
    links = _links(subject, key="patient")
    return [
        f'{{"resourceType":"AllergyIntolerance","id":"{subject}-y{k}",'
        f'"code":{_compact(_concept(_RXNORM, a.code, _ALLERGEN_NAMES[a.code]))},'
        f'{links}{a.encounter}"}},"recordedDate":"{instant(a.time)}"}}'
        for k, a in enumerate(record.allergies)
    ]
