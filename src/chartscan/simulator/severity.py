"""The hidden state of a stay, and what its first 24 hours reveal of it.

A stay has an acuity (mild, moderate, severe), a course of perfusion (lactate) and a course of the kidney
(creatinine). Death in hospital and a stay above 168 hours depend on these and on recorded facts; an
observer weighs the 12 hidden states by Bayes' rule. Acuity shows in how often lactate and creatinine are
drawn, in their level, in C reactive protein and pulse.
"""

from math import exp, log
from typing import NamedTuple

from chartscan.simulator.catalogue import cumulative
from chartscan.simulator.draws import Channel, Draws, log_normal_density, logistic
from chartscan.simulator.subject import Person

ACUITIES = (0, 1, 2)
LACTATE = Channel("lactate", True, 0.75, 0.22, 0.45, 0.15)
CREATININE = Channel("creatinine", True, 0.15, 0.2, 0.34, 0.09)
CRP = Channel("crp", True, 3.0, 0.6, 0.0, 0.0)
PULSE = Channel("pulse", False, 82.0, 6.0, 0.0, 4.0)
_LACTATE_ACUITY = 0.12  # shift of the level per step of acuity
_CRP_ACUITY = 0.55
_PULSE_ACUITY = 8.0
CREATININE_KIDNEY = 0.35

DRAW_COUNTS = (3, 4, 5, 6)  # panels in the first 24 hours
_DRAW_WEIGHTS = ((0.4, 0.35, 0.2, 0.05), (0.2, 0.35, 0.3, 0.15), (0.08, 0.22, 0.35, 0.35))
_DRAW_CUMULATIVE = tuple(cumulative(w) for w in _DRAW_WEIGHTS)
SHORT = (0.14, 0.07, 0.03)  # probability that the stay ends within 24 hours, by acuity
SHORT_DEATH = (0.002, 0.01, 0.08)

# When the first antibiotic is given, with probability and what it does to perfusion.
ANTIBIOTICS = ("early", "late", "none")
_ANTIBIOTIC_ODDS = (0.4, 0.4, 0.2)
ANTIBIOTIC_CUMULATIVE = cumulative(_ANTIBIOTIC_ODDS)
_WORSE_PERFUSION = {"early": 0.25, "late": 0.55, "none": 0.4}
_LONG_ANTIBIOTIC = {"early": -0.7, "late": 0.7, "none": 0.0}
NSAID_RATE = 0.45


class Severity(NamedTuple):
    """Hidden state of a stay: acuity 0..2; courses +1 (getting worse) or -1."""

    acuity: int
    perfusion: int
    kidney: int


class Seen(NamedTuple):
    """What the first 24 hours show: recorded facts, and evidence about the hidden state."""

    antibiotic: str
    nsaid: bool
    draws: int  # panels drawn
    lactate_mean: float
    crp: float
    pulse_mean: float
    pulse_count: int
    perfusion_evidence: float
    kidney_evidence: float


def acuity_prior(person: Person, now: int, faded: float) -> tuple[float, float, float]:
    """P(acuity) at admission, from age, chronic disease and the fading effect of the previous stay."""
    score = (
        0.45 * person.age(now)
        + 0.5 * person.has("heart_failure")
        + 0.7 * person.has("cancer")
        + 0.4 * person.has("lung_disease")
        + 0.9 * faded
    )
    at_least_one, two = logistic(score + 0.1), logistic(score - 1.7)
    return 1.0 - at_least_one, at_least_one - two, two


def worse_perfusion(antibiotic: str) -> float:
    """P(perfusion gets worse | when the antibiotic was given)."""
    return _WORSE_PERFUSION[antibiotic]


def worse_kidney(person: Person, nsaid: bool) -> float:
    """P(kidney gets worse): an NSAID harms where there is kidney disease, and hardly elsewhere."""
    if nsaid and person.has("kidney_disease"):
        return 0.8
    return 0.42 if nsaid else 0.36


def draw_count(acuity: int, draws: Draws) -> int:
    """How many panels are drawn in the first 24 hours: the sicker, the more."""
    return DRAW_COUNTS[draws.index(_DRAW_CUMULATIVE[acuity])]


