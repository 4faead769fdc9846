"""Times written less exactly, and what labels may then still say: an interval computation of its own.

It reads the FHIR resources, not the dataset. Every inexact time is tried at many instants of its day, month
or year; a stay has an answer only where all that agree with its disposition give the same one.
"""

import calendar
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

from hospital_export import Hospital, patient_of, stays

DAY, INSTANT = timedelta(days=1), timedelta(microseconds=1)
EXPORTED = datetime(2024, 3, 8)
PRECISIONS = {"day": 10, "month": 7, "year": 4}
GROUPS = {
    "hypertension_1y": tuple(f"I1{n}" for n in range(7)),
    "fluid_disorder_1y": ("E86", "E87"),
    "lipid_disorder_1y": ("E78",),
}
NO_LABEL = None
SHIFTS: dict[str, Callable[[Hospital], None]] = {}


def _shift(name: str, length: int, change: Callable[[Hospital, int], None]) -> None:
    SHIFTS[name] = lambda hospital: change(hospital, length)


def _deaths(hospital: Hospital, length: int) -> None:
    for patient in hospital.resources["Patient"]:
        if "deceasedDateTime" in patient:
            patient["deceasedDateTime"] = patient["deceasedDateTime"][:length]


def _deaths_without_dispositions(hospital: Hospital, length: int) -> None:
    _deaths(hospital, length)
    for stay in stays(hospital):
        del stay["hospitalization"]


def _midnights(hospital: Hospital, length: int) -> None:
    _deaths(hospital, length)
    for patient in hospital.resources["Patient"]:
        if "deceasedDateTime" in patient:
            patient["deceasedDateTime"] += "T00:00:00Z"


def _ends(hospital: Hospital, length: int) -> None:
    for stay in stays(hospital):
        stay["period"]["end"] = stay["period"]["end"][:length]


def _starts(hospital: Hospital, length: int) -> None:
    for stay in stays(hospital):
        stay["period"]["start"] = stay["period"]["start"][:length]


def _recorded(hospital: Hospital, length: int) -> None:
    for condition in hospital.resources["Condition"]:
        del condition["encounter"]
        condition["recordedDate"] = condition["recordedDate"][:length]


for _name, _length in PRECISIONS.items():
    _shift(f"deaths to the {_name}", _length, _deaths)
    _shift(f"deaths to the {_name}, no dispositions", _length, _deaths_without_dispositions)
    _shift(f"diagnoses recorded to the {_name}, without encounters", _length, _recorded)
_shift("deaths at midnight", 10, _midnights)
_shift("ends of stays to the day", 10, _ends)
_shift("ends of stays to the month", 7, _ends)
_shift("starts of stays to the day", 10, _starts)

Span = tuple[datetime, datetime]
Key = tuple[str, str, int]  # task, patient, number of the stay


def span(text: str) -> Span:
    """First and last instant (UTC) that a FHIR time may mean; a midnight stands for its day."""
    if len(text) > 10:
        moment = datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)
        return moment, moment
    parts = [int(part) for part in text.split("-")]
    first = datetime(*[*parts, 1, 1][:3])
    if len(parts) == 3:
        return first, first + DAY - INSTANT
    days = calendar.monthrange(*parts)[1] if len(parts) == 2 else 365 + calendar.isleap(parts[0])
    return first, first + days * DAY - INSTANT


def possible(hospital: Hospital) -> dict[Key, bool]:
    """The labels that every reading of the export agrees on, by number of the stay."""
    found: dict[Key, bool] = {}
    charts = {patient_of(p): (p, [], []) for p in hospital.resources["Patient"]}
    encounters = {e["id"]: e for e in hospital.resources["Encounter"]}
    for stay in stays(hospital):
        charts[patient_of(stay)][1].append(stay)
    for condition in hospital.resources["Condition"]:
        at = encounters.get(condition.get("encounter", {}).get("reference", "").removeprefix("Encounter/"))
        when = at["period"]["start"] if at else condition["recordedDate"]
        code = condition["code"]["coding"][0]["code"]
        charts[patient_of(condition)][2].append((span(when), code))
    for name, (patient, own, codes) in charts.items():
        own.sort(key=lambda s: s["id"])
        for task, number, value in _of_patient(patient, own, codes):
            found[task, name, number] = value
    return found


def placed(stay: dict[str, Any]) -> Span:
    """Where a dataset places the start and the end of a stay: at the last instants that they may mean."""
    start, end = span(stay["period"]["start"]), span(stay["period"]["end"])
    return (end[1] if start[0] <= end[1] < start[1] else start[1]), end[1]


