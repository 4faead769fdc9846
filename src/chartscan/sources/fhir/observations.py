"""Observations -> one event each, or one for each component."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from chartscan.sources.fhir.clock import inside
from chartscan.sources.fhir.context import Context, first_time
from chartscan.sources.fhir.outcomes import Filtered
from chartscan.sources.fhir.references import Visit
from chartscan.sources.fhir.remember import remember
from chartscan.sources.fhir.resources import Concept, Observation, Value, status_of
from chartscan.sources.fhir.values import FIRST_ODD, ORDINARY
from chartscan.sources.fhir.versions import Repeats
from chartscan.vocabulary.units import ANYTHING, LIMITS

LEFT_OUT = {"cancelled", "entered-in-error"}
_CATEGORIES = msgspec.json.Decoder(list[Concept])
_EVENT_TYPES = {"laboratory": "lab", "LAB": "lab", "vital-signs": "vital"}


def map_observation(observation: Observation, context: Context) -> None:
    """Add a measurement: code, value, and availability.

    It is available from its issue time, else as `Context.delay` assumes. Without a time of its own it is
    placed where it was issued. Components stand for themselves; the whole gets an event only where it has a
    value, or no components.
    """
    if observation.status != "final":
        status = status_of("Observation", observation.status, context.flags)
        if status in LEFT_OUT:
            raise Filtered(f"status {status}")
    subject = context.subject(observation.subject)
    visit = context.visit(observation.encounter) if observation.encounter else None
    known = context.clock.known
    try:
        issued = known(observation.issued) if observation.issued else None
    except KeyError:
        issued = context.known(observation.issued)
    written = observation.effectiveDateTime or _other_time(observation)
    try:
        time = known(written)
    except KeyError:
        time = context.time(written, visit, issued)
    if visit is not None and not visit.first <= time <= visit.last:
        context.flags["outside_encounter"] += 1
    event_type = _event_type(observation.category, context)
    visit_id = visit.id if visit else None
    over = _over(observation, time, visit, context) if issued is None else time
    for part in _parts(observation, context) if observation.component else (observation,):
        code = context.codes.raw(part.code, "Observation")
        value = context.values.read(part)
        if (limits := LIMITS.get(code)) is not None and (number := value[0]) is not None:
            low, high = limits.get(value[2], ANYTHING)
            if not low <= number <= high:
                context.flags["impossible_value"] += 1
        available = over + context.delay(code, event_type) if issued is None else issued
        context.events.add(subject, time, code, event_type, available, visit_id, value)


def _over(observation: Observation, time: int, visit: Visit | None, context: Context) -> int:
    """When a measurement that was never issued was over: the end of its period, else its time."""
    context.flags["availability_assumed"] += 1
    period = None if observation.effectiveDateTime else observation.effectivePeriod
    span = context.interval(period.end) if period else None
    return inside(span, visit.end if visit else None) if span else time


def _other_time(observation: Observation) -> str | None:
    period = first_time(None, observation.effectivePeriod)
    return observation.effectiveInstant or period or observation.issued


def _parts(observation: Observation, context: Context) -> list[Value]:
    """The components, after the whole where it has a value of its own."""
    own = [observation] if context.values.is_given(observation) else []
    return [*own, *observation.component]


def _event_type(categories: Raw, context: Context) -> str:
    """The type that the first category known here stands for."""
    text = bytes(categories)
    known = context.event_types.get(text)
    return remember(context.event_types, text, _type_of(text)) if known is None else known


def _type_of(categories: bytes) -> str:
    for category in _CATEGORIES.decode(categories) if categories else []:
        for coding in category.coding:
            if coding.code in _EVENT_TYPES:
                return _EVENT_TYPES[coding.code]
    return "observation"


# Plain Observations, read in one loop: nearly all lines of a large export. Plain means final, with one number
# in a known unit, and with a patient, encounter, code, category and time parts met before. Each gives the
# same event as `map_observation`, without a flag.

KIND = "Observation"
_NOT_MET = (KeyError, AttributeError, TypeError, ValueError)  # also where a part is missing


def read_plain(observations: Sequence[Any], first: int, context: Context, repeats: Repeats) -> Sequence[int]:
    """Add the events of plain Observations to `context`; return other indices.

    `first` is the place of the first (see `index.place_of`); the others follow it line by line.
    """
    # The busiest loop of all. Each call in it, and each look-up through two dots, costs 2 % of it.
    people, codes, types = context.people, context.codes.met, context.event_types
    visits: Mapping[str, Any] = context.visits
    units: Mapping[Any, Any] = context.values.units.met
    days, minutes, tails = context.clock.met
    add = context.events.rows.append
    ids, places, others, assumed = [], [], [], 0
    for index, observation in enumerate(observations):
        try:
            subject, _, person, life, _ = people[observation.subject.reference]
            quantity = observation.valueQuantity
            unit = units[quantity.unit, quantity.code]
            number = float(quantity.value)
            text = observation.effectiveDateTime
            time = days[text[:10]] + minutes[text[10:16]] + tails[text[16:]]
            code = codes[bytes(observation.code)]
            event_type = types[bytes(observation.category)]
            if issued := observation.issued:
                available = days[issued[:10]] + minutes[issued[10:16]] + tails[issued[16:]]
            else:
                available = time + context.delay(code, event_type)
            if (encounter := observation.encounter) is None:
                visit_id = None
            else:
                visit = visits[encounter.reference]
                if visit.patient != person or not visit.first <= time <= visit.last:
                    raise ValueError
                visit_id = visit.id
        except _NOT_MET:
            others.append(index)
            continue
        meta, limits = observation.meta, LIMITS.get(code)
        # Three decimals below 1,000 are no more digits than a float32 holds.
        if (
            not (ORDINARY < number < FIRST_ODD and number * 1000.0 % 1.0 == 0.0)
            or observation.status != "final"
            or quantity.comparator is not None
            or observation.valueString is not None
            or observation.valueCodeableConcept is not None
            or observation.component
            or observation.modifierExtension
            or (meta is not None and (meta.tag or meta.security))
            or not life[0] <= time <= life[1]
            or not observation.id
        ):
            others.append(index)
            continue
        if limits is not None:
            low, high = limits.get(unit.unit, ANYTHING)
            if not low <= number <= high:
                others.append(index)
                continue
        place = first + index
        assumed += not issued
        unit.records += 1
        ids.append(observation.id)
        places.append(place)
        add(
            (
                subject,
                time,
                code,
                number,
                None,
                unit.unit,
                None,
                event_type,
                visit_id,
                time if available < time else available,
                place,
            )
        )
    if assumed:
        context.flags["availability_assumed"] += assumed
    repeats.note(KIND, ids, places)
    return others
