"""The edges of every label rule, one by one, readable by a clinician."""

from datetime import datetime, timedelta

import msgspec
import pytest

from chartscan.cohort import Site, StayConfig, record_from_events
from chartscan.errors import ConfigError
from chartscan.find import find, names
from chartscan.settings import with_settings
from chartscan.vocabulary.diagnoses import FLUID_DISORDER, HYPERTENSION, LIPID_DISORDER, declared_codes
from synthetic_records import DAY, HOUR, US, History, end_of_day, start_of_day

IN = datetime(2150, 3, 1, 10)
OUT = datetime(2150, 3, 5, 14)
LONG_AGO_EXPORT = {"rule": "export_time", "time": "2160-01-01T00:00:00Z"}
MINUTE = timedelta(minutes=1)


def one_stay(disposition="//HOME", end=OUT, follow_up=LONG_AGO_EXPORT):
    return History(7, follow_up=follow_up).stay(IN, end, "a", disposition)


def outcomes(task, history, **config):
    module = find("tasks", task)
    settings = type(module.DEFAULT)(**config) if config else module.DEFAULT
    return module.label(record_from_events(history.events(), history.follow_up), settings)


def first(task, history, **config):
    return outcomes(task, history, **config)[0]


@pytest.mark.parametrize(
    ("gap", "value"),
    [
        (US, True),
        (28 * DAY, True),
        (29 * DAY, True),
        (30 * DAY - MINUTE, True),
        (30 * DAY, True),
        (30 * DAY + US, False),
        (31 * DAY, False),
        (59 * DAY, False),
    ],
)
def test_readmission_counts_up_to_and_including_thirty_days(gap, value):
    history = one_stay().stay(OUT + gap, OUT + gap + DAY, "b")
    outcome = first("readmission_30d", history)
    assert (outcome.prediction_time, outcome.value) == (OUT, value)


@pytest.mark.parametrize("gap", [timedelta(0), -HOUR, -10 * DAY])
def test_a_transfer_is_no_readmission(gap):
    history = one_stay().stay(OUT + gap, OUT + 2 * DAY, "b")
    (outcome,) = outcomes("readmission_30d", history)
    assert (outcome.prediction_time, outcome.value) == (OUT + 2 * DAY, False)


def test_a_planned_admission_counts_unless_the_config_says_otherwise():
    history = one_stay().stay(OUT + DAY, OUT + 2 * DAY, "b", admission="HOSPITAL_ADMISSION//ELECTIVE//HOME")
    assert first("readmission_30d", history).value is True
    assert first("readmission_30d", history, planned_classes=("ELECTIVE",)).value is False


def test_a_death_before_any_readmission_is_negative_and_flagged_or_excluded():
    history = one_stay().add(OUT + 3 * DAY, "MEDS_DEATH", "death")
    history.follow_up = {"rule": "days_after_last_event", "days": 0}
    assert first("readmission_30d", history).value is False
    assert first("readmission_30d", history).flags == ("dies within 30 d without readmission",)
    assert not first("readmission_30d", history, exclude_deaths=True).eligible


@pytest.mark.parametrize(("followed", "value"), [(30 * DAY - US, None), (30 * DAY, False)])
def test_readmission_is_absent_unless_followed_for_thirty_days(followed, value):
    rule = {"rule": "export_time", "time": (OUT + followed).isoformat()}
    assert first("readmission_30d", one_stay(follow_up=rule)).value is value


def test_without_a_follow_up_rule_only_events_are_known():
    assert first("readmission_30d", one_stay(follow_up={})).value is None
    assert first("readmission_30d", one_stay(follow_up={}).stay(OUT + DAY, None, "b")).value is True


@pytest.mark.parametrize(
    ("death", "value"),
    [
        (end_of_day(OUT), True),  # date only, on the day of discharge
        (end_of_day(OUT + 30 * DAY), True),
        (OUT + 30 * DAY + US, True),  # still the thirtieth day
        (end_of_day(OUT + 30 * DAY) + US, False),
        (OUT + 300 * DAY, False),
    ],
)
def test_death_counts_up_to_the_end_of_the_thirtieth_day(death, value):
    assert first("mortality_30d", one_stay().add(death, "MEDS_DEATH", "death")).value is value


