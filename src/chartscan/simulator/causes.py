"""Which recorded events drive each task's simulated outcome: the correct explanation.

Read off the hazards of `severity`, `aftermath` and `onset`. Stays and visits themselves (admission,
discharge) count for neither side: their times say how long ago the last stay was, which matters, and age.
Nor does the dose that a tendency responds to: it is given in every stay, and belief follows from the
readings before and after it (`Onset.see_response`). At the clinic there is no dose, and what would respond
is drawn from one distribution for all (`clinic_visit`): there its readings drive nothing. Readmission and
death at home compete (`aftermath.hazards`): what enters the hazard of the other alone counts for neither.
"""

from typing import NamedTuple

from chartscan.simulator.catalogue import CHRONIC, DRUGS, MEASURES, OPERATIONS
from chartscan.simulator.onset import CONDITIONS

SATURATIONS = 6  # in a stay; the first two or the last two may be low
BOUNDARIES = frozenset({"admission", "discharge", "visit_start", "visit_end", "death"})


class Causes(NamedTuple):
    """Codes, as datasets write them, by when they count."""

    in_stay: frozenset[str]  # in the stay that is asked about
    ever: frozenset[str]  # wherever in the record
    indirect: frozenset[str] = frozenset()  # act through another outcome, or say nothing: for neither side
    in_hospital: frozenset[str] = frozenset()  # in any hospital stay, and not at the clinic


def _measured(*names: str) -> set[str]:
    return {f"LOINC//{MEASURES[name].code}" for name in names}


def _given(*names: str) -> set[str]:
    return {f"RXNORM//{DRUGS[name][0]}" for name in names}


def _chronic(*names: str) -> set[str]:
    return {f"ICD10CM//{CHRONIC[name].replace('.', '')}" for name in names}


def _sexes() -> set[str]:
    return {"GENDER//F", "GENDER//M"}


_EVERY_CHRONIC = frozenset(_chronic(*CHRONIC))
_OPERATIONS = {f"SNOMED//{code}" for code in OPERATIONS}
_SEVERITY = _measured("lactate", "creatinine", "crp", "pulse") | _given("antibiotic", "nsaid")
_TRENDS = _measured("bnp", "hemoglobin")
_OPERATION = _OPERATIONS | _given("heparin")


def _onset(name: str) -> Causes:
    condition = next(one for one in CONDITIONS if one.name == name)
    diseases = [covariate for covariate in condition.covariates if covariate in CHRONIC]
    sexes = _sexes() if len(diseases) < len(condition.covariates) else set()
    return Causes(
        frozenset(),
        frozenset(_measured(condition.drift.measure) | _chronic(*diseases) | sexes),
        indirect=frozenset(_given(condition.drug)),
        in_hospital=frozenset(_measured(condition.response.measure)),
    )


CAUSES: dict[str, Causes] = {
    "in_hospital_mortality": Causes(
        frozenset(_SEVERITY), frozenset(_chronic("heart_failure", "cancer", "lung_disease", "kidney_disease"))
    ),
    "long_stay_7d": Causes(
        frozenset(_SEVERITY),
        frozenset(_chronic("heart_failure", "cancer", "lung_disease", "kidney_disease", "diabetes")),
    ),
    "readmission_30d": Causes(
        frozenset(_TRENDS | _OPERATION | _given("loop_diuretic")),
        _EVERY_CHRONIC,  # heart failure and lung disease at once, each of them later (`burden`)
        indirect=frozenset(_measured("saturation")),
    ),
    "mortality_30d": Causes(
        frozenset(_TRENDS | _OPERATION | _measured("saturation")),
        frozenset(_chronic("cancer")),
        indirect=_EVERY_CHRONIC - _chronic("cancer") | _given("loop_diuretic"),
    ),
} | {condition.task: _onset(condition.name) for condition in CONDITIONS}


_TREND_ALONE = _measured("creatinine", "bnp", "hemoglobin")  # their level drives nothing
_SATURATION = _measured("saturation")


def says_nothing(code: str, place: int, count: int) -> bool:
    """Whether the reading at `place` of `count` in a stay drives nothing.

    Places count from 0, in time, within one code. The middle saturations are drawn alike in every stay
    (`Ward.oxygen`). The middle one of an odd number of readings weighs 0 in the evidence for a trend
    (`draws.positions`).
    """
    if code in _SATURATION:
        return count == SATURATIONS and place in (2, 3)
    return code in _TREND_ALONE and 2 * place + 1 == count


def is_cause(task: str, code: str, event_type: str, in_stay: bool, in_hospital: bool = True) -> bool | None:
    """Whether an event drives the outcome of `task`; None where it counts for neither side.

    `in_stay`: of the stay that is asked about; `in_hospital`: of any stay, not of a visit to the clinic.
    """
    causes = CAUSES[task]
    if event_type in BOUNDARIES or code in causes.indirect:
        return None
    sometimes = (in_stay and code in causes.in_stay) or (in_hospital and code in causes.in_hospital)
    return code in causes.ever or sometimes
