"""The causes named are those that the hazards depend on, and codes that the hospital records."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from chartscan.simulate import SimulateConfig, simulate
from chartscan.simulate.aftermath import Findings, hazards
from chartscan.simulate.catalogue import DRUGS, MEASURES
from chartscan.simulate.causes import CAUSES, is_cause
from chartscan.simulate.clinic import clinic_visit
from chartscan.simulate.draws import Draws
from chartscan.simulate.onset import CONDITIONS, new_onset
from chartscan.simulate.person import Person
from chartscan.simulate.record import DAY, Record

SHOWN_BY = {
    "congestion": "LOINC//33762-6",
    "hemoglobin": "LOINC//718-7",
    "diuretic": "RXNORM//4603",
    "heparin": "RXNORM//5224",
    "oxygen": "LOINC//59408-5",
}


@pytest.mark.parametrize("finding", SHOWN_BY)
def test_a_finding_is_a_cause_where_it_moves_the_hazard(finding):
    person = SimpleNamespace(has=lambda name: False, age=lambda now: 0.0, entry=0, chronic=())
    none = Findings(0.0, 0.0, 0, 0, 0)
    one = none._replace(**{finding: 1})
    before, after = (hazards(person, 10 * DAY, found, 0.0) for found in (none, one))
    code = SHOWN_BY[finding]
    assert is_cause("readmission_30d", code, "lab", in_stay=True) is (before.readmission != after.readmission)
    moved = before.death != after.death
    assert is_cause("mortality_30d", code, "lab", in_stay=True) is (True if moved else None)
    assert is_cause("readmission_30d", code, "lab", in_stay=False) is False


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