@pytest.mark.parametrize(
    ("from_", "to", "value"),
    [
        (OUT + DAY, OUT + 20 * DAY, True),
        (OUT + 20 * DAY, OUT + 40 * DAY, None),
        (OUT + 40 * DAY, OUT + 70 * DAY, False),
        (OUT - 3 * DAY, OUT + 20 * DAY, True),  # HOME: the patient left alive
        (OUT - 3 * DAY, OUT + 90 * DAY, None),
    ],
)
def test_a_death_known_to_a_month_counts_only_where_all_its_days_agree(from_, to, value):
    history = one_stay().add(to, "MEDS_DEATH", "death", first=from_)
    assert first("mortality_30d", history).value is value


@pytest.mark.parametrize(
    ("zone", "value"), [("UTC", True), ("America/New_York", True), ("Pacific/Auckland", False)]
)
def test_the_days_of_the_window_are_those_of_the_site(zone, value):
    late = datetime(2150, 4, 4, 23)  # the thirtieth day after 2150-03-05 in UTC; the next day in Auckland
    module = find("tasks", "mortality_30d")
    history = one_stay(end=datetime(2150, 3, 5, 10)).add(late, "MEDS_DEATH", "death")
    record = record_from_events(history.events(), history.follow_up, site=Site(time_zone=zone))
    assert module.label(record)[0].value is value


@pytest.mark.parametrize(
    ("gap", "value"), [(30 * DAY - MINUTE, True), (30 * DAY, True), (30 * DAY + US, False)]
)
def test_death_by_instant_counts_up_to_and_including_thirty_days(gap, value):
    history = one_stay().add(OUT + gap, "MEDS_DEATH", "death")
    assert first("mortality_30d", history, resolution="instant").value is value


def test_death_is_negative_only_when_followed_to_the_end_of_the_thirtieth_day():
    last = end_of_day(OUT + 30 * DAY)
    for followed, value in ((last - US, None), (last, False)):
        rule = {"rule": "export_time", "time": followed.isoformat()}
        assert first("mortality_30d", one_stay(follow_up=rule)).value is value


def test_a_stay_that_may_have_begun_before_the_time_of_another_part_has_no_length_near_the_limit():
    day = datetime(2150, 1, 10)
    by_date = History(7, follow_up=LONG_AGO_EXPORT)
    by_date.add(end_of_day(day), "HOSPITAL_ADMISSION//IMP", "admission", "a", first=day)
    by_date.add(day + 2 * DAY, "HOSPITAL_DISCHARGE//HOME", "discharge", "a")
    by_date.stay(day + 19 * HOUR, day + 7 * DAY + 15 * HOUR, "b")
    assert first("long_stay_7d", by_date).value is None


@pytest.mark.parametrize(("died_after", "value"), [(6 * DAY, False), (7 * DAY, False), (8 * DAY, None)])
def test_a_patient_who_left_alive_in_some_month_left_before_the_death(died_after, value):
    month = datetime(IN.year, IN.month, 1) + 31 * DAY
    history = History(7, follow_up=LONG_AGO_EXPORT).add(IN, "HOSPITAL_ADMISSION//IMP", "admission", "a")
    history.add(month, "HOSPITAL_DISCHARGE//HOME", "discharge", "a", first=IN + 2 * DAY)
    assert first("long_stay_7d", history).value is None
    assert first("long_stay_7d", history.add(IN + died_after, "MEDS_DEATH", "death")).value is value


AT_DISCHARGE = ["mortality_30d", "readmission_30d", "hypertension_1y"]


@pytest.mark.parametrize("task", AT_DISCHARGE)
@pytest.mark.parametrize(("disposition", "death"), [("//EXPIRED", None), ("//UNK", OUT - HOUR)])
def test_who_does_not_leave_alive_is_not_predicted_at_discharge(task, disposition, death):
    history = one_stay(disposition)
    if death:
        history.add(death, "MEDS_DEATH", "death")
    assert (first(task, history).eligible, first(task, history).reason) == (False, "died in hospital")


