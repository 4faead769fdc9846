"""Stays from encounters, and records from rows."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import permutations
from random import Random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chartscan.cohort import Encounter, Interval, Life, Site, StayConfig, record_from_events
from chartscan.cohort.evidence import follow_up_rule
from chartscan.cohort.stays import merged_stays
from chartscan.errors import ConfigError
from chartscan.find import find
from chartscan.schema import TIME

DAY = timedelta(days=1)
T0 = datetime(2150, 1, 1, 8)


def encounter(name, start, end, disposition="HOME"):
    return Encounter(name, T0 + start * DAY, None if end is None else T0 + end * DAY, True, "", disposition)


def events(*rows):
    """EVENTS of subject 1 from (day, code, event_type, encounter_id)."""
    names = ["time", "code", "event_type", "encounter_id"]
    types = [TIME, pa.string(), pa.string(), pa.string()]
    timed = [(None if r[0] is None else T0 + r[0] * DAY, *r[1:]) for r in rows]
    columns = [pa.array([r[i] for r in timed], t) for i, t in enumerate(types)]
    names = ["subject_id", *names, "available_time"]
    return pa.table([pa.array([1] * len(rows)), *columns, columns[0]], names=names)


def spans(stays):
    return [((s.start - T0) / DAY, None if s.end is None else (s.end - T0) / DAY) for s in stays]


def test_overlapping_touching_and_nested_encounters_are_one_stay():
    parts = [encounter("c", 5, 6), encounter("a", 0, 5), encounter("b", 1, 2), encounter("d", 6.1, 7)]
    stays = merged_stays(parts)
    assert spans(stays) == [(0, 6), (6.1, 7)]
    assert stays[0].encounter_ids == ("a", "b", "c")


def test_the_merge_gap_is_a_setting():
    parts = [encounter("a", 0, 1), encounter("b", 1.5, 2)]
    assert spans(merged_stays(parts, config=StayConfig(merge_gap_hours=12))) == [(0, 2)]
    assert len(merged_stays(parts, config=StayConfig(merge_gap_hours=11))) == 2


def test_a_forgotten_discharge_does_not_swallow_later_stays():
    assert spans(merged_stays([encounter("a", 0, None), encounter("b", 9, 10)])) == [(0, None), (9, 10)]


def test_a_stay_with_an_open_part_is_open():
    assert spans(merged_stays([encounter("a", 0, 5), encounter("b", 1, None)])) == [(0, None)]


def test_the_disposition_of_the_last_part_decides():
    parts = [encounter("a", 0, 5, "TRANSFER"), encounter("b", 5, 8, "")]
    at_the_end = Life(Interval(T0 + 8 * DAY, T0 + 8 * DAY))
    (unknown,), (dead,) = merged_stays(parts), merged_stays(parts, at_the_end)
    assert (unknown.disposition, unknown.died_in_hospital, dead.died_in_hospital) == ("", None, True)
    expired = [encounter("a", 0, 5, "HOME"), encounter("b", 5, 8, "EXPIRED")]
    assert merged_stays(expired)[0].died_in_hospital


def test_encounters_are_paired_by_id_and_without_ids_by_order():
    record = record_from_events(
        events(
            (0, "HOSPITAL_ADMISSION//EW", "admission", None),
            (2, "HOSPITAL_DISCHARGE//home", "discharge", None),
            (3, "HOSPITAL_ADMISSION//EW", "admission", None),  # its discharge is missing
            (8, "HOSPITAL_ADMISSION//EW", "admission", None),
            (9, "HOSPITAL_DISCHARGE//SNF", "discharge", None),
        )
    )
    assert spans(record.stays) == [(0, 2), (3, None), (8, 9)]
    assert [s.disposition for s in record.stays] == ["HOME", "", "SNF"]


def test_an_end_before_the_start_is_no_end_and_one_without_a_start_is_of_a_stay_that_began_any_time_before():
    record = record_from_events(
        events(
            (3, "HOSPITAL_ADMISSION//EW", "admission", "a"),
            (2, "HOSPITAL_DISCHARGE//HOME", "discharge", "a"),
            (5, "HOSPITAL_DISCHARGE//HOME", "discharge", "lost"),
            (6, "ENCOUNTER_END//AMB", "visit_end", None),
        )
    )
    assert spans(record.stays) == [(3, None), (5, 5)]
    known, unknown = record.stays
    assert (known.start_known, unknown.start_known) == (True, False)
    assert (unknown.begins.first, unknown.begins.last) == (datetime.min, T0 + 5 * DAY)
    assert record.unpaired_ends == 2


OUTCOME = (1000, "HOSPITAL_OUTCOME//EXPIRED", "outcome", "a")
ADMISSION = (0, "HOSPITAL_ADMISSION//ICU", "admission", "a")


def test_a_stay_without_a_discharge_takes_its_disposition_from_its_outcome():
    record = record_from_events(events(ADMISSION, (2, "LOINC//1", "lab", "a"), OUTCOME))
    (stay,) = record.stays
    assert (stay.disposition, stay.died_in_hospital, stay.end) == ("EXPIRED", True, None)
    assert stay.has_disposition
    assert stay.outcome_without_end
    assert record.last_event == T0 + 2 * DAY
    assert (record.death, record.unpaired_ends) == (None, 0)


def test_a_discharge_wins_over_an_outcome_and_an_outcome_of_no_stay_does_nothing():
    discharge = (3, "HOSPITAL_DISCHARGE//HOME", "discharge", "a")
    lost = (1000, "HOSPITAL_OUTCOME//EXPIRED", "outcome", "lost")
    for rows in ((ADMISSION, discharge), (ADMISSION, discharge, OUTCOME), (ADMISSION, discharge, lost)):
        record = record_from_events(events(*rows))
        (stay,) = record.stays
        assert (stay.disposition, stay.died_in_hospital, stay.outcome_without_end) == ("HOME", False, False)
        assert spans(record.stays) == [(0, 3)]
        assert record.unpaired_ends == 0


def test_of_touching_encounters_the_one_with_an_outcome_and_no_end_is_the_last():
    record = record_from_events(
        events(
            ADMISSION,
            (0, "HOSPITAL_ADMISSION//EW", "admission", "b"),
            (2, "HOSPITAL_DISCHARGE//TRANSFER", "discharge", "b"),
            (1000, "HOSPITAL_OUTCOME//ALIVE", "outcome", "a"),
        )
    )
    (stay,) = record.stays
    assert (stay.disposition, stay.end, stay.outcome_without_end) == ("ALIVE", None, True)


def test_an_emergency_visit_with_the_id_of_the_stay_is_no_part_of_it():
    record = record_from_events(
        events(
            (0, "ED_REGISTRATION", "visit_start", "a"),
            (0.5, "HOSPITAL_ADMISSION//EW", "admission", "a"),
            (0.6, "ED_OUT", "visit_end", "a"),
            (4, "HOSPITAL_DISCHARGE//HOME", "discharge", "a"),
            (5, "ICD10CM//I10", "diagnosis", "a"),
        )
    )
    assert spans(record.stays) == [(0.5, 4)]
    assert len(record.encounters) == 2
    assert record.diagnoses[0].time == T0 + 0.5 * DAY


def test_two_deaths_are_one_somewhere_between_and_a_timeless_death_is_remembered():
    two = record_from_events(events((5, "MEDS_DEATH", "death", None), (4, "MEDS_DEATH", "death", None)))
    assert (two.life.death, two.death_without_time) == (Interval(T0 + 4 * DAY, T0 + 5 * DAY), False)
    timeless = record_from_events(events((None, "MEDS_DEATH", "death", None)))
    assert (timeless.death, timeless.death_without_time) == (None, True)


def test_follow_up_ends_by_the_rule_of_the_dataset():
    table = events(
        (0, "LOINC//1", "lab", None), (9, "LOINC//1", "lab", None), (None, "GENDER//F", "static", None)
    )
    after = {"rule": "days_after_last_event", "days": 30}
    export = {"rule": "export_time", "time": "2151-01-01T02:00:00+02:00"}
    assert record_from_events(table, after).follow_up_end == T0 + 39 * DAY
    assert record_from_events(table, export).follow_up_end == datetime(2151, 1, 1)
    assert record_from_events(table).follow_up_end is None


@pytest.mark.parametrize(
    "rule",
    [
        {"rule": "export_time"},
        {"rule": "for_ever"},
        {"rule": "days_after_last_event", "days": -1},
        {"rule": "export_time", "time": "yesterday"},
        {"rule": "days_after_last_event", "dayz": 3},
    ],
)
def test_a_rule_that_is_none_is_refused(rule):
    with pytest.raises(ConfigError, match="follow_up"):
        follow_up_rule(rule)


def dated(name, start, end, first_start=None, first_end=None):
    """An encounter in days since T0 whose ends are known to an interval."""
    first_start, first_end = (None if d is None else T0 + d * DAY for d in (first_start, first_end))
    return Encounter(
        name, T0 + start * DAY, T0 + end * DAY, True, "", "HOME", first_start=first_start, first_end=first_end
    )


def test_dates_that_do_not_say_whether_two_encounters_are_one_stay_leave_both_uncertain():
    same_day = [dated("a", 0, 5, first_end=4), dated("b", 5, 9, first_start=4)]
    assert [bool(s.uncertain) for s in merged_stays(same_day)] == [True, True]
    far = [dated("a", 0, 5, first_end=4), dated("b", 7, 9, first_start=6)]
    assert [s.uncertain for s in merged_stays(far)] == ["", ""]
    nested = [dated("a", 0, 5, first_end=4), dated("b", 3, 4, first_start=2)]
    assert spans(merged_stays(nested)) == [(0, 5)]


def test_dates_that_follow_each_other_are_one_stay_where_the_site_says_so():
    day = 1 - 1 / 86_400_000_000
    months = [dated("a", 10, 31 + day, 10, 31), dated("b", 32 + day, 60 + day, 32, 60)]
    assert [bool(s.uncertain) for s in merged_stays(months)] == [True, True]
    (one,) = merged_stays(months, config=StayConfig(merge_dates=True))
    assert (one.uncertain, one.encounter_ids) == ("", ("a", "b"))


def visit(name, start, end, class_known):
    end = None if end is None else T0 + end * DAY
    return Encounter(name, T0 + start * DAY, end, False, class_known=class_known)


@pytest.mark.parametrize(
    ("start", "end", "uncertain"),
    [
        (4, 6, True),
        (-1, 1, True),
        (5, 9, True),
        (1, 2, False),
        (6, 9, False),
        (3, None, True),
        (-9, None, True),
        (6, None, False),
    ],
)
def test_an_encounter_of_unknown_class_leaves_the_stay_uncertain_that_it_would_lengthen(
    start, end, uncertain
):
    stay = encounter("a", 0, 5)
    assert bool(merged_stays([stay, visit("x", start, end, False)])[0].uncertain) == uncertain
    assert not merged_stays([stay, visit("x", start, end, True)])[0].uncertain


def test_a_class_is_known_by_the_standard_or_by_the_site():
    rows = events((0, "ENCOUNTER_START//Q7", "visit_start", "v"), (1, "ENCOUNTER_END//Q7", "visit_end", "v"))
    assert not record_from_events(rows).encounters[0].class_known
    site = Site(other_classes=frozenset({"Q7"}))
    assert record_from_events(rows, site=site).encounters[0].class_known
    for code in ("ENCOUNTER_START//AMB", "ED_REGISTRATION", "ICU_ADMISSION//Q7"):
        known = events((0, code, "visit_start", "v"))
        assert record_from_events(known).encounters[0].class_known


def test_a_stay_is_planned_by_its_class_or_priority():
    rows = events((0, "HOSPITAL_ADMISSION//IMP//HOME//EL", "admission", "a"))
    config = StayConfig(planned_priorities=("EL",))
    assert record_from_events(rows, config=config).stays[0].planned
    assert record_from_events(rows, config=StayConfig(planned_classes=("IMP",))).stays[0].planned
    assert not record_from_events(rows).stays[0].planned


@pytest.mark.parametrize(
    ("told", "died"),
    [
        (("HOME", ""), False),
        (("EXPIRED", ""), True),
        (("EXPIRED", "HOME"), None),
        (("HOME", "Q7"), None),  # a word that is not understood may say dead
        (("HOME", "CONFLICTING"), None),
        (("HOME", "SNF", "UNK"), False),
        (("HOME", "EXPIRED", "Q7"), None),
    ],
)
def test_of_encounters_that_end_together_all_that_is_said_counts_whatever_their_ids_and_order(told, died):
    for start in (0, 0.5):
        for dispositions in permutations(told):
            parts = [encounter(f"e{n}", 0 if n else start, 5, said) for n, said in enumerate(dispositions)]
            for ids in permutations("abc"):
                renamed = [replace(part, id=name) for part, name in zip(parts, ids, strict=False)]
                (stay,) = merged_stays(renamed)
                assert stay.died_in_hospital is died
                assert stay.has_disposition


def test_a_stay_of_encounters_that_begin_together_is_planned_only_where_all_of_them_are():
    config = StayConfig(planned_classes=("ELECTIVE",))
    planned, other = encounter("b", 0, 5), encounter("a", 0, 5)
    planned = replace(planned, admission_class="ELECTIVE")
    for one, two in ((planned, other), (replace(planned, id="a"), replace(other, id="b"))):
        assert [stay.planned for stay in merged_stays([one, two], config=config)] == [False]
    assert merged_stays([planned, replace(planned, id="c")], config=config)[0].planned


DATE = 1 - 1 / 86_400_000_000  # from the first instant of a day to the last


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_stay_begins_when_the_first_of_its_encounters_may_have_begun(order):
    parts = [dated("a", 10 + DATE, 12 + DATE, 10, 12), dated("b", 10.8, 17.6)]
    (stay,) = merged_stays([parts[n] for n in order])
    assert (stay.begins, stay.uncertain) == (Interval(T0 + 10 * DAY, T0 + 10.8 * DAY), "")
    assert stay.start == T0 + 10.8 * DAY


def test_encounters_of_which_one_may_have_ended_before_the_other_began_are_not_surely_one_stay():
    by_date, later = dated("a", 10 + DATE, 10 + DATE, 10, 10), dated("b", 10.8, 17.6)
    assert [bool(s.uncertain) for s in merged_stays([by_date, later])] == [True, True]
    for month in (
        [dated("a", 20, 20, 1), dated("b", 5, 7, first_end=6)],
        [dated("a", 20, 20, 1), dated("b", 5, 7)],
    ):
        assert [bool(s.uncertain) for s in merged_stays(month)] == [True, True]
    assert [s.uncertain for s in merged_stays([dated("a", 20, 20, 8), dated("b", 5, 7)])] == ["", ""]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 12)] * 4), min_size=2, max_size=4))
def test_stays_are_certain_only_where_every_reading_of_their_times_makes_the_same_ones(times):
    parts = []
    for number, (a, b, c, d) in enumerate(times):
        first, last = min(a, b), max(a, b)
        first_end, last_end = sorted((max(c, last), max(d, last)))
        parts.append(dated(str(number), last, last_end, first, first_end))
    certain = {stay.encounter_ids: stay for stay in merged_stays(parts) if not stay.uncertain}
    draw = Random(str(times))
    for _ in range(10):
        read = [replace(p, start=_of(draw, p.begins), end=_of(draw, p.ends)) for p in parts]
        read = [replace(p, first_start=None, first_end=None) for p in read]
        made = {frozenset(stay.encounter_ids): stay for stay in merged_stays(read)}
        for ids, stay in certain.items():
            exact = made[frozenset(ids)]
            assert stay.begins.first <= exact.start <= stay.begins.last
            assert stay.ends.first <= exact.end <= stay.ends.last


def _of(draw, when):
    return when.first + draw.random() * (when.last - when.first)


def test_who_may_come_back_to_a_stay_did_not_surely_die_in_the_one_before():
    deadly = encounter("a", 0, 5, "EXPIRED")
    visit = replace(encounter("b", 20, 25), hospital=False)
    assert merged_stays([deadly, visit])[0].died_in_hospital is True
    strange = replace(visit, class_known=False)
    assert merged_stays([deadly, strange])[0].died_in_hospital is None
    assert merged_stays([deadly, strange], Life(Interval(deadly.end, deadly.end)))[0].died_in_hospital is True
    assert merged_stays([deadly, replace(strange, start=T0)])[0].died_in_hospital is True


def test_a_diagnosis_recorded_before_its_encounter_counts_at_any_time_from_then_on():
    rows = events(
        (0, "HOSPITAL_ADMISSION//IMP", "admission", "a"),
        (5, "HOSPITAL_DISCHARGE//HOME", "discharge", "a"),
        (40, "HOSPITAL_ADMISSION//IMP", "admission", "b"),
        (45, "HOSPITAL_DISCHARGE//HOME", "discharge", "b"),
        (-9, "ICD10//I10", "diagnosis", "b"),
        (41, "ICD10//J06", "diagnosis", "b"),
    )
    record = record_from_events(rows)
    assert [(d.code, d.when) for d in record.diagnoses] == [
        ("ICD10//I10", Interval(T0 - 9 * DAY, T0 + 40 * DAY)),
        ("ICD10//J06", Interval(T0 + 40 * DAY, T0 + 40 * DAY)),
    ]


def test_a_stay_that_began_on_an_unknown_day_is_not_taken_for_a_short_one():
    rows = events(
        (19, "HOSPITAL_ADMISSION//IMP", "admission", "a"), (19, "HOSPITAL_DISCHARGE//HOME", "discharge", "a")
    )
    first = pa.array([T0 - 5 * DAY, None], TIME)
    record = record_from_events(rows.append_column("earliest_time", first))
    (outcome,) = find("tasks", "long_stay_7d").label(record)
    assert (outcome.eligible, outcome.reason) == (True, "stay may have ended before the prediction time")
