"""Conditions, procedures, immunizations and allergies -> one event each."""

from chartscan.sources.fhir.context import Context, first_time
from chartscan.sources.fhir.outcomes import Filtered
from chartscan.sources.fhir.resources import (
    AllergyIntolerance,
    Concept,
    Condition,
    Immunization,
    Procedure,
    Reference,
)

_WRONG = {"entered-in-error", "refuted"}
_NOT_DONE = {"not-done", "entered-in-error", "preparation"}


def map_condition(condition: Condition, context: Context) -> None:
    """A diagnosis; see `_finding` for its two times."""
    _refuse_refuted(condition.verificationStatus)
    onset = first_time(condition.onsetDateTime, condition.onsetPeriod)
    _finding(condition, condition.subject, onset, "diagnosis", context, context.coding_lag)


def map_allergy(allergy: AllergyIntolerance, context: Context) -> None:
    """An allergy; see `_finding` for its two times."""
    _refuse_refuted(allergy.verificationStatus)
    onset = first_time(allergy.onsetDateTime, allergy.onsetPeriod)
    _finding(allergy, allergy.patient, onset, "allergy", context)


def _finding(
    finding: Condition | AllergyIntolerance,
    patient: Reference | None,
    onset: str | None,
    event_type: str,
    context: Context,
    lag: int = 0,
) -> None:
    """Happened at its onset, else when recorded, else at the end of its encounter.

    Known when recorded, else `lag` after the end of its encounter (a discharge diagnosis must not be seen
    before the discharge). Where neither is told, the onset is all there is, and the event is flagged.
    """
    subject = context.subject(patient)
    visit = context.visit(finding.encounter)
    recorded = context.known(finding.recordedDate)
    time = context.time(onset or finding.recordedDate, visit, recorded)
    available = context.assumed(time, visit, lag) if recorded is None else recorded
    code = context.codes.code(finding.code, type(finding).__name__)
    context.events.add(subject, time, code, event_type, available, visit.id if visit else None)


def map_procedure(procedure: Procedure, context: Context) -> None:
    """Something done, at its start; what is coded for billing is known only after its encounter."""
    _refuse_not_done(procedure.status)
    written = first_time(procedure.performedDateTime, procedure.performedPeriod)
    subject = context.subject(procedure.subject)
    visit = context.visit(procedure.encounter)
    code = context.codes.code(procedure.code, "Procedure")
    if code.partition("//")[0] in context.config.billing_systems:
        end = visit.end if visit else None
        time = context.clock.placed_date(written, end) if written else context.time(None, visit)
        available = context.assumed(time, visit, context.coding_lag)
    else:
        time = available = context.time(written, visit)
    context.events.add(subject, time, code, "procedure", available, visit.id if visit else None)


def map_immunization(immunization: Immunization, context: Context) -> None:
    """A vaccination; a historical one is known from when it was recorded."""
    _refuse_not_done(immunization.status)
    subject = context.subject(immunization.patient)
    visit = context.visit(immunization.encounter)
    known = context.known(immunization.recorded)
    time = context.time(immunization.occurrenceDateTime or immunization.recorded, visit, known)
    code = context.codes.code(immunization.vaccineCode, "Immunization")
    available = time if known is None else known
    context.events.add(subject, time, code, "immunization", available, visit.id if visit else None)


def _refuse_refuted(status: Concept | None) -> None:
    for coding in status.coding if status else []:
        if coding.code in _WRONG:
            raise Filtered(f"verification {coding.code}")


def _refuse_not_done(status: str | None) -> None:
    if status in _NOT_DONE:
        raise Filtered(f"status {status}")