@pytest.mark.parametrize("task", AT_DISCHARGE)
@pytest.mark.parametrize(
    ("disposition", "death", "from_", "reason"),
    [
        ("//EXPIRED", OUT + 90 * DAY, None, "disposition and death contradict each other"),
        ("//HOME", OUT - HOUR, None, "disposition and death contradict each other"),
        ("", end_of_day(OUT), start_of_day(OUT), "death may lie before or after the discharge"),
        ("//Q7", None, None, "disposition not recognised"),
    ],
)
def test_who_may_have_died_in_hospital_has_no_label_at_discharge(task, disposition, death, from_, reason):
    history = one_stay(disposition)
    if death:
        history.add(death, "MEDS_DEATH", "death", first=from_)
    for found in (first(task, history), first("in_hospital_mortality", history)):
        assert (found.eligible, found.value, found.reason) == (True, None, reason)


@pytest.mark.parametrize(("outcome", "value"), [("EXPIRED", True), ("ALIVE", False), ("UNKNOWN", None)])
def test_a_stay_whose_outcome_is_told_without_its_end_has_mortality_and_nothing_else(outcome, value):
    def history():
        open_stay = History(7, follow_up=LONG_AGO_EXPORT).stay(IN, None, "a")
        return open_stay.add(IN + 1000 * DAY, f"HOSPITAL_OUTCOME//{outcome}", "outcome", "a")

    found = first("in_hospital_mortality", history())
    assert (found.value, found.eligible, found.prediction_time) == (value, True, IN + DAY)
    for task in names("tasks"):
        if task != "in_hospital_mortality":
            other = first(task, history())
            assert (other.value, other.reason) == (None, "stay has no end")


def test_the_day_after_discharge_without_disposition_is_not_in_hospital():
    history = one_stay("").add(end_of_day(OUT + DAY), "MEDS_DEATH", "death")
    assert first("in_hospital_mortality", history).value is False
    assert first("mortality_30d", history).value is True


@pytest.mark.parametrize(("length", "eligible"), [(DAY - US, False), (DAY, True), (DAY + US, True)])
@pytest.mark.parametrize("task", ["long_stay_7d", "in_hospital_mortality"])
def test_predictions_after_a_day_need_a_stay_of_a_day(task, length, eligible):
    outcome = first(task, one_stay(end=IN + length))
    assert (outcome.prediction_time, outcome.eligible) == (IN + DAY, eligible)
    assert ("discharged at the prediction time" in outcome.flags) == (length == DAY)


def test_who_is_dead_after_a_day_is_not_predicted():
    history = one_stay("//EXPIRED").add(IN + DAY, "MEDS_DEATH", "death")
    assert first("in_hospital_mortality", history).reason == "not alive at the prediction time"
    tie = one_stay("//EXPIRED", end=IN + DAY)
    assert first("in_hospital_mortality", tie).reason == "not alive at the prediction time"


def test_death_in_hospital_is_positive():
    assert first("in_hospital_mortality", one_stay("//EXPIRED")).value is True
    assert first("in_hospital_mortality", one_stay("//HOME")).value is False


@pytest.mark.parametrize("disposition", ["", "//UNK", "//UNKNOWN"])
def test_a_stay_that_nobody_says_how_it_ended_has_no_outcome(disposition):
    outcome = first("in_hospital_mortality", one_stay(disposition))
    assert (outcome.eligible, outcome.value) == (True, None)
    assert outcome.reason == "no disposition and no death"
    undated = one_stay(disposition).add(None, "MEDS_DEATH", "death")
    assert first("in_hospital_mortality", undated).value is None
    later = one_stay(disposition).add(OUT + 9 * DAY, "MEDS_DEATH", "death")
    assert first("in_hospital_mortality", later).value is False


@pytest.mark.parametrize(("length", "value"), [(7 * DAY, False), (7 * DAY + US, True)])
def test_a_long_stay_is_longer_than_seven_days(length, value):
    assert first("long_stay_7d", one_stay(end=IN + length)).value is value
    died = one_stay("//EXPIRED", end=IN + length)
    assert "stay ends in death" in first("long_stay_7d", died).flags
    bed_given_back_late = one_stay("//EXPIRED", end=IN + 19 * DAY).add(IN + 2 * DAY, "MEDS_DEATH", "death")
    assert first("long_stay_7d", bed_given_back_late).value is False
    assert not first("long_stay_7d", died, exclude_deaths=True).eligible


