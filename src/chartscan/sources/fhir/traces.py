"""What labels must know of Encounters and Conditions that cannot be used.

A stay or a diagnosis in quarantine happened all the same, or may have. Its line gives no event that a model
sees; it leaves an outcome without a time, so that labels do not take what is missing for "nothing happened".
"""

import re
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Raw

from chartscan.schema import LOST_STAY, UNDATED_DIAGNOSIS
from chartscan.sources.fhir.codes import DIAGNOSIS, NO_CODE
from chartscan.sources.fhir.context import Context
from chartscan.sources.fhir.decode import FAILURES
from chartscan.sources.fhir.identity import DEAD
from chartscan.sources.fhir.lines import BOM
from chartscan.sources.fhir.outcomes import DOUBLED_KEY, UNDATED, Duplicate, Filtered, Quarantined
from chartscan.sources.fhir.references import DELETED, is_later, text_of, updated_of, version_of
from chartscan.sources.fhir.resources import (
    Condition,
    DiagnosisConcept,
    Encounter,
    Hospitalization,
    Identifier,
    Meta,
    Reference,
    WrittenClass,
)
from chartscan.sources.fhir.stays import (
    STAY,
    disposition_of,
    is_doubtful,
    is_left_out,
    kind_of,
    may_be_a_stay,
)
from chartscan.store.accounting import UNROUTED
from chartscan.vocabulary.diagnoses import UNVERIFIED
from chartscan.vocabulary.dispositions import meaning_of

_TYPES: dict[str, Any] = {"Encounter": Encounter, "Condition": Condition}
_FIELDS: dict[str, dict[str, Any]] = {
    "Encounter": {
        "id": str | None,
        "meta": Meta | None,
        "status": str | None,
        "class_": WrittenClass,
        "identifier": list[Identifier],
        "subject": Reference | None,
        "partOf": Reference | None,
        "hospitalization": Hospitalization | None,
        "admission": Hospitalization | None,
    },
    "Condition": {
        "id": str | None,
        "code": DiagnosisConcept | None,
        "subject": Reference | None,
        "encounter": Reference | None,
    },
}
_PARTS = msgspec.json.Decoder(dict[str, Raw])
_BEGIN = re.compile(
    rb'\s*\{\s*"resourceType"\s*:\s*"(?P<kind>Encounter|Condition)"(?:\s*,\s*"id"\s*:\s*"(?P<id>[A-Za-z0-9.-]{1,64})")?'
)
_KIND = re.compile(rb'"resourceType"\s*:\s*"([A-Za-z]{1,40})"')
_SUBJECT = re.compile(
    rb'"subject"\s*:\s*\{(?:[^{}]|\{[^{}]{0,500}\}){0,500}?"reference"\s*:\s*"([^"\\]{1,500})"'
)
_PATIENT = re.compile(rb'\bPatient(?:\\?/)([A-Za-z0-9.-]{1,64})"')  # some write every / as \/
_BUNDLE = b"Bundle"
# Fields by which a line is known whose type is lost: of those with a subject nothing else has them.
_TYPICAL = (
    (b"Encounter", re.compile(rb'"(?:class|hospitalization)"\s*:')),
    (b"Condition", re.compile(rb'"(?:verificationStatus|clinicalStatus|recordedDate)"\s*:')),
)


def leave_trace(resource: Any, why: Exception, place: int, context: Context) -> None:
    """Tell labels of a stay or diagnosis in an unused line, unless another has it."""
    if isinstance(resource, Encounter):
        undated = isinstance(why, Filtered) and why.reason == UNDATED
        table = context.index.tables["Encounter"]
        repeats = isinstance(why, Duplicate) and table.is_undecided(table.row(resource.id or ""))
        lost = isinstance(why, (Quarantined, *FAILURES))
        if (undated or repeats or lost) and _may_be_a_stay(resource, place, context):
            _add(resource, LOST_STAY, context)
        if lost and _says_death(resource, place, context):
            _add(resource, "MEDS_DEATH", context, "death")
    elif isinstance(resource, Condition) and isinstance(why, (Quarantined, *FAILURES)):
        leave_doubt(resource, context)


def leave_doubt(condition: Condition, context: Context) -> None:
    """Tell labels of a diagnosis that may be, at an unknown time."""
    code = context.codes.diagnosis(condition.code) or f"{NO_CODE}//{DIAGNOSIS}"
    for one in context.codes.disputed(condition.code, code):
        unverified = f"{UNVERIFIED}//{one.removeprefix(f'{UNVERIFIED}//')}"
        _add(condition, f"{UNDATED_DIAGNOSIS}//{unverified}", context)


