"""Plain Observations, read in one loop: nearly all lines of a large export.

Plain is one that is final, with one ordinary number in a unit met before, whose patient, encounter, code,
category and parts of times were met before as well. It gives one event and no flag of its own, so the mapper
has nothing to decide. The event is the one that `map_observation` gives; all others are left to it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from chartscan.sources.fhir.context import Context
from chartscan.sources.fhir.numbers import FIRST_ODD, ORDINARY
from chartscan.sources.fhir.repeats import Repeats
from chartscan.vocabulary.limits import ANYTHING, LIMITS

KIND = "Observation"
_NOT_MET = (KeyError, AttributeError, TypeError, ValueError)  # also where a part is missing


def read_plain(observations: Sequence[Any], first: int, context: Context, repeats: Repeats) -> Sequence[int]:
    """Give the events of plain Observations to `context`; the indices of those that are not plain.

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
