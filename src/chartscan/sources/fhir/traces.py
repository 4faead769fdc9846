"""What labels must know of Encounters and Conditions that cannot be used.

A stay or a diagnosis in quarantine happened all the same, or may have. Its line gives no event that a model
sees; it leaves an outcome without a time, so that labels do not take what is missing for "nothing happened".
"""

from typing import Any

from chartscan.schema import LOST_STAY, UNDATED_DIAGNOSIS
from chartscan.sources.fhir.codes import DIAGNOSIS, NO_CODE
from chartscan.sources.fhir.context import Context
from chartscan.sources.fhir.outcomes import UNDATED, Filtered, Quarantined
from chartscan.sources.fhir.ranks import is_later, updated_of, version_of
from chartscan.sources.fhir.references import DELETED, text_of
from chartscan.sources.fhir.resources import Condition, Encounter
from chartscan.sources.fhir.stays import LEFT_OUT, STAY, class_of, kind_of
from chartscan.vocabulary.classes import kind_of as kind_of_class
from chartscan.vocabulary.code_groups import UNVERIFIED


def leave_trace(resource: Any, why: Exception, place: int, context: Context) -> None:
    """Tell labels of the stay or diagnosis in a line that gave nothing, unless another line has it."""
    if isinstance(resource, Encounter):
        undated = isinstance(why, Filtered) and why.reason == UNDATED
        if (undated or isinstance(why, Quarantined)) and _may_be_a_stay(resource, place, context):
            _add(resource, LOST_STAY, context)
    elif isinstance(resource, Condition) and isinstance(why, Quarantined):
        code = context.codes.diagnosis(resource.code) or f"{NO_CODE}//{DIAGNOSIS}"
        for one in context.codes.disputed(resource.code, code):
            unverified = f"{UNVERIFIED}//{one.removeprefix(f'{UNVERIFIED}//')}"
            _add(resource, f"{UNDATED_DIAGNOSIS}//{unverified}", context)


def _may_be_a_stay(encounter: Encounter, place: int, context: Context) -> bool:
    """Whether what is lost is a hospital stay of its own, or of an unknown class."""
    part_of = text_of(encounter.partOf)
    if encounter.status in LEFT_OUT or (part_of and context.index.visit(part_of)):
        return False
    if _another_counts(encounter, place, context):
        return False
    kind = kind_of(encounter, context.config, context.words)
    return kind == STAY or kind_of_class(class_of(encounter, context.words)) == "unknown"


def _another_counts(encounter: Encounter, place: int, context: Context) -> bool:
    """Whether another line of the id is a stay, or is a later version of what is no stay any more."""
    table = context.index.tables["Encounter"]
    row, columns = table.row(encounter.id or ""), table.columns
    if row < 0 or table.is_valid(row, place):
        return False
    own = version_of(encounter.meta), updated_of(encounter.meta)
    valid = columns["version"][row], columns["updated"][row]
    later = place > columns["place"][row] if own == valid else is_later(*own, *valid)
    return columns["kind"][row] == STAY or columns["left_out"][row] == DELETED or not later


def _add(resource: Encounter | Condition, code: str, context: Context) -> None:
    try:
        subject = context.subject(resource.subject)
    except (Filtered, Quarantined):  # of no patient
        return
    visit = context.index.visit(text_of(resource.encounter)) if isinstance(resource, Condition) else None
    own = visit is not None and visit.patient == context.person.key
    context.events.add(subject, None, code, "outcome", None, visit.id if visit and own else None)