@pytest.mark.parametrize("task", ["long_stay_7d", "in_hospital_mortality"])
def test_a_stay_without_an_end_has_no_outcome(task):
    outcome = first(task, one_stay(end=None))
    assert (outcome.eligible, outcome.value) == (True, None)


@pytest.mark.parametrize(
    ("gap", "value"), [(US, True), (365 * DAY, True), (365 * DAY + US, False), (800 * DAY, False)]
)
def test_new_onset_counts_encounters_that_start_within_a_year(gap, value):
    start = OUT + gap
    history = one_stay().add(start, "ENCOUNTER_START//AMB", "visit_start", "v")
    history.add(start + 40 * DAY, "ICD10CM//I10", "diagnosis", "v")  # coded long after the visit began
    assert first("hypertension_1y", history).value is value
    assert first("lipid_disorder_1y", history).value is False


@pytest.mark.parametrize("delay", [-DAY, timedelta(0), 3 * DAY])
def test_a_code_of_the_index_stay_excludes_even_if_coded_after_discharge(delay):
    history = one_stay().add(OUT + delay, "ICD10CM//E785", "diagnosis", "a")
    assert first("lipid_disorder_1y", history).reason == "condition already coded"


def test_a_diagnosis_without_an_encounter_counts_from_when_it_was_recorded():
    old = one_stay().add(OUT - 900 * DAY, "ICD10CM//I10", "diagnosis", known=OUT + 5 * DAY)
    assert first("hypertension_1y", old).value is True  # nobody knew of it at discharge
    known = one_stay().add(OUT - 900 * DAY, "ICD10CM//I10", "diagnosis", known=OUT)
    assert first("hypertension_1y", known).reason == "condition already coded"


@pytest.mark.parametrize(
    ("from_", "to", "eligible", "value"),
    [
        (OUT - 300 * DAY, OUT - 200 * DAY, False, None),
        (OUT - 100 * DAY, OUT + 200 * DAY, True, None),  # recorded in the year of the discharge
        (start_of_day(OUT), end_of_day(OUT), True, None),  # on its day
        (OUT + DAY, OUT + 300 * DAY, True, True),
        (OUT + 300 * DAY, OUT + 400 * DAY, True, None),
        (OUT + 400 * DAY, OUT + 500 * DAY, True, False),
    ],
)
def test_a_condition_recorded_by_month_or_year_counts_only_where_all_its_days_agree(
    from_, to, eligible, value
):
    history = one_stay().add(to, "ICD10CM//I10", "diagnosis", first=from_, first_known=from_)
    outcome = first("hypertension_1y", history)
    assert (outcome.eligible, outcome.value) == (eligible, value)


@pytest.mark.parametrize("code", ["LOCAL//I10", "NO-CODE//Condition", "UNKNOWN-SYSTEM//I10", "ICD10PCS//I10"])
def test_a_diagnosis_that_is_not_understood_is_never_taken_for_another(code):
    for when, value in ((OUT - DAY, None), (OUT + DAY, None), (OUT + 400 * DAY, False)):
        assert first("hypertension_1y", one_stay().add(when, code, "diagnosis")).value is value
    both = one_stay().add(OUT + DAY, code, "diagnosis").add(OUT + 2 * DAY, "ICD10CM//I10", "diagnosis")
    assert first("hypertension_1y", both).value is True
    history = one_stay().add(OUT - DAY, code, "diagnosis")
    site = Site(diagnosis_systems=frozenset({code.partition("//")[0]}))
    record = record_from_events(history.events(), history.follow_up, site=site)
    assert find("tasks", "hypertension_1y").label(record)[0].value is False


