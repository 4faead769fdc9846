"""The causes named are those that the hazards depend on, and codes that the hospital records."""

from types import SimpleNamespace

import pytest

from chartscan.simulate import SimulateConfig, simulate
from chartscan.simulate.aftermath import Findings, hazards
from chartscan.simulate.causes import CAUSES, is_cause
from chartscan.simulate.record import DAY

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
        for code in causes.in_stay | causes.ever:
            if not code.startswith("GENDER"):
                assert f'"{code.partition("//")[2]}"' in text, code


def test_admissions_count_for_neither_side():
    assert is_cause("readmission_30d", "HOSPITAL_ADMISSION//IMP", "admission", in_stay=True) is None
