"""One subject's record as a labeller needs it: life, follow-up, stays, encounters, coded diagnoses.

Built from EVENTS rows once and read by every task. It keeps no laboratory values and no drugs: what is
not here cannot decide a label.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from chartscan.cohort.follow_up import FollowUp, follow_up_rule
from chartscan.cohort.stays import DEFAULT, Encounter, Stay, StayConfig, merged_stays
from chartscan.schema import EVENT_RANK

# All that labels are made from.
COLUMNS = ["subject_id", "time", "code", "event_type", "encounter_id", "available_time"]

_STARTS = {"admission": True, "visit_start": False}  # event type -> is a hospital stay
_ENDS = {"discharge": True, "visit_end": False}
_KEPT = pa.array([*_STARTS, *_ENDS, "diagnosis", "birth", "death", "outcome"])

# time, code, event_type, encounter_id, available_time
Row = tuple[datetime | None, str, str, str | None, datetime | None]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A coded diagnosis. `time` is when its encounter started; without an encounter, when it was recorded:
    its onset may lie years before anybody knew of it."""

    code: str
    time: datetime | None  # None: coded at an unknown time
    encounter_id: str | None


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of one subject, whole: labels look forward, so nothing is cut here."""

    subject_id: int
    birth: datetime | None
    death: datetime | None  # date-only deaths stand at the end of their day
    death_without_time: bool  # dead, but nobody knows when
    death_doubtful: bool  # events go on long after the death
    last_event: datetime | None
    follow_up_end: datetime | None  # None: unknown
    stays: tuple[Stay, ...]  # by start
    encounters: tuple[Encounter, ...]  # hospital and other, by start
    diagnoses: tuple[Diagnosis, ...]
    unpaired_ends: int  # encounter ends without a start; they make no stay

    @property
    def known_until(self) -> datetime | None:
        """Until when "nothing happened" is known. After a death that was followed up, nothing can happen."""
        followed = self.follow_up_end is not None and self.death is not None
        if followed and self.death <= self.follow_up_end:  # type: ignore[operator]
            return datetime.max
        return self.follow_up_end


def record_from_events(
    events: pa.Table,
    follow_up: FollowUp | Mapping[str, Any] | None = None,
    config: StayConfig = DEFAULT,
) -> Record:
    """The record of the one subject whose EVENTS rows are `events` (at least `COLUMNS`, any row order).

    `follow_up` is the dataset's rule. Rows of other event types count only for the last event's time, which
    an outcome is not: its time is nominal.
    """
    subject_id = events["subject_id"][0].as_py()
    return record_from_rows(subject_id, rows_from_events(events), last_event(events), follow_up, config)


def rows_from_events(events: pa.Table) -> list[Row]:
    """What EVENTS rows of one subject (at least `COLUMNS`) hold that decides labels."""
    kept = events.select(COLUMNS).filter(pc.is_in(events["event_type"], value_set=_KEPT))
    return list(zip(*(kept[name].to_pylist() for name in COLUMNS[1:]), strict=True))


def last_event(events: pa.Table) -> datetime | None:
    """When the last of one subject's EVENTS rows happened, outcomes aside: their time is nominal."""
    found: datetime | None = pc.max(
        events["time"].filter(pc.not_equal(events["event_type"], "outcome"))
    ).as_py()
    return found


def record_from_rows(
    subject_id: int,
    unsorted: Iterable[Row],
    last: datetime | None,
    follow_up: FollowUp | Mapping[str, Any] | None = None,
    config: StayConfig = DEFAULT,
) -> Record:
    """As `record_from_events`, from what `rows_from_events` and `last_event` give."""
    rule, rows = follow_up_rule(follow_up), sorted(unsorted, key=_row_order)
    deaths = [row[0] for row in rows if row[2] == "death"]
    death = min((t for t in deaths if t is not None), default=None)
    doubtful_after = timedelta(days=config.doubtful_death_days)
    encounters, unpaired = _encounters(rows)
    return Record(
        subject_id=subject_id,
        birth=min((r[0] for r in rows if r[2] == "birth" and r[0] is not None), default=None),
        death=death,
        death_without_time=bool(deaths) and death is None,
        death_doubtful=death is not None and last is not None and last - death > doubtful_after,
        last_event=last,
        follow_up_end=rule.end(last),
        stays=merged_stays(encounters, death, config),
        encounters=encounters,
        diagnoses=_diagnoses(rows, encounters),
        unpaired_ends=unpaired,
    )


def _row_order(row: Row) -> tuple[datetime, int, str, str, datetime]:
    time, code, event_type, encounter_id, known = row
    return time or datetime.min, EVENT_RANK[event_type], code, encounter_id or "", known or datetime.min


def _encounters(rows: Iterable[Row]) -> tuple[tuple[Encounter, ...], int]:
    """Encounters by start, and the number of ends that no start belongs to.

    Starts and ends belong together by encounter id. Where there is none, an end closes the latest open
    start of its kind. An outcome belongs to the hospital stay of its encounter id.
    """
    starts: dict[tuple[str | int, bool], Row] = {}
    ends: dict[tuple[str | int, bool], Row] = {}
    outcomes: dict[tuple[str | int, bool], Row] = {}
    open_starts: dict[bool, list[int]] = {True: [], False: []}
    unpaired = 0
    for number, row in enumerate(rows):
        time, _, event_type, encounter_id, _ = row
        if time is None:
            continue
        if event_type in _STARTS:
            hospital = _STARTS[event_type]
            starts.setdefault((number if encounter_id is None else encounter_id, hospital), row)
            if encounter_id is None:
                open_starts[hospital].append(number)
        elif event_type in _ENDS:
            hospital = _ENDS[event_type]
            if encounter_id is not None:
                ends[encounter_id, hospital] = row  # rows are in order of time: the latest end stays
            elif open_starts[hospital]:
                ends[open_starts[hospital].pop(), hospital] = row
            else:
                unpaired += 1
        elif event_type == "outcome" and encounter_id is not None:
            outcomes[encounter_id, True] = row
    unpaired += len(ends.keys() - starts.keys())
    made = (_encounter(row, ends.get(key), outcomes.get(key), key[1]) for key, row in starts.items())
    return tuple(sorted(made, key=lambda e: (e.start, not e.hospital, e.id or ""))), unpaired


def _encounter(start_row: Row, end_row: Row | None, outcome: Row | None, hospital: bool) -> Encounter:
    start, code, _, encounter_id, _ = start_row
    end = end_row[0] if end_row else None
    how = end_row or outcome
    assert start is not None
    return Encounter(
        id=encounter_id,
        start=start,
        end=end if end is not None and end >= start else None,
        hospital=hospital,
        admission_class=_part(code, 1),
        disposition=_part(how[1], 1) if how and hospital else "",
        outcome_without_end=end_row is None and outcome is not None,
    )


def _part(code: str, number: int) -> str:
    parts = code.split("//")
    return parts[number].strip().upper() if len(parts) > number else ""


def _diagnoses(rows: Iterable[Row], encounters: tuple[Encounter, ...]) -> tuple[Diagnosis, ...]:
    starts: dict[str, datetime] = {}
    for encounter in sorted(encounters, key=lambda e: (not e.hospital, e.start)):  # the stay's own start wins
        if encounter.id is not None:
            starts.setdefault(encounter.id, encounter.start)
    return tuple(
        Diagnosis(code, starts.get(encounter_id or "", known), encounter_id)
        for _, code, event_type, encounter_id, known in rows
        if event_type == "diagnosis"
    )
