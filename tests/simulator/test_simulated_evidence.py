"""Evidence kept in closed form equals Bayes' rule written out."""

import numpy as np
import pytest
from scipy import integrate, stats

from chartscan.simulator import aftermath, severity
from chartscan.simulator.draws import Channel, Level, direction_evidence, positions
from chartscan.simulator.life import live
from chartscan.simulator.onset import CONDITIONS, FIDELITY, Onset
from chartscan.simulator.onset import Level as OnsetLevel
from chartscan.simulator.subject import DAY, ENROLMENT_CLOSE, Person

CHANNEL = Channel("sodium", False, 138.0, 1.5, 3.0, 1.0)
PERSON = Person(birth=-(10**9), entry=15 * 10**8, sex="male", race=0, chronic=frozenset({"cancer"}))


@pytest.mark.parametrize("n", [2, 3, 6, 31])
def test_direction_evidence_does_not_depend_on_what_is_believed_of_the_level(n):
    values = list(np.random.default_rng(n).normal(139.0, 2.0, n))
    x = np.array(positions(n))

    def log_density(direction, level_sd):
        covariance = level_sd**2 * np.ones((n, n)) + np.eye(n) * CHANNEL.noise**2
        return stats.multivariate_normal(138.0 + direction * CHANNEL.spread * x, covariance).logpdf(values)

    for level_sd in (0.5, 4.0):
        expected = log_density(1, level_sd) - log_density(-1, level_sd)
        assert direction_evidence(CHANNEL, positions(n), values) == pytest.approx(expected)


def test_level_belief_multiplies_to_the_joint_density():
    readings, offsets = [75.0, 81.0, 79.0], [0.0, 2.0, 4.0]
    belief, total = Level(76.0, 16.0), 0.0
    for reading, offset in zip(readings, offsets, strict=True):
        belief, density = belief.after(reading, offset, 9.0)
        total += density
    covariance = 16.0 * np.ones((3, 3)) + 9.0 * np.eye(3)
    joint = stats.multivariate_normal(76.0 + np.array(offsets), covariance).logpdf(readings)
    assert total - 1.5 * np.log(2 * np.pi) == pytest.approx(joint)


def test_a_response_counts_by_its_fidelity():
    level = OnsetLevel(0.0, 1.0)
    onset = Onset(CONDITIONS[0], True, 0.0, 0, False, (0.1, 1.0), 0.0, (level, level))
    onset.see_response(50.0)
    assert onset.log_odds == pytest.approx(np.log(FIDELITY / (1 - FIDELITY)))
    onset.see_response(0.0)
    assert onset.log_odds == pytest.approx(np.log(FIDELITY / (1 - FIDELITY)))


def test_risks_at_24h_are_between_those_of_the_hidden_states():
    seen = severity.Seen("late", True, 4, 0.8, 3.4, 88.0, 3, 2.0, -1.0)
    prior = severity.acuity_prior(PERSON, 16 * 10**8, 0.3)
    assert sum(prior) == pytest.approx(1.0)
    death, long = severity.risks_at_24h(PERSON, 16 * 10**8, prior, seen)
    states = [severity.Severity(a, p, k) for a in (0, 1, 2) for p in (-1, 1) for k in (-1, 1)]
    deaths = [severity.death_probability(PERSON, 16 * 10**8, s) for s in states]
    longs = [severity.long_probability(PERSON, s, "late") for s in states]
    assert min(deaths) < death < max(deaths)
    assert min(longs) < long < max(longs)


def test_readmission_risk_equals_the_integral_of_competing_hazards():
    hazard = aftermath.Hazards(0.4, 0.2, 0.001, 0.0004)
    fade, clock = aftermath.FADE_DAYS, 1 - np.exp(-30 / aftermath.FADE_DAYS)

    def rate(day):
        return hazard.readmission * np.exp(-day / fade) / (fade * clock) + hazard.later_readmission

    def at_home(day):
        fading = (hazard.readmission + hazard.death) * (1 - np.exp(-day / fade)) / clock
        return np.exp(-fading - (hazard.later_readmission + hazard.later_death) * day)

    expected, _ = integrate.quad(lambda day: rate(day) * at_home(day), 0, 30)
    now = ENROLMENT_CLOSE - 400 * DAY
    risks = aftermath.outlook(hazard, now, aftermath.NextStay(0.05, 0.04))
    assert risks.readmission == pytest.approx(expected, rel=1e-3)


def test_nobody_is_readmitted_after_enrolment_has_closed():
    hazard = aftermath.Hazards(0.4, 0.2, 0.001, 0.0004)
    risks = aftermath.outlook(hazard, ENROLMENT_CLOSE + DAY, aftermath.NextStay(0.05, 0.04))
    assert risks.readmission == 0.0
    assert risks.mortality > 0.05


def test_nothing_of_the_next_stay_begins_before_the_discharge():
    visits = [live(1, subject).encounters for subject in range(1500)]
    emergencies = 0
    for encounters in visits:
        stays = sorted((e.start, e.end) for e in encounters if e.kind == "IMP")
        for emergency in (e for e in encounters if e.kind == "EMER"):
            before = [end for start, end in stays if start < emergency.end]
            assert not before or emergency.start > max(before)
            emergencies += bool(before)
    assert emergencies > 100
