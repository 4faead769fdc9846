"""Conditions, procedures, immunizations and allergies -> one event each."""

from collections.abc import Sequence

from chartscan.schema import DISPUTED_DIAGNOSIS, UNDATED_DIAGNOSIS
from chartscan.sources.fhir.clock import FIRST, Implausible, inside
from chartscan.sources.fhir.context import Context, Interval, earliest_of, first_time
from chartscan.sources.fhir.outcomes import Filtered, Quarantined
from chartscan.sources.fhir.references import Visit
from chartscan.sources.fhir.resources import AllergyIntolerance, Condition, Immunization, Procedure
from chartscan.sources.fhir.words import Reading
from chartscan.vocabulary.diagnoses import (
    CONFIRMED,
    UNCONFIRMED,
    UNKNOWN,
    UNVERIFIED,
    WRONG,
    meaning_of_status,
)

_NOT_SAID = Reading("", "not said", "not said")
_NOT_DONE = {"not-done", "entered-in-error", "preparation"}


def map_condition(condition: Condition, context: Context) -> None:
    """Add a diagnosis; `_finding` explains its two times.

    One that is not confirmed is kept apart. One whose status is not understood may be a fact or an error: it
    is marked, and labels see that.
    """
    verified = context.words.status_of(condition.verificationStatus)
    course = context.words.status_of(condition.clinicalStatus, clinical=True)
    letter = context.codes.certainty(condition.code)
    if meaning_of_status(letter.name) == WRONG and meaning_of_status(verified.name) == CONFIRMED:
        letter = letter._replace(name="", how="unknown")
    elif verified.name == "refuted" and meaning_of_status(letter.name) == CONFIRMED:
        verified, letter = _NOT_SAID, letter._replace(name="", how="unknown")
    status = _certainty(verified, course, context, letter)
    meaning = meaning_of_status(status.name)
    onset = first_time(condition.onsetDateTime, condition.onsetPeriod)
    context.subject(condition.subject)
    if condition.encounter and condition.encounter.reference:
        visit = context.visit(condition.encounter)
    else:
        visit = context.own(context.index.register.visit_of_diagnosis(condition.id or ""))
    unconfirmed = meaning == UNCONFIRMED
    if unconfirmed and context.config.unconfirmed_diagnoses == "leave_out":
        raise Filtered(f"verification {status.name}")
    code = context.codes.code(condition.code, "Condition")
    context.words.count_status(verified)
    for reading in (course, letter):
        if reading.how != "not said":
            context.words.count_status(reading)
    if not unconfirmed or context.config.unconfirmed_diagnoses == "as_diagnosis":
        code, *others = context.codes.disputed(condition.code, code)
        if status.how != "not said" and meaning == UNKNOWN and not code.startswith(f"{UNVERIFIED}//"):
            code = f"{UNVERIFIED}//{code}"
        _finding(condition, visit, onset, code, "diagnosis", context, context.coding_lag, others)
    else:
        _finding(condition, visit, onset, f"UNCONFIRMED//{code}", "observation", context, context.coding_lag)


def map_allergy(allergy: AllergyIntolerance, context: Context) -> None:
    """An allergy; see `_finding` for its two times."""
    _certainty(context.words.status_of(allergy.verificationStatus), _NOT_SAID, context)
    onset = first_time(allergy.onsetDateTime, allergy.onsetPeriod)
    context.subject(allergy.patient)
    visit = context.visit(allergy.encounter)
    code = context.codes.code(allergy.code, "AllergyIntolerance")
    _finding(allergy, visit, onset, code, "allergy", context)