def test_an_encounter_of_unknown_class_in_the_window_leaves_readmission_open():
    history = one_stay().add(OUT + 3 * DAY, "ENCOUNTER_START//Q7", "visit_start", "x")
    assert first("readmission_30d", history).value is None
    assert first("readmission_30d", history.stay(OUT + 5 * DAY, OUT + 6 * DAY, "b")).value is True
    later = one_stay().add(OUT + 31 * DAY, "ENCOUNTER_START//Q7", "visit_start", "x")
    assert first("readmission_30d", later).value is False


@pytest.mark.parametrize("task", names("tasks"))
def test_nothing_is_asked_after_the_end_of_follow_up(task):
    asked = IN + DAY if "24" in find("tasks", task).DESCRIPTION else OUT
    for end, eligible in ((asked - US, False), (asked, True)):
        rule = {"rule": "export_time", "time": end.isoformat()}
        assert first(task, one_stay(follow_up=rule)).eligible is eligible


@pytest.mark.parametrize("task", ["long_stay_7d", "in_hospital_mortality"])
@pytest.mark.parametrize("rule", [{}, {"rule": "days_after_last_event", "days": 0}])
def test_who_was_admitted_half_an_hour_ago_is_not_asked_about_as_if_a_day_had_passed(task, rule):
    today = one_stay(end=None, follow_up=rule).add(IN + HOUR / 2, "LOINC//2345-7", "lab")
    assert not first(task, today).eligible
    assert first(task, today.add(IN + DAY, "LOINC//2345-7", "lab")).eligible


def test_a_condition_of_unknown_time_excludes():
    history = one_stay().add(None, "ICD10CM//E871", "diagnosis")
    assert first("fluid_disorder_1y", history).reason == "condition coded at an unknown time"


@pytest.mark.parametrize("code", ["ICD10CM//ICD10:I10", "ICD10GM//UNK", "ICD10//4019", "ICD9CM//I10"])
def test_a_code_that_its_own_system_cannot_have_may_be_any_condition(code):
    for when in (OUT - DAY, OUT + DAY):
        assert first("hypertension_1y", one_stay().add(when, code, "diagnosis")).value is None


def onset_of(task, history, **site):
    record = record_from_events(history.events(), history.follow_up, site=Site(**site))
    return find("tasks", task).label(record)[0]


@pytest.mark.parametrize("code", ["SNOMED//195662009", "SNOMED//3834100", "SNOMED//UNK", "SNOMED//"])
def test_a_snomed_concept_in_no_list_may_be_any_condition(code):
    for task in ("hypertension_1y", "fluid_disorder_1y", "lipid_disorder_1y"):
        for when, value in ((OUT - DAY, None), (OUT + DAY, None), (OUT + 400 * DAY, False)):
            outcome = first(task, one_stay().add(when, code, "diagnosis"))
            assert outcome.value is value
            assert outcome.eligible
    both = one_stay().add(OUT + DAY, code, "diagnosis").add(OUT + 2 * DAY, "SNOMED//38341003", "diagnosis")
    assert first("hypertension_1y", both).value is True
    reason = "a diagnosis within the window is not understood: its system, code, status or time"
    assert first("lipid_disorder_1y", both).reason == reason


@pytest.mark.parametrize(("code", "values"), [("ICD10CM//I10", [None, False]), ("SNOMED//1", [None, None])])
def test_a_diagnosis_of_unknown_status_may_be_none(code, values):
    for when in (OUT - DAY, OUT + DAY):
        history = one_stay().add(when, f"UNVERIFIED//{code}", "diagnosis")
        assert [first(task, history).value for task in ("hypertension_1y", "lipid_disorder_1y")] == values
        assert first("hypertension_1y", history).eligible
    undated = one_stay().add(None, f"UNDATED_DIAGNOSIS//UNVERIFIED//{code}", "outcome")
    assert first("hypertension_1y", undated).value is None
    sure = one_stay().add(OUT + DAY, f"UNVERIFIED//{code}", "diagnosis")
    assert first("hypertension_1y", sure.add(OUT + DAY, "ICD10CM//I10", "diagnosis")).value is True


