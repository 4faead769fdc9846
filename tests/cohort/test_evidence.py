"""Whether a patient died in a stay: every kind of evidence against every other."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chartscan.cohort import Interval, Life
from chartscan.cohort.evidence import ending, interval, what_is_said

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
IN, OUT = datetime(2150, 3, 1, 10), datetime(2150, 3, 5, 14)
STAY = interval(IN), interval(OUT)


def day_of(time):
    first = datetime(time.year, time.month, time.day)
    return Interval(first, first + DAY - timedelta(microseconds=1))


def month_of(time):
    first = datetime(time.year, time.month, 1)
    return Interval(first, datetime(time.year, time.month + 1, 1) - timedelta(microseconds=1))


WITHIN, ON_THE_DAY, AFTER = interval(OUT - 9 * HOUR), day_of(OUT), interval(OUT + 9 * DAY)
THE_DAY_BEFORE, THE_MONTH, BEFORE = day_of(OUT - DAY), month_of(OUT), interval(IN - DAY)
SOON_AFTER = interval(OUT + HOUR)


@pytest.mark.parametrize(
    ("disposition", "life", "died"),
    [
        ("EXPIRED", Life(), True),
        ("EXPIRED", Life(dead_without_time=True), True),
        ("EXPIRED", Life(said_alive=True), None),
        ("EXPIRED", Life(WITHIN), True),
        ("EXPIRED", Life(ON_THE_DAY), True),
        ("EXPIRED", Life(THE_DAY_BEFORE), True),
        ("EXPIRED", Life(THE_MONTH), True),
        ("EXPIRED", Life(SOON_AFTER), True),  # recorded an hour late
        ("EXPIRED", Life(AFTER), None),
        ("EXPIRED", Life(BEFORE), None),
        ("HOME", Life(), False),
        ("HOME", Life(dead_without_time=True), False),
        ("HOME", Life(said_alive=True), False),
        ("HOME", Life(WITHIN), None),
        ("HOME", Life(ON_THE_DAY), False),  # at home that evening: all readings that agree with HOME
        ("HOME", Life(THE_DAY_BEFORE), None),
        ("HOME", Life(THE_MONTH), False),
        ("HOME", Life(AFTER), False),
        ("HOME", Life(BEFORE), None),
        ("", Life(), None),
        ("", Life(dead_without_time=True), None),
        ("", Life(said_alive=True), False),
        ("", Life(WITHIN), True),
        ("", Life(ON_THE_DAY), None),
        ("", Life(THE_DAY_BEFORE), True),
        ("", Life(THE_MONTH), None),
        ("", Life(SOON_AFTER), False),
        ("", Life(AFTER), False),
        ("Q7", Life(), None),
        ("Q7", Life(said_alive=True), False),
        ("Q7", Life(WITHIN), True),
        ("Q7", Life(ON_THE_DAY), None),
        ("Q7", Life(AFTER), False),
        ("Q7", Life(SOON_AFTER), None),  # the word may say dead, and the death be recorded an hour late
        ("CONFLICTING", Life(), None),
        ("CONFLICTING", Life(WITHIN), None),
    ],
)
def test_one_disposition_and_what_is_known_of_the_death(disposition, life, died):
    found = ending([disposition], *STAY, life)
    assert found.died is died
    assert bool(found.reason) == (died is None)


def test_a_word_that_is_not_understood_is_never_a_negative():
    for word in ("Q7", "20", "VERLEGT", "OTH", "UNRECOGNISED"):
        found = ending([word], *STAY, Life())
        assert (found.died, found.reason) == (None, "disposition not recognised")


def test_the_day_of_the_discharge_is_in_hospital_where_the_site_says_so():
    assert ending([""], *STAY, Life(ON_THE_DAY), same_day_in_hospital=True).died is True
    assert ending(["HOME"], *STAY, Life(ON_THE_DAY), same_day_in_hospital=True).died is False
    assert ending([""], *STAY, Life(THE_MONTH), same_day_in_hospital=True).died is None


def test_a_death_ends_the_stay_however_late_the_bed_was_given_back():
    found = ending(["EXPIRED"], *STAY, Life(interval(IN + 2 * DAY)))
    assert found.end == interval(IN + 2 * DAY)
    by_date = ending(["EXPIRED"], *STAY, Life(day_of(IN + 2 * DAY)))
    assert by_date.end == day_of(IN + 2 * DAY)
    assert ending(["EXPIRED"], *STAY, Life(ON_THE_DAY)).end == interval(OUT)  # the discharge dates it
    assert ending(["EXPIRED"], *STAY, Life(SOON_AFTER)).end == interval(OUT)
    assert ending([""], *STAY, Life(ON_THE_DAY)).end == Interval(ON_THE_DAY.first, OUT)


def test_who_comes_back_after_a_deadly_stay_did_not_surely_die_in_it():
    assert ending(["EXPIRED"], *STAY, Life(), comes_back=True).died is None
    assert ending(["EXPIRED"], *STAY, Life(WITHIN), comes_back=True).died is True  # organ donation


def test_of_several_encounters_the_last_to_end_decides():
    assert what_is_said(["HOME", "EXPIRED"]) == "dead"
    assert what_is_said(["EXPIRED", "HOME"]) == "dead, then alive"
    assert ending(["EXPIRED", "HOME"], *STAY, Life()).died is None
    assert ending(["EXPIRED", "HOME"], *STAY, Life(WITHIN)).died is True
    assert ending(["EXPIRED", ""], *STAY, Life()).died is True


def test_a_last_disposition_that_is_not_understood_leaves_a_death_before_it_open():
    assert ending(["EXPIRED", "B7"], *STAY, Life()).died is None
    assert ending(["EXPIRED", "B7"], *STAY, Life(WITHIN)).died is True
    assert ending(["EXPIRED", "B7"], *STAY, Life(AFTER)).died is None
    assert ending(["B7", "EXPIRED"], *STAY, Life()).died is True


@pytest.mark.parametrize(
    ("disposition", "death", "died"),
    [
        ("HOME", AFTER, False),  # dead later, or not at all
        ("HOME", WITHIN, None),
        ("", AFTER, False),
        ("", WITHIN, None),
        ("", ON_THE_DAY, None),
        ("EXPIRED", WITHIN, None),
        ("EXPIRED", None, None),
    ],
)
def test_where_a_patient_is_said_to_be_dead_and_to_live_both_must_give_the_answer(disposition, death, died):
    found = ending([disposition], *STAY, Life(death, dead_without_time=death is None, said_alive=True))
    assert (found.died, found.reason) == (
        died,
        "the patient is said to be dead and to live" if died is None else "",
    )


HOURS = st.integers(-300, 300)


@given(
    st.sampled_from(["EXPIRED", "HOME", "", "Q7", "CONFLICTING"]), HOURS, st.integers(0, 200), st.booleans()
)
def test_knowing_the_death_less_exactly_never_turns_an_answer_round(disposition, at, width, same_day):
    exact = interval(OUT + at * HOUR)
    wide = Interval(exact.first - width * HOUR, exact.last + width // 2 * HOUR)
    one = ending([disposition], *STAY, Life(exact)).died
    other = ending([disposition], *STAY, Life(wide)).died
    assert None in (one, other) or one == other