def _finding(
    finding: Condition | AllergyIntolerance,
    visit: Visit | None,
    onset: str | None,
    code: str,
    event_type: str,
    context: Context,
    lag: int = 0,
    others: Sequence[str] = (),
) -> None:
    """Happened at its onset, else when recorded, else at the end of its encounter.

    Known when recorded, else `lag` after the end of its encounter (a discharge diagnosis must not be seen
    before the discharge). Where neither is known, the onset is all there is, and the event is flagged: it may
    be known from the first instant of the onset on, or from birth where only the end of the onset is known. A
    diagnosis without any time is evidence for labels alone: no model may see it at any moment. So are
    `others`, codes that say otherwise than `code`.
    """
    recorded, onsets = _readable(finding.recordedDate, onset, context)
    happened = onsets or recorded
    known = recorded[1] if recorded else None
    if happened is None and (finding.recordedDate or onset) and not (visit and visit.end is not None):
        raise Implausible
    if happened is None and event_type == "diagnosis" and not (visit and visit.end is not None):
        context.flags["diagnosis_without_time"] += 1
        place = visit.id if visit else None
        for one in (code, *others):
            context.events.add(
                context.person.subject, None, f"{UNDATED_DIAGNOSIS}//{one}", "outcome", None, place
            )
        return
    time = inside(happened, visit.end if visit else None, known) if happened else context.time(None, visit)
    available = context.assumed(time, visit, lag) if known is None else known
    known_from = earliest_of(recorded)
    if known is not None and known < time:
        known_from = known if known_from is None else known_from  # an event is never known before its time
    elif onsets and known is None and not (visit and visit.end is not None):
        known_from = min(_birth(context), time) if _is_end_alone(finding) else earliest_of(onsets)
    earliest = earliest_of(happened), known_from
    context.check_within(visit, available if onsets else time)
    disputed = [(f"{DISPUTED_DIAGNOSIS}//{other}", "outcome") for other in others]
    for name, kind in [(code, event_type), *disputed]:
        context.events.add(
            context.person.subject,
            time,
            name,
            kind,
            available,
            visit.id if visit else None,
            earliest=earliest if any(e is not None for e in earliest) else None,
        )


def _is_end_alone(finding: Condition | AllergyIntolerance) -> bool:
    """Whether only the end of the onset is known."""
    period = finding.onsetPeriod
    return not finding.onsetDateTime and period is not None and not period.start


def _birth(context: Context) -> int:
    """The first instant at which a patient may have had something."""
    birth = context.person.life.birth
    return FIRST if birth is None else birth


def _readable(
    recorded: str | None, onset: str | None, context: Context
) -> tuple[Interval | None, Interval | None]:
    """Both times of a finding; one that cannot be read is null and flagged where the other can."""
    found: list[Interval | None] = []
    unreadable = None
    for text in (recorded, onset):
        try:
            found.append(context.interval(text))
        except Quarantined as err:
            found.append(None)
            unreadable = err
    if unreadable is not None:
        if found == [None, None]:
            raise unreadable
        context.flags["unreadable_time"] += 1
    return found[0], found[1]


def map_procedure(procedure: Procedure, context: Context) -> None:
    """Add a procedure at its start; billing codes are known after the encounter."""
    _refuse_not_done(procedure.status)
    written = first_time(procedure.performedDateTime, procedure.performedPeriod) or first_time(
        procedure.occurrenceDateTime, procedure.occurrencePeriod
    )
    subject = context.subject(procedure.subject)
    visit = context.visit(procedure.encounter)
    code = context.codes.code(procedure.code, "Procedure")
    if code.partition("//")[0] in context.config.billing_systems:
        time = _billed(written, visit, context)
        available = context.assumed(time, visit, context.coding_lag)
    else:
        time = available = context.time(written, visit)
    context.check_within(visit, time)
    context.events.add(subject, time, code, "procedure", available, visit.id if visit else None)


def _billed(written: str | None, visit: Visit | None, context: Context) -> int:
    """Where something billed is placed: a midnight (as written) stands for its date."""
    if not written:
        return context.time(None, visit)
    try:
        span = context.clock.day_interval(written, context.person.zones)
    except Implausible:
        return context.time(written, visit)
    return inside(span, visit.end if visit else None)


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


def _certainty(verified: Reading, course: Reading, context: Context, letter: Reading = _NOT_SAID) -> Reading:
    """The status that says less of how sure a finding is; Filtered where it is not true at all.

    One that is not understood is flagged.
    """
    named = (verified, "verification"), (course, "clinical status"), (letter, "certainty")
    for reading, name in named:
        if meaning_of_status(reading.name) == WRONG:
            raise Filtered(f"{name} {reading.name}")
    said = [reading for reading, _ in named if reading.how != "not said"]
    unknown = [reading for reading in said if meaning_of_status(reading.name) == UNKNOWN]
    context.flags["unknown_verification_status"] += bool(unknown)
    status = next(
        (r for r in said if meaning_of_status(r.name) == UNCONFIRMED), next(iter([*unknown, verified]))
    )
    context.flags["unconfirmed_finding"] += meaning_of_status(status.name) == UNCONFIRMED
    return status


def _refuse_not_done(status: str | None) -> None:
    if status in _NOT_DONE:
        raise Filtered(f"status {status}")