@pytest.mark.parametrize("task", names("tasks"))
def test_no_label_is_made_of_a_patient_one_of_whose_stays_cannot_be_used(task):
    history = one_stay().add(OUT + 3 * DAY, "ICD10CM//I10", "diagnosis")
    assert first(task, history).value is not None
    outcome = first(task, history.add(None, "LOST_STAY", "outcome"))
    assert (outcome.value, outcome.eligible) == (None, True)
    assert outcome.reason == "a stay of the patient cannot be used, and may be at any time"


def test_a_stay_whose_end_cannot_be_read_leaves_those_after_it_open_and_not_those_before():
    history = one_stay().stay(OUT + 9 * DAY, OUT + 12 * DAY, "b")
    history.add(OUT + 5 * DAY, "HOSPITAL_ADMISSION//EMERGENCY", "admission", "x")
    history.add(None, "LOST_STAY", "outcome", "x")
    for task in names("tasks"):
        before, lost, after = outcomes(task, history)
        assert before.value is not None
        assert lost.value is None
        assert (after.value, after.reason) == (None, "an earlier stay ended at an unknown time")
    assert outcomes("readmission_30d", history)[0].value is True


def test_a_stay_that_began_at_an_unknown_time_may_be_a_readmission_or_part_of_the_stay_before():
    ended = (OUT + 9 * DAY, "HOSPITAL_DISCHARGE//HOME", "discharge", "late")
    history = one_stay().add(*ended)
    for task in ("readmission_30d", "mortality_30d", "hypertension_1y", "long_stay_7d"):
        before, late = outcomes(task, history)
        assert (before.value, before.eligible) == (None, True)
        assert late.value is None
        assert before.reason == "dates alone do not say whether the next encounter is part of the stay"
    alone = History(1, follow_up={"rule": "export_time", "time": "2160-01-01T00:00:00"}).add(*ended)
    assert first("mortality_30d", alone).value is False
    assert first("readmission_30d", alone).value is False
    assert first("long_stay_7d", alone).reason == "the stay began at an unknown time"
    after = one_stay().add(IN - DAY, "HOSPITAL_DISCHARGE//HOME", "discharge", "early")
    assert [one.value for one in outcomes("mortality_30d", after)] == [False, False]
    assert [one.value for one in outcomes("readmission_30d", after)] == [True, False]
    inside = one_stay().add(IN + DAY, "HOSPITAL_DISCHARGE//HOME", "discharge", "ward")
    (whole,) = outcomes("mortality_30d", inside)
    assert whole.value is False
    assert first("long_stay_7d", inside).reason == "the stay began at an unknown time"


def test_a_system_declared_as_snomed_does_not_make_its_concepts_known():
    history = one_stay().add(OUT + DAY, "SNOMED//195662009", "diagnosis")
    assert onset_of("hypertension_1y", history, diagnosis_systems=frozenset({"SNOMED"})).value is None


def test_a_concept_in_the_list_of_one_condition_is_known_to_be_none_of_the_others():
    history = one_stay().add(OUT + DAY, "SNOMED//55822004", "diagnosis")
    values = [first(f"{name}_1y", history).value for name in ("lipid_disorder", "hypertension")]
    assert values == [True, False]


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("SNOMED|10725009", "SNOMED//10725009"),
        ("http://snomed.info/sct|10725009", "SNOMED//10725009"),
        ("http://snomed.info/sct|http://snomed.info/sct/900|10725009", "SNOMED//10725009"),
        ("ICD-10-GM|o10.9", "ICD10GM//O109"),
        ("http://here.example/dx|d 17", "HERE//D 17"),
        ("HERE|D 17", "HERE//D 17"),
        ("urn:other:dx|7", "dx//7"),
    ],
)
def test_a_declared_code_means_what_the_site_says_and_nothing_else(key, code):
    systems = {"http://here.example/dx": "HERE"}
    history = one_stay().add(OUT + DAY, code, "diagnosis")
    for meaning, expected in (("lipid_disorder", [True, False]), ("none", [False, False])):
        declared = declared_codes({key: meaning}, systems)
        values = [
            onset_of(f"{name}_1y", history, diagnoses=declared).value
            for name in ("lipid_disorder", "hypertension")
        ]
        assert values == expected