def leave_traces_of_line(line: memoryview, kind: str, why: Exception, place: int, context: Context) -> None:
    """As `leave_trace`, for an undecoded line; `kind` as the decoder guessed.

    A field that is not as FHIR has it is as good as none. Of a line that is no JSON, or says a key twice, the
    patients alone are read.
    """
    if not isinstance(why, Quarantined):
        return
    context.events.place = place  # the mappers were not reached
    raw = bytes(line).removeprefix(BOM)
    begin = _BEGIN.match(raw)
    kinds = _kinds_in(raw) if kind == UNROUTED else [kind]
    for one in kinds:
        if one in _FIELDS:
            fields = {} if why.reason == DOUBLED_KEY else _fields(raw, one)
            if not fields and begin and begin["id"] and why.reason != DOUBLED_KEY:
                fields["id"] = begin["id"].decode()
            for subject in [fields.pop("subject", None)] if fields.get("subject") else _subjects_in(raw):
                leave_trace(_TYPES[one](resourceType=one, **fields, subject=subject), why, place, context)


def _kinds_in(raw: bytes) -> list[str]:
    """What a line that is not JSON may be: each type in a Bundle, else the only one that it names; where it
    names none, what its fields are typical of."""
    begin = _BEGIN.match(raw)
    named = {begin["kind"]} if begin else set(_KIND.findall(raw))
    if not named:
        named = {kind for kind, fields in _TYPICAL if fields.search(raw)}
    elif len(named) > 1 and _BUNDLE not in named:
        return []
    return [kind.decode() for kind in sorted(named)]


def _subjects_in(raw: bytes) -> list[Reference]:
    """The patients that a line may be of: its subjects, else all that it names."""
    found = set(_SUBJECT.findall(raw)) or {b"Patient/" + name for name in _PATIENT.findall(raw)}
    return [Reference(text.decode(errors="replace")) for text in sorted(found)]


def _fields(raw: bytes, kind: str) -> dict[str, Any]:
    """The fields of a line that can be read; none where it is no object."""
    try:
        parts = _PARTS.decode(raw)
    except FAILURES:
        return {}
    found = {}
    for name, of in _FIELDS[kind].items():
        with suppress(KeyError, *FAILURES):
            found[name] = msgspec.json.decode(parts[name.removesuffix("_")], type=of)
    return found


def _may_be_a_stay(encounter: Encounter, place: int, context: Context) -> bool:
    """Whether what is lost is a hospital stay of its own, or of an unknown class."""
    part_of = text_of(encounter.partOf)
    if is_left_out(encounter, context.words) or (part_of and context.index.visit(part_of)):
        return False
    if _another_counts(encounter, place, context):
        return False
    if is_doubtful(encounter, context.config, context.words):
        return True
    return may_be_a_stay(kind_of(encounter, context.config, context.words), encounter, context.words)


def _says_death(encounter: Encounter, place: int, context: Context) -> bool:
    """Whether what is lost is all that tells of a death."""
    if is_left_out(encounter, context.words):
        return False
    if meaning_of(disposition_of(encounter, context.words)) != "dead":
        return False
    try:
        context.subject(encounter.subject)
    except (Filtered, Quarantined):
        return False
    register, patient = context.index.register, context.person.patient_id
    told = register.status(patient) >= DEAD or register.expired_ends(patient) is not None
    return not told and not _another_counts(encounter, place, context)


def _another_counts(encounter: Encounter, place: int, context: Context) -> bool:
    """Whether another line of the id is a stay, or is a later version of what is no stay any more."""
    table = context.index.tables["Encounter"]
    row, columns = table.row(encounter.id or ""), table.columns
    if row < 0 or table.is_valid(row, place) or table.is_undecided(row):
        return False
    own = version_of(encounter.meta), updated_of(encounter.meta)
    valid = columns["version"][row], columns["updated"][row]
    later = place > columns["place"][row] if own == valid else is_later(*own, *valid)
    return columns["kind"][row] == STAY or columns["left_out"][row] == DELETED or not later


def _add(resource: Encounter | Condition, code: str, context: Context, kind: str = "outcome") -> None:
    try:
        subject = context.subject(resource.subject)
    except (Filtered, Quarantined):  # of no patient
        return
    visit = context.index.visit(text_of(resource.encounter)) if isinstance(resource, Condition) else None
    own = visit is not None and visit.patient == context.person.key
    context.events.add(subject, None, code, kind, None, visit.id if visit and own else None)