def levels(acuity: int) -> tuple[float, float, float]:
    """Mean level of lactate (log), C reactive protein (log) and pulse at this acuity."""
    return (
        LACTATE.level + _LACTATE_ACUITY * acuity,
        CRP.level + _CRP_ACUITY * acuity,
        PULSE.level + _PULSE_ACUITY * acuity,
    )


def death_probability(person: Person, now: int, severity: Severity) -> float:
    """P(death in hospital) of a stay of at least 24 hours."""
    return logistic(
        -3.75
        + 0.85 * (severity.acuity - 1)
        + 1.35 * severity.perfusion
        + 0.75 * severity.kidney
        + 0.55 * person.age(now)
        + 0.6 * person.has("cancer")
    )


def long_probability(person: Person, severity: Severity, antibiotic: str) -> float:
    """P(stay above 168 hours) of a stay of at least 24 hours."""
    return logistic(
        -1.75
        + 0.6 * (severity.acuity - 1)
        + 1.35 * severity.kidney
        + 0.35 * severity.perfusion
        + _LONG_ANTIBIOTIC[antibiotic]
        + 0.6 * person.has("heart_failure")
        + 0.5 * person.has("diabetes")
    )


def acuity_posterior(prior: tuple[float, float, float], seen: Seen) -> list[float]:
    """P(acuity | first 24 hours, still in hospital after them)."""
    n = DRAW_COUNTS.index(seen.draws)
    weights = []
    for acuity in ACUITIES:
        lactate, crp, pulse = levels(acuity)
        lactate_variance = LACTATE.level_sd**2 + LACTATE.noise**2 / seen.draws
        pulse_variance = PULSE.level_sd**2 + PULSE.noise**2 / seen.pulse_count
        likelihood = (
            log_normal_density(seen.lactate_mean, lactate, lactate_variance)
            + log_normal_density(seen.crp, crp, CRP.level_sd**2)
            + log_normal_density(seen.pulse_mean, pulse, pulse_variance)
        )
        weights.append(prior[acuity] * _DRAW_WEIGHTS[acuity][n] * (1.0 - SHORT[acuity]) * exp(likelihood))
    total = sum(weights)
    return [w / total for w in weights]


def _posterior(prior: float, evidence: float) -> float:
    return logistic(log(prior / (1.0 - prior)) + evidence)


def risks_at_24h(
    person: Person, now: int, prior: tuple[float, float, float], seen: Seen
) -> tuple[float, float]:
    """Return P(death in hospital) and P(stay above 168 hours) after 24 hours."""
    acuities = acuity_posterior(prior, seen)
    perfusion = _posterior(worse_perfusion(seen.antibiotic), seen.perfusion_evidence)
    kidney = _posterior(worse_kidney(person, seen.nsaid), seen.kidney_evidence)
    death = long = 0.0
    for acuity in ACUITIES:
        for p, worse_p in ((+1, perfusion), (-1, 1.0 - perfusion)):
            for k, worse_k in ((+1, kidney), (-1, 1.0 - kidney)):
                weight = acuities[acuity] * worse_p * worse_k
                severity = Severity(acuity, p, k)
                death += weight * death_probability(person, now, severity)
                long += weight * long_probability(person, severity, seen.antibiotic)
    return death, long


def death_before_seeing(person: Person, now: int, prior: tuple[float, float, float]) -> float:
    """P(death in hospital) at admission: the average over everything that the stay may show."""
    perfusion = sum(p * _WORSE_PERFUSION[a] for a, p in zip(ANTIBIOTICS, _ANTIBIOTIC_ODDS, strict=True))
    kidney = NSAID_RATE * worse_kidney(person, True) + (1.0 - NSAID_RATE) * worse_kidney(person, False)
    total = 0.0
    for acuity in ACUITIES:
        staying = sum(
            wp * wk * death_probability(person, now, Severity(acuity, p, k))
            for p, wp in ((+1, perfusion), (-1, 1.0 - perfusion))
            for k, wk in ((+1, kidney), (-1, 1.0 - kidney))
        )
        total += prior[acuity] * (SHORT[acuity] * SHORT_DEATH[acuity] + (1.0 - SHORT[acuity]) * staying)
    return total
