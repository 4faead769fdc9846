"""One subject's record as a labeller needs it: life, follow-up, stays, encounters, coded diagnoses.

Built from EVENTS rows once and read by every task. It keeps no laboratory values and no drugs: what is
not here cannot decide a label.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from chartscan.cohort.evidence import FollowUp, Interval, Life, follow_up_rule, interval
from chartscan.cohort.stays import DEFAULT, Encounter, Stay, StayConfig, merged_stays
from chartscan.schema import (
    DEATH_BY_DISPOSITION,
    DEATH_DISPUTED,
    DISPUTED_DIAGNOSIS,
    EVENT_RANK,
    LOST_STAY,
    TIME,
    UNDATED_DIAGNOSIS,
)
from chartscan.vocabulary.administrative import kind_of_class

# All that labels are made from. Datasets of earlier versions, and other tools, may lack the last two.
COLUMNS = [
    "subject_id",
    "time",
    "code",
    "event_type",
    "encounter_id",
    "available_time",
    "earliest_time",
    "earliest_available_time",
]

_STARTS = {"admission": True, "visit_start": False}  # event type -> is a hospital stay
_ENDS = {"discharge": True, "visit_end": False}
_DIAGNOSES = (f"{UNDATED_DIAGNOSIS}//", f"{DISPUTED_DIAGNOSIS}//")  # outcomes that are diagnoses
_KEPT = pa.array([*_STARTS, *_ENDS, "diagnosis", "birth", "death", "outcome"])

_ALIVE = "VITAL_STATUS//ALIVE"  # an outcome: the source says that the patient lives

# time, code, event_type, encounter_id, available_time, and the first instants of the two times (None: exact)
Row = tuple[datetime | None, str, str, str | None, datetime | None, datetime | None, datetime | None]


class Site(msgspec.Struct, frozen=True):
    """The parts of a dataset's site settings that labels depend on."""

    time_zone: str = "UTC"  # whose calendar days count
    # What the site file declares: encounter classes that are no hospital stay, systems of diagnoses, and the
    # conditions that codes mean (see `diagnoses.declared_codes`).
    other_classes: frozenset[str] = frozenset()
    diagnosis_systems: frozenset[str] = frozenset()
    diagnoses: dict[str, str] = {}


