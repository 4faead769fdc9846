"""One hospital stay: its hidden course, what is recorded, and its risks.

Nothing recorded in the first 24 hours depends on how long the stay will last, except through the hidden
state that `severity` accounts for. What happens later may.
"""

from dataclasses import dataclass

from chartscan.simulator import severity as sev
from chartscan.simulator.aftermath import (
    CONGESTION_ODDS,
    DIURETIC_ODDS,
    HEMOGLOBIN_ODDS,
    HEPARIN_ODDS,
    OXYGEN_ODDS,
    Findings,
)
from chartscan.simulator.catalogue import (
    BEDSIDE,
    DRUGS,
    OPERATIONS,
    OTHER_DRUG_WEIGHTS,
    OTHER_DRUGS,
    cumulative,
)
from chartscan.simulator.draws import Channel, Draws, apparent, direction_evidence, positions, trend_values
from chartscan.simulator.onset import Onset
from chartscan.simulator.subject import (
    DAY,
    HOUR,
    MINUTE,
    Coded,
    Encounter,
    Observation,
    Person,
    Pressure,
    Record,
)

BNP = Channel("bnp", True, 6.6, 0.4, 0.7, 0.2)
HEMOGLOBIN = Channel("hemoglobin", False, 11.8, 0.8, 1.3, 0.35)
_BNP_FAILURE = 0.5  # shift of the level with heart failure
_RISING = {"bnp": CONGESTION_ODDS[2], "hemoglobin": HEMOGLOBIN_ODDS[2]}
_FINDING = (-1, 0, 1)
_OTHER_LABS = (("glucose", 128.0, 30.0), ("platelets", 225.0, 60.0), ("leukocytes", 9.0, 2.5))
LONG_HOURS = 168
_LAST = 1200  # hours; no stay is longer

_OXYGEN, _HEPARIN, _DIURETIC = (cumulative(o) for o in (OXYGEN_ODDS, HEPARIN_ODDS, DIURETIC_ODDS))
_OTHER_DRUG_COUNT = cumulative((0.0, 0.1, 0.25, 0.3, 0.2, 0.15))
_SOURCES = ("emd", "outp", "hosp-trans")
_SOURCE_WEIGHTS = cumulative((0.62, 0.28, 0.1))
_DISPOSITIONS = ("home", "snf", "rehab", "other-hcf")
_DISPOSITION_WEIGHTS = cumulative((0.72, 0.15, 0.08, 0.05))


@dataclass(frozen=True, slots=True)
class Plan:
    """A stay as it will be: hidden state, end, and the choices of the ward."""

    start: int
    end: int
    dies: bool
    hidden: sev.Severity
    antibiotic: str
    nsaid: bool
    prior: tuple[float, float, float]

    @property
    def reaches_24h(self) -> bool:
        """Whether the stay lasts 24 hours with the subject alive."""
        return self.end - self.start >= DAY


@dataclass(frozen=True, slots=True)
class Stay:
    """A stay that is over: what its record shows."""

    plan: Plan
    encounter: int
    findings: Findings


def plan_stay(person: Person, start: int, faded: float, draws: Draws) -> Plan:
    """Draw the hidden course of a stay that begins at `start`."""
    prior = sev.acuity_prior(person, start, faded)
    acuity = draws.index((prior[0], prior[0] + prior[1], 1.0))
    antibiotic = sev.ANTIBIOTICS[draws.index(sev.ANTIBIOTIC_CUMULATIVE)]
    nsaid = draws.chance(sev.NSAID_RATE)
    hidden = sev.Severity(
        acuity, draws.sign(sev.worse_perfusion(antibiotic)), draws.sign(sev.worse_kidney(person, nsaid))
    )
    if draws.chance(sev.SHORT[acuity]):
        dies, hours = draws.chance(sev.SHORT_DEATH[acuity]), draws.uniform(14.0, 23.5)
    else:
        dies = draws.chance(sev.death_probability(person, start, hidden))
        hours = _hours(draws.chance(sev.long_probability(person, hidden, antibiotic)), draws)
    return Plan(start, start + int(hours * HOUR), dies, hidden, antibiotic, nsaid, prior)


