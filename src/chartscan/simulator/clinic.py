"""A visit to the clinic: a blood pressure, a few labs, a repeat prescription, a diagnosis now and then."""

from chartscan.simulator.catalogue import (
    DRUGS,
    OTHER_CONDITION_WEIGHTS,
    OTHER_CONDITIONS,
    OTHER_DRUG_WEIGHTS,
    OTHER_DRUGS,
    VACCINES,
)
from chartscan.simulator.draws import Draws
from chartscan.simulator.onset import Onset
from chartscan.simulator.record import HOUR, MINUTE, Coded, Encounter, Pressure, Record

_TREATMENT = {"hypertension": "antihypertensive", "fluid": "potassium_chloride", "lipid": "statin"}


def clinic_visit(start: int, onsets: list[Onset], record: Record, draws: Draws) -> int:
    """Write a visit that begins at `start`; returns when it ends."""
    end = start + int(draws.uniform(2.0, 3.5) * HOUR)
    record.encounters.append(Encounter("AMB", start, end))
    encounter = len(record.encounters) - 1
    _measure_levels(start, onsets, record, draws, encounter)
    record.observe(start + 25 * MINUTE, "glucose", round(max(55.0, draws.normal(110, 22))), encounter)
    record.observe(start + 26 * MINUTE, "leukocytes", round(max(1.5, draws.normal(7.5, 2.0)), 1), encounter)
    for onset in onsets:
        if onset.coded and draws.chance(0.6):
            record.order(end - 12 * MINUTE, DRUGS[_TREATMENT[onset.condition.name]][0], encounter)
    if draws.chance(0.6):
        drug = OTHER_DRUGS[draws.index(OTHER_DRUG_WEIGHTS)][0]
        record.order(end - 10 * MINUTE, drug, encounter)
    if draws.chance(0.7):
        code = OTHER_CONDITIONS[draws.index(OTHER_CONDITION_WEIGHTS)]
        record.conditions.append(Coded(end, code, encounter))
    if draws.chance(0.1):
        record.immunizations.append(Coded(end - 5 * MINUTE, VACCINES[draws.below(3)][0], encounter))
    return end


def _measure_levels(start: int, onsets: list[Onset], record: Record, draws: Draws, encounter: int) -> None:
    """One reading of each drifting level."""
    pressure, *others = onsets
    low = round(draws.normal(pressure.level(), pressure.condition.drift.noise))
    systolic = round(draws.normal(pressure.condition.response.level, 9.0))
    record.pressures.append(Pressure(start + int(draws.uniform(4, 15)) * MINUTE, systolic, low, encounter))
    pressure.see_level(low, 1)
    for k, onset in enumerate(others):
        drift = onset.condition.drift
        value = drift.recorded(draws.normal(onset.level(), drift.noise))
        record.observe(start + (30 + k) * MINUTE, drift.measure, value, encounter)
        onset.see_level(value, 1)