def test_the_site_wins_over_the_lists():
    history = one_stay().add(OUT + DAY, "ICD10CM//I10", "diagnosis")
    assert onset_of("hypertension_1y", history, diagnoses={"icd10cm//i10": "none"}).value is False


@pytest.mark.parametrize("code", ["ICD10DK//DI109", "ICD10//DI10", "ICD10GM//i10.90"])
def test_danish_codes_have_a_letter_more(code):
    assert first("hypertension_1y", one_stay().add(OUT + DAY, code, "diagnosis")).value is True
    assert first("hypertension_1y", one_stay().add(OUT + DAY, "ICD10//D509", "diagnosis")).value is False


def test_an_undated_diagnosis_is_of_no_known_time_and_never_a_negative():
    history = one_stay().add(None, "UNDATED_DIAGNOSIS//ICD10CM//E871", "outcome")
    assert first("fluid_disorder_1y", history).reason == "condition coded at an unknown time"
    unknown = one_stay().add(None, "UNDATED_DIAGNOSIS//LOCAL//7", "outcome")
    assert first("fluid_disorder_1y", unknown).value is None


@pytest.mark.parametrize(("life", "value"), [(365 * DAY - US, None), (365 * DAY, False)])
def test_new_onset_is_absent_when_life_ends_within_the_year(life, value):
    history = one_stay().add(OUT + life, "MEDS_DEATH", "death")
    assert first("hypertension_1y", history).value is value


def test_a_death_in_doubt_gives_no_labels():
    history = one_stay().add(OUT + DAY, "MEDS_DEATH", "death").add(OUT + 61 * DAY + US, "LOINC//1", "lab")
    for task in ("mortality_30d", "readmission_30d", "long_stay_7d", "lipid_disorder_1y"):
        assert first(task, history).reason == "death doubtful: events long after it"
    sooner = one_stay().add(OUT + DAY, "MEDS_DEATH", "death").add(OUT + 61 * DAY, "LOINC//1", "lab")
    assert first("mortality_30d", sooner).value is True


@pytest.mark.parametrize(
    ("group", "inside", "outside"),
    [
        (HYPERTENSION, ["ICD9CM//4019", "ICD9CM//405", "ICD10CM//I10", "ICD10CM//I1A.0"], ["ICD9CM//4060"]),
        (HYPERTENSION, ["SNOMED//59621000"], ["ICD10CM//O10", "ICD9CM//64201", "ICD10CM//4019", "I10"]),
        (
            HYPERTENSION,
            [],
            ["ICD10CM//I1", "ICD10CM//I17", "ICD9CM//I10", "ICD10PCS//I10", "SNOMED//5962100"],
        ),
        (FLUID_DISORDER, ["ICD9CM//2761", "ICD10CM//E86", "ICD10CM//E876"], ["ICD10CM//E88", "ICD9CM//277"]),
        (LIPID_DISORDER, ["ICD9CM//2724", "ICD10CM//E78.5"], ["ICD10CM//E77", "ICD10CM//E7"]),
    ],
)
def test_code_groups_match_by_system_and_prefix(group, inside, outside):
    assert all(group.matches(code) for code in inside)
    assert not any(group.matches(code) for code in outside)


TIMES = ("hours", "longer_than_hours", "horizon_days", "merge_gap_hours", "doubtful_death_days")


@pytest.mark.parametrize("value", ["-1", "1e9", "1e300"])
def test_times_that_no_calendar_can_add_are_no_settings(value):
    defaults = [*(find("tasks", name).DEFAULT for name in names("tasks")), StayConfig()]
    tried = [(one, field) for one in defaults for field in msgspec.structs.asdict(one) if field in TIMES]
    assert {field for _, field in tried} == set(TIMES)
    for one, field in tried:
        with pytest.raises(ConfigError, match=f"--set {field}: Expected"):
            with_settings(one, [f"{field}={value}"])


@pytest.mark.parametrize("task", ["mortality_30d", "readmission_30d", "hypertension_1y"])
def test_a_horizon_has_at_least_a_day(task):
    with pytest.raises(ConfigError, match=">= 1"):
        with_settings(find("tasks", task).DEFAULT, ["horizon_days=0"])