def _of_patient(
    patient: dict[str, Any], own: list[dict[str, Any]], codes: list[tuple[Span, str]]
) -> Iterator[tuple[str, int, bool]]:
    told = patient.get("deceasedDateTime")
    death = span(told[:10] if told and "T00:00:00" in told else told) if told else None
    spans = [(span(s["period"]["start"]), span(s["period"]["end"])) for s in own]
    spans = [((min(a[0], b[1]), min(a[1], b[1])), b) for a, b in spans]
    for number, stay in enumerate(own):
        said = (
            stay.get("hospitalization", {}).get("dischargeDisposition", {}).get("coding", [{}])[0].get("code")
        )
        others = [s for k, s in enumerate(spans) if k != number]
        if any(_may_touch(spans[number], other) for other in others):
            continue
        readings = list(_readings(*spans[number], death, said))
        at = placed(stay)[0] + DAY
        for task in ("in_hospital_mortality", "long_stay_7d"):
            answers = {_after_a_day(task, at, *r) for r in readings}
            if len(answers) == 1 and NO_LABEL not in answers:
                yield task, number, answers.pop()
        for task in ("mortality_30d", "readmission_30d", *GROUPS):
            answers = set()
            for reading in readings:
                answers |= _at_discharge(task, reading, death, others, codes)
            if len(answers) == 1 and NO_LABEL not in answers:
                yield task, number, answers.pop()


def _may_touch(one: tuple[Span, Span], other: tuple[Span, Span]) -> bool:
    """Whether two stays that are apart by their exact times may be one."""
    (_, first_end), (second_start, _) = sorted([one, other])
    return second_start[0] <= first_end[1] + INSTANT


def _points(of: Span, *marks: datetime) -> list[datetime]:
    near = [mark + by for mark in marks for by in (-INSTANT, timedelta(0), INSTANT)]
    return sorted({*of, *(p for p in near if of[0] <= p <= of[1])})


Reading = tuple[datetime, datetime, datetime | None, bool | None]  # start, end, death, died in the stay


def _readings(start: Span, end: Span, death: Span | None, said: str | None) -> Iterator[Reading]:
    """All readings of a stay that agree with what is said of its end."""
    marks = (start[0], start[0] + 7 * DAY, start[1] + DAY, start[1] + 7 * DAY)
    for began, ended in product(_points(start), _points(end, *marks)):
        if ended < began:
            continue
        if death is None:
            yield began, ended, None, None if said is None else said == "exp"
            continue
        if said == "exp" and death[0] <= end[0] and end[1] <= death[1]:
            yield began, ended, ended, True
            continue
        marks_of_death = (began, placed_day(start) + DAY, ended, ended + 7 * DAY, *_ends_of_windows(ended))
        for died_at in _points(death, *marks_of_death):
            inside = began <= died_at <= ended
            late = ended < died_at <= end[1]  # the death dates a discharge that is known less exactly
            if died_at < began or (said == "exp" and (late or died_at > ended + DAY)):
                continue
            if said not in (None, "exp") and inside:
                continue
            stop = min(ended, died_at) if inside else ended
            yield began, stop, died_at, inside or said == "exp"


def placed_day(start: Span) -> datetime:
    """Where a start is placed."""
    return start[1]


def _ends_of_windows(end: datetime) -> tuple[datetime, ...]:
    midnight = datetime(end.year, end.month, end.day)
    return midnight + 31 * DAY, end + 30 * DAY, end + 365 * DAY


def _after_a_day(
    task: str, at: datetime, start: datetime, end: datetime, death: datetime | None, died: bool | None
) -> bool | None:
    if end < at or (death is not None and death <= at) or (died and end <= at):
        return NO_LABEL
    return died if task == "in_hospital_mortality" else end - start > 7 * DAY


def _at_discharge(
    task: str,
    reading: Reading,
    dead: Span | None,
    others: list[tuple[Span, Span]],
    codes: list[tuple[Span, str]],
) -> set[bool | None]:
    _, end, death, died = reading
    if died:
        return {NO_LABEL}
    if task == "mortality_30d":
        day = datetime(end.year, end.month, end.day)
        if death is not None:
            return {death < day + 31 * DAY}
        return {False if day + 31 * DAY - INSTANT <= EXPORTED else NO_LABEL}
    if task == "readmission_30d":
        followed = dead is not None and dead[1] <= EXPORTED
        negative = False if followed or end + 30 * DAY <= EXPORTED else NO_LABEL
        answers: set[bool | None] = set()
        starts = [_points(s, end, end + 30 * DAY) for s, _ in others]
        surely = any(all(end < t <= end + 30 * DAY for t in times) for times in starts)
        perhaps = any(any(end < t <= end + 30 * DAY for t in times) for times in starts)
        answers |= {True} if surely else {True, negative} if perhaps else {negative}
        return answers
    return _onset(task, end, death, dead, codes)


def _onset(
    task: str, end: datetime, death: datetime | None, dead: Span | None, codes: list[tuple[Span, str]]
) -> set[bool | None]:
    times = [_points(s, end, end + 365 * DAY) for s, code in codes if code.startswith(GROUPS[task])]
    lives = dead is None or (death is not None and death >= end + 365 * DAY)
    negative = False if lives and end + 365 * DAY <= EXPORTED else NO_LABEL
    if any(all(t <= end for t in one) for one in times):
        return {NO_LABEL}
    answers: set[bool | None] = {NO_LABEL} if any(any(t <= end for t in one) for one in times) else set()
    within = [[end < t <= end + 365 * DAY for t in one] for one in times]
    if any(all(one) for one in within):
        return answers | {True}
    return answers | ({True, negative} if any(any(one) for one in within) else {negative})
