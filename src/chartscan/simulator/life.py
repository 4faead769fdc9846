"""One simulated subject's life: visits, stays, onsets, death, and true risks."""

from chartscan.simulator import severity as sev
from chartscan.simulator.aftermath import NextStay, death_after_next, hazards, next_times, outlook
from chartscan.simulator.catalogue import (
    ALLERGENS,
    CHRONIC,
    DRUGS,
    ONSET_CODE_WEIGHTS,
    ONSET_CODES,
    OTHER_CONDITION_WEIGHTS,
    OTHER_CONDITIONS,
    OTHER_DRUG_WEIGHTS,
    OTHER_DRUGS,
    PRINCIPAL,
    VACCINES,
)
from chartscan.simulator.draws import Draws
from chartscan.simulator.onset import CONDITIONS, Onset, labelled_risk, new_onset
from chartscan.simulator.stay import Stay, plan_stay, write_stay
from chartscan.simulator.subject import (
    DAY,
    ENROLMENT_CLOSE,
    EXPORT,
    HOUR,
    MINUTE,
    Coded,
    Encounter,
    Person,
    Prediction,
    Pressure,
    Record,
    fading,
    new_person,
)

EARLIEST_RETURN = 8 * HOUR  # an emergency visit lasts at most 7 h and must not begin before the discharge
_FOLLOW_UP_RATE = 0.55  # chance of one more clinic visit
_TREATMENT = {"hypertension": "antihypertensive", "fluid": "potassium_chloride", "lipid": "statin"}


class Life:
    """Lives one subject from the first visit to death or the export."""

    def __init__(self, seed: int, index: int):
        self.draws = Draws(seed, index)
        self.person: Person = new_person(self.draws)
        self.record = Record(self.person.birth, self.person.sex, self.person.race)
        self.onsets = [new_onset(condition, self.person, self.draws) for condition in CONDITIONS]
        self.last_discharge: int | None = None

    def live(self) -> Record:
        """The record, complete."""
        self._first_visit()
        start: int | None = self.person.entry + int(self.draws.uniform(3.0, 150.0) * DAY)
        while start is not None:
            start = self._stay(start)
        return self.record

    def _first_visit(self) -> None:
        person, record = self.person, self.record
        end = clinic_visit(person.entry, self.onsets, record, self.draws)
        for name in sorted(person.chronic):
            record.conditions.append(Coded(end, CHRONIC[name], 0))
        for onset in self.onsets:
            if onset.coded:
                self._code_onset(onset, end, 0)
        if self.draws.chance(0.12):
            record.allergies.append(Coded(end, ALLERGENS[self.draws.below(3)][0], 0))

    def _code_onset(self, onset: Onset, time: int, encounter: int) -> None:
        code = ONSET_CODES[onset.condition.name][self.draws.index(ONSET_CODE_WEIGHTS)]
        self.record.conditions.append(Coded(time, code, encounter))

    def _between(self, start: int, end: int) -> None:
        """Clinic visits after `start` and the onsets that come before `end`, in the order of time."""
        draws = self.draws
        visits: list[tuple[int, Onset | None]] = []
        when = start + int(draws.uniform(6.0, 40.0) * DAY)
        while when < end - DAY and draws.chance(_FOLLOW_UP_RATE):
            visits.append((when, None))
            when += int(draws.uniform(25.0, 150.0) * DAY)
        visits += [(o.time, o) for o in self.onsets if not o.coded and o.time < end - 4 * HOUR]
        for time, onset in sorted(visits, key=lambda visit: visit[0]):
            visit_end = clinic_visit(time, self.onsets, self.record, draws)
            if onset is not None:
                onset.coded = True
                self._code_onset(onset, visit_end, len(self.record.encounters) - 1)

    def _stay(self, start: int) -> int | None:
        """One stay and what follows until the next; returns the start of the next or None."""
        person, draws = self.person, self.draws
        self._between(self.last_discharge or person.entry, start)
        faded = fading(start, self.last_discharge)
        plan = plan_stay(person, start, faded, draws)
        stay, seen = write_stay(person, plan, self.onsets, self.record, draws)
        self._diagnose(stay)
        if plan.reaches_24h:
            death, long = sev.risks_at_24h(person, start, plan.prior, seen)
            self._predict(start + DAY, in_hospital_mortality=death, long_stay_7d=long)
        if plan.dies:
            self.record.death = plan.end
            return None
        return self._leave(stay, faded)

    def _diagnose(self, stay: Stay) -> None:
        """Diagnoses of a stay, all recorded at its end."""
        draws, end = self.draws, stay.plan.end
        codes = [PRINCIPAL[draws.below(len(PRINCIPAL))]]
        codes += [CHRONIC[name] for name in sorted(self.person.chronic) if draws.chance(0.8)]
        for _ in range(1 + draws.below(5)):
            codes.append(OTHER_CONDITIONS[draws.index(OTHER_CONDITION_WEIGHTS)])
        for code in dict.fromkeys(codes):
            self.record.conditions.append(Coded(end, code, stay.encounter))
        for onset in self.onsets:
            newly = not onset.coded and onset.time <= end
            if newly or (onset.coded and draws.chance(0.7)):
                onset.coded = True
                self._code_onset(onset, end, stay.encounter)

    def _leave(self, stay: Stay, faded: float) -> int | None:
        """Discharge alive: the risks, then the time of the next stay, or None."""
        person, now = self.person, stay.plan.end
        hazard = hazards(person, now, stay.findings, faded)
        soon = now + 10 * DAY  # a typical day of readmission
        prior = sev.acuity_prior(person, soon, fading(soon, now))
        next_stay = NextStay(sev.death_before_seeing(person, soon, prior), death_after_next(person, soon))
        risks = outlook(hazard, now, next_stay)
        self._predict(now, mortality_30d=risks.mortality, readmission_30d=risks.readmission)
        for onset in self.onsets:
            if not onset.coded:
                risk = onset.risk(now, person.entry)
                risk = labelled_risk(risk, risks.mortality, risks.late_death)
                self._predict(now, **{onset.condition.task: risk})
        self.last_discharge = now
        return self._next_stay(now, *next_times(hazard, self.draws))

    def _next_stay(self, now: int, readmission_days: float, death_days: float) -> int | None:
        next_start = now + max(EARLIEST_RETURN, int(min(readmission_days, 1e5) * DAY))
        death = now + max(HOUR, int(min(death_days, 1e5) * DAY))
        if next_start < death and next_start < ENROLMENT_CLOSE:
            return next_start
        self._between(now, min(death, EXPORT))
        if death < EXPORT:
            self.record.death = death
        return None

    def _predict(self, time: int, **risks: float) -> None:
        self.record.predictions.extend(Prediction(task, time, risk) for task, risk in risks.items())


def live(seed: int, index: int) -> Record:
    """The record of subject number `index` of the hospital with this seed."""
    return Life(seed, index).live()


def clinic_visit(start: int, onsets: list[Onset], record: Record, draws: Draws) -> int:
    """Write a clinic visit that begins at `start`; return when it ends.

    A blood pressure, a few labs, a repeat prescription, a diagnosis now and then.
    """
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
