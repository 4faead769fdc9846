"""The causes named are those that the hazards depend on, and codes that the hospital records."""

from dataclasses import replace

import numpy as np
import pytest

from chartscan.simulator import SimulateConfig, simulate
from chartscan.simulator.aftermath import Findings, hazards
from chartscan.simulator.catalogue import CHRONIC, DRUGS, MEASURES
from chartscan.simulator.causes import CAUSES, SATURATIONS, is_cause, says_nothing
from chartscan.simulator.draws import Draws, direction_evidence, positions
from chartscan.simulator.life import clinic_visit, live
from chartscan.simulator.onset import CONDITIONS, new_onset
from chartscan.simulator.severity import CREATININE
from chartscan.simulator.stay import BNP, HEMOGLOBIN
from chartscan.simulator.subject import DAY, Person, Record

SHOWN_BY = {
    "congestion": "LOINC//33762-6",
    "hemoglobin": "LOINC//718-7",
    "diuretic": "RXNORM//4603",
    "heparin": "RXNORM//5224",
    "oxygen": "LOINC//59408-5",
}


PERSON = Person(0, 20_000 * DAY, "female", 0, frozenset())


def expected(task, before, after):
    """Whether what changes these hazards is a cause of `task`; None where the other's alone are moved."""
    moved = {
        "readmission_30d": before[::2] != after[::2],
        "mortality_30d": before[1::2] != after[1::2],
    }
    return True if moved[task] else None if any(moved.values()) else False


@pytest.mark.parametrize("task", ["readmission_30d", "mortality_30d"])
@pytest.mark.parametrize("finding", SHOWN_BY)
def test_a_finding_is_a_cause_where_it_moves_the_hazard(finding, task):
    none = Findings(0.0, 0.0, 0, 0, 0)
    one = none._replace(**{finding: 1})
    before, after = (hazards(PERSON, 20_010 * DAY, found, 0.0) for found in (none, one))
    code = SHOWN_BY[finding]
    assert is_cause(task, code, "lab", in_stay=True) is expected(task, before, after)


@pytest.mark.parametrize("task", ["readmission_30d", "mortality_30d"])
@pytest.mark.parametrize("disease", CHRONIC)
def test_a_chronic_disease_is_a_cause_where_it_moves_the_hazard(disease, task):
    found = Findings(0.0, 0.0, 0, 0, 0)
    ill = replace(PERSON, chronic=frozenset({disease}))
    before, after = (hazards(person, 20_010 * DAY, found, 0.0) for person in (PERSON, ill))
    code = f"ICD10CM//{CHRONIC[disease].replace('.', '')}"
    assert is_cause(task, code, "diagnosis", in_stay=False) is expected(task, before, after)


@pytest.mark.parametrize("code", [SHOWN_BY["congestion"], SHOWN_BY["diuretic"], SHOWN_BY["heparin"]])
def test_findings_of_former_stays_are_no_causes_of_readmission(code):
    assert is_cause("readmission_30d", code, "lab", in_stay=False) is False


TRENDS = {"bnp": BNP, "hemoglobin": HEMOGLOBIN, "creatinine": CREATININE}


@pytest.mark.parametrize("count", [2, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("measure", TRENDS)
def test_a_reading_of_a_trend_says_nothing_where_it_leaves_the_evidence_as_it_is(measure, count):
    channel, code = TRENDS[measure], f"LOINC//{MEASURES[measure].code}"
    values = [10.0 + place for place in range(count)]
    for place in range(count):
        changed = [30.0 if k == place else value for k, value in enumerate(values)]
        before, after = (direction_evidence(channel, positions(count), v) for v in (values, changed))
        assert says_nothing(code, place, count) is (before == after)


def test_a_saturation_says_nothing_where_it_is_low_in_nobody():
    low = set()
    for number in range(60):
        record = live(1, number)
        for encounter in range(len(record.encounters)):
            own = [o for o in record.observations if (o.measure, o.encounter) == ("saturation", encounter)]
            ordered = sorted(own, key=lambda one: one.time)
            assert len(ordered) in (0, SATURATIONS)
            low |= {place for place, one in enumerate(ordered) if one.value < 91}
    places = range(SATURATIONS)
    assert {place for place in places if not says_nothing(SHOWN_BY["oxygen"], place, SATURATIONS)} == low


def test_of_readings_whose_level_matters_all_say_something():
    assert not any(says_nothing(f"LOINC//{MEASURES['lactate'].code}", place, 3) for place in range(3))


def test_every_code_of_a_cause_is_recorded_somewhere(tmp_path):
    simulate(tmp_path / "out", SimulateConfig(subjects=100, seed=1))
    text = "\n".join(path.read_text() for path in (tmp_path / "out").glob("*.ndjson"))
    text = text.replace(".", "")
    for causes in CAUSES.values():
        for code in causes.in_stay | causes.ever | causes.indirect | causes.in_hospital:
            if not code.startswith("GENDER"):
                assert f'"{code.partition("//")[2]}"' in text, code


def test_admissions_count_for_neither_side():
    assert is_cause("readmission_30d", "HOSPITAL_ADMISSION//IMP", "admission", in_stay=True) is None


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda one: one.name)
def test_a_tendency_shows_in_readings_of_stays_and_not_in_the_dose_between_them(condition):
    task, measured = condition.task, f"LOINC//{MEASURES[condition.response.measure].code}"
    assert is_cause(task, measured, "lab", in_stay=False) is True
    assert is_cause(task, measured, "lab", in_stay=False, in_hospital=False) is False
    drifting = f"LOINC//{MEASURES[condition.drift.measure].code}"
    assert is_cause(task, drifting, "lab", in_stay=False, in_hospital=False) is True
    assert is_cause(task, f"RXNORM//{DRUGS[condition.drug][0]}", "medication_administration", True) is None


def test_the_clinic_draws_the_systolic_pressure_alike_for_everybody():
    means = {}
    for developing in (False, True):
        random = Draws(1, 0)
        person = Person(0, 10 * DAY, "female", 0, frozenset())
        onsets = [replace(new_onset(one, person, random), developing=developing) for one in CONDITIONS]
        systolic, diastolic = [], []
        for k in range(400):
            record = Record(0, "female", 0)
            clinic_visit((20 + k) * DAY, onsets, record, random)
            systolic.append(record.pressures[0].systolic)
            diastolic.append(record.pressures[0].diastolic)
        means[developing] = np.mean(systolic), np.mean(diastolic)
    assert abs(means[True][0] - means[False][0]) < 2  # SD of a reading 9: 3 standard errors
    assert means[True][1] - means[False][1] > 10