def _hours(long: bool, draws: Draws) -> float:
    if long:
        return min(_LAST, LONG_HOURS + 1.0 + 70.0 * draws.exponential())
    return 36.0 + (LONG_HOURS - 36.5) * draws.uniform() ** 1.25


class Ward:
    """Writes the record of one stay, part by part."""

    def __init__(self, person: Person, plan: Plan, record: Record, draws: Draws):
        self.person, self.plan, self.record, self.draws = person, plan, record, draws
        source = _SOURCES[draws.index(_SOURCE_WEIGHTS)]
        if source == "emd":
            before = plan.start - int(draws.uniform(1.5, 7.0) * HOUR)
            record.encounters.append(Encounter("EMER", before, plan.start))
        disposition = "exp" if plan.dies else _DISPOSITIONS[draws.index(_DISPOSITION_WEIGHTS)]
        record.encounters.append(Encounter("IMP", plan.start, plan.end, disposition, source))
        self.encounter = len(record.encounters) - 1

    def at(self, hours: float) -> float:
        """The time `hours` after admission, within the stay."""
        return min(self.plan.start + hours * HOUR, self.plan.end - 50 * MINUTE)

    def before_end(self, hours: float) -> float:
        """The time `hours` before the end."""
        return self.plan.end - hours * HOUR

    def mornings(self) -> list[float]:
        """Times of daily blood draws, and of the last one on the day of discharge."""
        last = self.before_end(self.draws.uniform(2.5, 4.5))
        times = []
        hours = self.draws.uniform(1.5, 3.5)
        while self.plan.start + hours * HOUR < last - 9 * HOUR:
            times.append(self.at(hours))
            hours += self.draws.uniform(23.0, 25.0)
        return [*times, last]

    def first_day(self) -> sev.Seen:
        """Panels of the first 24 hours; returns what they show of the hidden state."""
        plan, draws, record = self.plan, self.draws, self.record
        lactate_level, crp_level, pulse_level = sev.levels(plan.hidden.acuity)
        crp = sev.CRP.recorded(draws.normal(crp_level, sev.CRP.level_sd))
        record.observe(self.at(draws.uniform(0.6, 1.4)), "crp", crp, self.encounter)
        pulse_level = draws.normal(pulse_level, sev.PULSE.level_sd)
        pulses = [sev.PULSE.recorded(draws.normal(pulse_level, sev.PULSE.noise)) for _ in range(3)]
        for k, pulse in enumerate(pulses):
            record.observe(self.at(0.4 + 6.0 * k + draws.uniform()), "pulse", pulse, self.encounter)
        n = sev.draw_count(plan.hidden.acuity, draws)
        lactates, perfusion = self._panel(sev.LACTATE, lactate_level, plan.hidden.perfusion, n)
        kidney_level = sev.CREATININE.level + sev.CREATININE_KIDNEY * self.person.has("kidney_disease")
        _, kidney = self._panel(sev.CREATININE, kidney_level, plan.hidden.kidney, n)
        return sev.Seen(
            antibiotic=plan.antibiotic,
            nsaid=plan.nsaid,
            draws=n,
            lactate_mean=sum(sev.LACTATE.read(v) for v in lactates) / n,
            crp=sev.CRP.read(crp),
            pulse_mean=sum(pulses) / 3,
            pulse_count=3,
            perfusion_evidence=perfusion,
            kidney_evidence=kidney,
        )

    def _panel(self, channel: Channel, level: float, direction: int, n: int) -> tuple[list[float], float]:
        """n values over the first 22 hours and the evidence for a rise."""
        places = positions(n)
        level = self.draws.normal(level, channel.level_sd)
        values = trend_values(channel, level, direction, places, self.draws)
        for k, value in enumerate(values):
            hours = 0.5 + 21.0 * k / (n - 1) + self.draws.uniform(0.0, 1.4)
            self._note_if_inside(hours, channel.measure, value)
        return values, direction_evidence(channel, places, values)

    def _note_if_inside(self, hours: float, measure: str, value: float) -> None:
        time = self.plan.start + hours * HOUR
        if time < self.plan.end - HOUR:
            self.record.observe(time, measure, value, self.encounter)

    def drug_on_first_day(self) -> None:
        """Antibiotic, NSAID and other drugs."""
        plan, draws, record = self.plan, self.draws, self.record
        if plan.antibiotic != "none":
            first = draws.uniform(1.0, 4.0) if plan.antibiotic == "early" else draws.uniform(9.0, 12.0)
            record.give([self.at(first)], DRUGS["antibiotic"][0], self.encounter)
        if plan.nsaid:
            record.give([self.at(draws.uniform(2.0, 6.0))], DRUGS["nsaid"][0], self.encounter)
        for _ in range(draws.index(_OTHER_DRUG_COUNT)):
            drug = OTHER_DRUGS[draws.index(OTHER_DRUG_WEIGHTS)][0]
            hours = draws.uniform(1.0, 12.0)
            times: list[float] = []
            while plan.start + hours * HOUR < plan.end - HOUR and len(times) < 5:
                times.append(self.at(hours))
                hours += draws.uniform(20.0, 40.0)
            if times:
                record.give(times, drug, self.encounter)

    def respond(self, onsets: list[Onset]) -> None:
        """Readings before and after the drugs that reveal a tendency, and the drifting levels."""
        pressure, fluid, lipid = onsets
        systolic = self._response(pressure)
        diastolic_level = pressure.level()
        noise = pressure.condition.drift.noise
        diastolic = [round(self.draws.normal(diastolic_level, noise)) for _ in systolic]
        for (time, value), low in zip(systolic, diastolic, strict=True):
            self.record.pressures.append(Pressure(int(time), int(value), low, self.encounter))
        pressure.see_level(sum(diastolic) / len(diastolic), len(diastolic))
        for onset in (fluid, lipid):
            for time, value in self._response(onset):
                self.record.observe(time, onset.condition.response.measure, value, self.encounter)
            drift = onset.condition.drift
            level = drift.recorded(self.draws.normal(onset.level(), drift.noise))
            time = self.at(self.draws.uniform(0.5, 2.0))
            self.record.observe(time, drift.measure, level, self.encounter)
            onset.see_level(level, 1)

    def _response(self, onset: Onset) -> list[tuple[float, float]]:
        """Two readings before and two after a dose; the dose is ordered and given."""
        channel, draws = onset.condition.response, self.draws
        dose = draws.uniform(5.0, 7.5)
        self.record.give([self.at(dose)], DRUGS[onset.condition.drug][0], self.encounter)
        places = (-1.0, -1.0, 1.0, 1.0)
        level = draws.normal(channel.level, channel.level_sd)
        values = trend_values(channel, level, onset.response(draws), places, draws)
        onset.see_response(direction_evidence(channel, places, values))
        hours = (dose - 3.5, dose - 1.0, dose + 1.2, dose + 4.0)
        return [(self.at(h + draws.uniform(0.0, 0.4)), v) for h, v in zip(hours, values, strict=True)]

    def daily_labs(self) -> tuple[float, float]:
        """Daily labs of the whole stay; returns the apparent trends of NT-proBNP and haemoglobin."""
        shift = _BNP_FAILURE * self.person.has("heart_failure")
        trends = (self._daily_trend(BNP, BNP.level + shift), self._daily_trend(HEMOGLOBIN, HEMOGLOBIN.level))
        draws = self.draws
        for measure, mean, sd in _OTHER_LABS:
            own = draws.normal(mean, 0.7 * sd)
            for time in self.mornings():
                value = max(0.2 * mean, draws.normal(own, 0.5 * sd))
                self.record.observe(time, measure, round(value, 1 if mean < 10 else None), self.encounter)
        for time in self.mornings():
            self.record.observe(time, "temperature", round(draws.normal(36.9, 0.4), 1), self.encounter)
        return trends

    def _daily_trend(self, channel: Channel, level: float) -> float:
        times = self.mornings()
        rising = _RISING[channel.measure]
        places = positions(len(times))
        level = self.draws.normal(level, channel.level_sd)
        values = trend_values(channel, level, self.draws.sign(rising), places, self.draws)
        for time, value in zip(times, values, strict=True):
            self.record.observe(time, channel.measure, value, self.encounter)
        return apparent(direction_evidence(channel, places, values), rising)

    def oxygen(self) -> int:
        """Record six saturations; a two-reading dip at start (-1), end (+1), or none (0)."""
        draws = self.draws
        kind = _FINDING[draws.index(_OXYGEN)]
        times = [self.at(h + draws.uniform()) for h in (0.5, 3.0, 7.0, 11.0)]
        times += [self.before_end(h + draws.uniform()) for h in (5.0, 2.0)]
        low = {0: (), -1: (0, 1), 1: (4, 5)}[kind]
        for k, time in enumerate(sorted(times)):
            value = 86.0 + draws.below(4) if k in low else 94.0 + draws.below(6)
            self.record.observe(time, "saturation", value, self.encounter)
        return kind

    def loop_diuretic(self) -> int:
        """Three doses on the first day (-1) or the last (+1), or none (0)."""
        draws = self.draws
        kind = _FINDING[draws.index(_DIURETIC)]
        if kind == 0:
            return 0
        hours = [k + draws.uniform(0.0, 0.8) for k in (3.0, 5.0, 7.0)]
        times = [self.at(h) for h in hours] if kind < 0 else [self.before_end(h) for h in reversed(hours)]
        self.record.give(times, DRUGS["loop_diuretic"][0], self.encounter)
        return kind

    def operation(self) -> int:
        """Record bedside procedures, and an operation with heparin before (-1), after (+1), or none."""
        draws, record = self.draws, self.record
        if draws.chance(0.5):
            time = self.at(draws.uniform(12.0, 30.0))
            record.procedures.append(Coded(int(time), BEDSIDE[draws.below(len(BEDSIDE))], self.encounter))
        kind = _FINDING[draws.index(_HEPARIN)]
        if kind == 0:
            return 0
        hours = draws.uniform(6.0, 8.0)
        code = OPERATIONS[draws.below(len(OPERATIONS))]
        record.procedures.append(Coded(int(self.at(hours)), code, self.encounter))
        record.give([self.at(hours + kind * draws.uniform(2.0, 3.5))], DRUGS["heparin"][0], self.encounter)
        return kind

    def mistakes(self) -> None:
        """Now and then a result that was cancelled or entered in error."""
        if self.draws.chance(0.15):
            time = int(self.at(self.draws.uniform(1.0, 12.0)))
            status = "cancelled" if self.draws.chance(0.5) else "entered-in-error"
            value = float(60 + self.draws.below(300))
            self.record.observations.append(
                Observation(time, time + HOUR // 2, "glucose", value, self.encounter, status)
            )


def write_stay(
    person: Person, plan: Plan, onsets: list[Onset], record: Record, draws: Draws
) -> tuple[Stay, sev.Seen]:
    """The record of a planned stay, all but its diagnoses (which come at its end)."""
    ward = Ward(person, plan, record, draws)
    seen = ward.first_day()
    ward.drug_on_first_day()
    ward.respond(onsets)
    congestion, hemoglobin = ward.daily_labs()
    findings = Findings(congestion, hemoglobin, ward.loop_diuretic(), ward.operation(), ward.oxygen())
    ward.mistakes()
    return Stay(plan, ward.encounter, findings), seen
