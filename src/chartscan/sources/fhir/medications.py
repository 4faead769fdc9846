"""Orders, doses, dispenses and statements of drugs -> one event for each drug they name."""

from msgspec import Raw

from chartscan.sources.fhir.codes import NO_CODE
from chartscan.sources.fhir.context import Context, first_time
from chartscan.sources.fhir.drugs import contained, resolve
from chartscan.sources.fhir.outcomes import NO_ID, Filtered, Quarantined
from chartscan.sources.fhir.references import text_of
from chartscan.sources.fhir.resources import (
    INTENTS,
    CodeableReference,
    Dosage,
    Medication,
    MedicationAdministration,
    MedicationDispense,
    MedicationRequest,
    MedicationStatement,
    MedicationUse,
    Reference,
    fhir_word,
    status_of,
)
from chartscan.sources.fhir.values import NOTHING, Result, is_given, is_value

_NEVER_HAPPENED = {
    "MedicationRequest": {"cancelled", "entered-in-error", "draft"},
    "MedicationAdministration": {"not-done", "entered-in-error"},
    "MedicationDispense": {"cancelled", "entered-in-error", "declined", "preparation"},
    "MedicationStatement": {"entered-in-error", "not-taken", "intended"},
}
_NO_ORDER = {"plan", "proposal"}


def map_medication(medication: Medication, context: Context) -> None:
    """A drug by itself gives no event; those that refer to it do."""
    if not medication.id:
        raise Quarantined(NO_ID)
    if fhir_word(medication.status or "") == "entered-in-error":
        raise Filtered("status entered-in-error")


def map_request(request: MedicationRequest, context: Context) -> None:
    """An order, when it was written."""
    intent = fhir_word(request.intent or "")
    if intent in _NO_ORDER:
        raise Filtered(f"intent {intent}")
    if request.doNotPerform:
        raise Filtered("do not perform")
    _use(request, request.encounter, (request.authoredOn, None), "medication_request", context)
    context.flags["unknown_intent"] += bool(intent) and intent not in INTENTS
    _count_unread(context, order_dosage_not_read=request.dosageInstruction)


def map_administration(administration: MedicationAdministration, context: Context) -> None:
    """A dose given, with its amount and unit, or else its rate."""
    when = first_time(administration.effectiveDateTime, administration.effectivePeriod)
    value = _amount(administration.dosage, context) if administration.dosage else NOTHING
    _use(administration, administration.context, (when, None), "medication_administration", context, value)


def map_dispense(dispense: MedicationDispense, context: Context) -> None:
    """A drug handed over.

    One without a time is left out: placed at the end of its encounter, with all the others of the stay, it
    would be taken for something that happened at the discharge.
    """
    when = dispense.whenHandedOver or dispense.whenPrepared
    placed = when or context.config.keep_undated_dispenses
    encounter = dispense.context if placed else None  # which leaves it without any time: undated
    _use(dispense, encounter, (when, None), "medication_dispense", context)
    _count_unread(
        context,
        dispense_quantity_not_read=dispense.quantity,
        dispense_days_not_read=dispense.daysSupply,
        dispense_dosage_not_read=dispense.dosageInstruction,
    )


def map_statement(statement: MedicationStatement, context: Context) -> None:
    """A drug somebody says is taken, known from when it was said."""
    when = first_time(statement.effectiveDateTime, statement.effectivePeriod)
    _use(statement, statement.context, (when, statement.dateAsserted), "medication_statement", context)
    _count_unread(context, statement_dosage_not_read=statement.dosage)


def _amount(dosage: Dosage, context: Context) -> Result:
    """The dose; where there is none, the rate of an infusion. What is there and not kept is counted."""
    dose = context.values.quantity(dosage.dose) if dosage.dose else NOTHING
    has_rate = dosage.rateQuantity is not None or is_given(dosage.rateRatio)
    if is_value(dose):
        context.values.normalised["rate_not_kept"] += has_rate
        return dose
    rate = context.values.rate(dosage) if has_rate else NOTHING
    if is_value(rate):
        context.values.normalised["rate_as_value"] += 1
        return rate
    context.flags["dose_not_read"] += 1
    return dose


def _count_unread(context: Context, **parts: Raw) -> None:
    """Count the parts of a record that are there and give nothing."""
    for name, part in parts.items():
        context.values.normalised[name] += is_given(part)


def _use(
    use: MedicationUse,
    encounter: Reference | None,
    when: tuple[str | None, str | None],
    event_type: str,
    context: Context,
    value: Result = NOTHING,
) -> None:
    """Events of one record; `when` holds the time it happened and the time it was told."""
    kind = type(use).__name__
    status = status_of(kind, use.status, context.flags)
    if status in _NEVER_HAPPENED[kind]:
        raise Filtered(f"status {status}")
    happened, told = when
    subject = context.subject(use.subject)
    visit = context.visit(encounter)
    known = context.known(told)
    time = context.time(happened or told, visit, known)
    available = time if known is None else known
    context.check_within(visit, time)
    for code in _codes(use, kind, context):
        context.events.add(subject, time, code, event_type, available, visit.id if visit else None, value)


def _codes(use: MedicationUse, kind: str, context: Context) -> tuple[str, ...]:
    either = use.medication or CodeableReference()
    own = context.codes.find(use.medicationCodeableConcept or either.concept)
    if own:
        return (own,)
    reference = text_of(use.medicationReference) or either.target
    found = (
        _contained(use, reference, context)
        if reference.startswith("#")
        else context.index.medication(reference)
    )
    if found:
        return found
    context.flags["unknown_medication" if reference else "no_code"] += 1
    return (f"{NO_CODE}//{kind}",)


def _contained(use: MedicationUse, reference: str, context: Context) -> tuple[str, ...]:
    """Codes of a Medication that travels inside the record, and of what it is made of there or elsewhere."""
    inside = contained(use.contained, context.codes) if is_given(use.contained) else {}
    found = resolve(reference, inside.get)
    outside = (context.index.medication(name) for name in found.references if not name.startswith("#"))
    return tuple(dict.fromkeys([*found.codes, *(code for codes in outside for code in codes)]))