UNKNOWN_SITE = Site()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A coded diagnosis.

    `time` is the start of its encounter. Without an encounter it is when the diagnosis was recorded, and the
    onset may lie years before. Where the start is not known to the instant, or the diagnosis was recorded
    before its encounter started, `time` is the last possible instant, and `when` the whole interval.
    """

    code: str
    time: datetime | None  # None: coded at an unknown time
    encounter_id: str | None
    first: datetime | None = None  # the first instant possible; None: `time` is exact

    @property
    def when(self) -> Interval | None:
        """The interval in which the diagnosis counts."""
        return None if self.time is None else interval(self.time, self.first)


@dataclass(frozen=True, slots=True)
class Record:
    """The whole record of one subject: labels look forward, so nothing is cut here."""

    subject_id: int
    birth: datetime | None
    death: datetime | None  # the last instant possible: date-only deaths stand at the end of their day
    life: Life  # all that is known of the death
    death_doubtful: bool  # events go on long after the death
    last_event: datetime | None
    follow_up_end: datetime | None  # None: unknown
    stays: tuple[Stay, ...]  # by start
    encounters: tuple[Encounter, ...]  # hospital and other, by start
    diagnoses: tuple[Diagnosis, ...]
    unpaired_ends: int  # encounter ends without a start: of an unknown one, or with no encounter of none
    site: Site = UNKNOWN_SITE

    @property
    def death_without_time(self) -> bool:
        """Dead, at an unknown time."""
        return self.life.dead_without_time

    @property
    def zone(self) -> ZoneInfo:
        """Whose calendar days count."""
        return ZoneInfo(self.site.time_zone)

    @property
    def known_until(self) -> datetime | None:
        """Return the last instant at which "nothing happened" is known.

        After a death that was followed up, nothing can happen.
        """
        followed = self.follow_up_end is not None and self.death is not None
        if followed and self.death <= self.follow_up_end:  # type: ignore[operator]
            return datetime.max
        return self.follow_up_end


def record_from_events(
    events: pa.Table,
    follow_up: FollowUp | Mapping[str, Any] | None = None,
    config: StayConfig = DEFAULT,
    site: Site = UNKNOWN_SITE,
) -> Record:
    """Return the record of the one subject in `events`.

    `events` are rows of EVENTS with at least `COLUMNS`, in any order. `follow_up` is the dataset's rule. Rows
    of other event types count only for the last event's time, which an outcome is not: its time is nominal.
    """
    subject_id = events["subject_id"][0].as_py()
    return record_from_rows(subject_id, rows_from_events(events), last_event(events), follow_up, config, site)


def rows_from_events(events: pa.Table) -> list[Row]:
    """What EVENTS rows of one subject (at least `COLUMNS`) hold that decides labels."""
    kept = with_first_instants(events).filter(pc.is_in(events["event_type"], value_set=_KEPT))
    return list(zip(*(kept[name].to_pylist() for name in COLUMNS[1:]), strict=True))


def with_first_instants(events: pa.Table) -> pa.Table:
    """Return COLUMNS of EVENTS; times without a first instant are exact."""
    found = set(events.column_names)
    columns = [events[n] if n in found else pa.nulls(events.num_rows, TIME) for n in COLUMNS]
    return pa.table(columns, names=COLUMNS)


def last_event(events: pa.Table) -> datetime | None:
    """Return the last certain time among one subject's EVENTS rows.

    Outcomes are left out: their time is nominal. Of a time that is known to a day, a month or a year the
    first instant counts: until then the subject was surely followed, and no later event is surely one after a
    death.
    """
    times = with_first_instants(events)
    surely = pc.coalesce(times["earliest_time"], times["time"])
    found: datetime | None = pc.max(surely.filter(pc.not_equal(times["event_type"], "outcome"))).as_py()
    return found


def record_from_rows(
    subject_id: int,
    unsorted: Iterable[Row],
    last: datetime | None,
    follow_up: FollowUp | Mapping[str, Any] | None = None,
    config: StayConfig = DEFAULT,
    site: Site = UNKNOWN_SITE,
) -> Record:
    """As `record_from_events`, from what `rows_from_events` and `last_event` give."""
    rule, rows = follow_up_rule(follow_up), sorted(unsorted, key=_row_order)
    told = _life(rows)
    death = told.death.last if told.death else None
    doubtful_after = timedelta(days=config.doubtful_death_days)
    birth = min((r[0] for r in rows if r[2] == "birth" and r[0] is not None), default=None)
    encounters, unpaired = _encounters(rows, site, birth)
    lost = frozenset(row[3] for row in rows if row[1] == LOST_STAY)
    stays = merged_stays(encounters, told, config, lost)
    life = told.after({stay.died_reason for stay in stays})
    return Record(
        subject_id=subject_id,
        birth=birth,
        death=life.death.last if life.death else None,
        life=life,
        death_doubtful=death is not None and last is not None and last - death > doubtful_after,
        last_event=last,
        follow_up_end=rule.end(last),
        stays=stays,
        encounters=encounters,
        diagnoses=_diagnoses(rows, encounters),
        unpaired_ends=unpaired,
        site=site,
    )


def _life(rows: Iterable[Row]) -> Life:
    """The one death of all that are recorded; where the times of two do not agree, it lies between them."""
    rows = list(rows)
    deaths = [row for row in rows if row[2] == "death"]
    timed = [interval(row[0], row[5]) for row in deaths if row[0] is not None]
    death = timed[0] if timed else None
    for other in timed[1:]:
        assert death is not None
        death = death.within(other) if death.overlaps(other) else death.united(other)
    outcomes = {row[1] for row in rows if row[2] == "outcome"}
    said_alive, by_disposition = _ALIVE in outcomes, DEATH_BY_DISPOSITION in outcomes
    disputed = DEATH_DISPUTED in outcomes
    return Life(death, bool(deaths) and death is None, said_alive, by_disposition, disputed=disputed)


def _row_order(row: Row) -> tuple[datetime, int, str, str, datetime]:
    time, code, event_type, encounter_id, known, _, _ = row
    return time or datetime.min, EVENT_RANK[event_type], code, encounter_id or "", known or datetime.min


def _encounters(rows: Iterable[Row], site: Site, birth: datetime | None) -> tuple[tuple[Encounter, ...], int]:
    """Encounters by start, and the number of ends that no start belongs to.

    Starts and ends belong together by encounter id. Where there is none, an end closes the latest open
    start of its kind. An encounter that has an end alone began between birth and then. An outcome belongs to
    the hospital stay of its encounter id.
    """
    starts: dict[tuple[str | int, bool], Row] = {}
    ends: dict[tuple[str | int, bool], Row] = {}
    outcomes: dict[tuple[str | int, bool], Row] = {}
    open_starts: dict[bool, list[int]] = {True: [], False: []}
    unpaired = 0
    for number, row in enumerate(rows):
        time, _, event_type, encounter_id = row[:4]
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
        elif event_type == "outcome" and encounter_id is not None and not row[1].startswith(_DIAGNOSES):
            outcomes[encounter_id, True] = row
    begun_anywhere = ends.keys() - starts.keys()
    unpaired += len(begun_anywhere)
    made = [_encounter(row, ends.get(key), outcomes.get(key), key[1], site) for key, row in starts.items()]
    made += [_encounter_without_start(ends[key], key[1], site, birth) for key in begun_anywhere]
    return tuple(sorted(made, key=lambda e: (e.start, not e.hospital, e.id or ""))), unpaired


def _encounter(
    start_row: Row, end_row: Row | None, outcome: Row | None, hospital: bool, site: Site
) -> Encounter:
    start, code, _, encounter_id = start_row[:4]
    end = end_row[0] if end_row else None
    how = end_row or outcome
    assert start is not None
    ended = end_row is not None and end is not None and end >= start
    return Encounter(
        id=encounter_id,
        start=start,
        end=end if ended else None,
        hospital=hospital,
        admission_class=_part(code, 1),
        disposition=_part(how[1], 1) if how and hospital else "",
        outcome_without_end=end_row is None and outcome is not None,
        first_start=start_row[5],
        first_end=end_row[5] if end_row and ended else None,
        priority=_part(code, 3),
        class_known=hospital or _class_known(code, site),
    )


def _encounter_without_start(end_row: Row, hospital: bool, site: Site, birth: datetime | None) -> Encounter:
    end, code = end_row[0], end_row[1]
    assert end is not None
    return Encounter(
        id=end_row[3],
        start=end,
        end=end,
        hospital=hospital,
        disposition=_part(code, 1) if hospital else "",
        first_start=min(birth or datetime.min, end),
        first_end=end_row[5],
        class_known=hospital or _class_known(code, site),
        start_known=False,
    )


def _class_known(code: str, site: Site) -> bool:
    """Whether a visit is known to be no hospital stay. Only codes that name a class can be in doubt."""
    if not code.startswith(("ENCOUNTER_START//", "ENCOUNTER_END//")):
        return True
    name = _part(code, 1)
    return kind_of_class(name) != "unknown" or name in site.other_classes


def _part(code: str, number: int) -> str:
    parts = code.split("//")
    return parts[number].strip().upper() if len(parts) > number else ""


def _diagnoses(rows: Iterable[Row], encounters: tuple[Encounter, ...]) -> tuple[Diagnosis, ...]:
    starts: dict[str, Encounter] = {}
    for encounter in sorted(encounters, key=lambda e: (not e.hospital, e.start)):  # the stay's own start wins
        if encounter.id is not None:
            starts.setdefault(encounter.id, encounter)
    kept = (row for row in rows if row[2] == "diagnosis" or row[1].startswith(_DIAGNOSES))
    return tuple(_diagnosis(row, starts.get(row[3] or "")) for row in kept)


def _diagnosis(row: Row, encounter: Encounter | None) -> Diagnosis:
    _, code, _, encounter_id, known, _, first_known = row
    for start in _DIAGNOSES:
        code = code.removeprefix(start)
    if encounter is not None:
        first = encounter.first_start
        if known is not None and known < encounter.begins.first:  # one of the two cannot be true
            first = first_known or known
        return Diagnosis(code, encounter.start, encounter_id, first)
    return Diagnosis(code, known, encounter_id, first_known)
