"""New onset of hypertension, fluid disorder and lipid disorder: a hidden tendency and a clock.

Each subject is hidden `developing` or not, per condition. The tendency shows in two ways that counts of
values do not hold: the response of a value to a drug (it rises after the dose instead of falling, or the
reverse: same values, other order), and a level that drifts over visits. The onset comes after an
exponential time at a rate set by the tendency and age alone. So the probability of onset within a year is a
mixture of two exponentials, weighted by the belief in the tendency, which is kept exactly.
"""

from dataclasses import dataclass
from math import exp, log
from typing import NamedTuple

from chartscan.simulator.draws import Channel, Draws, Level, logistic
from chartscan.simulator.subject import DAY, YEAR_DAYS, Person

FIDELITY = 0.94  # how often a response points the way the tendency says
DRIFT_VISITS = 6  # visits over which the level drifts; then it stays


class Condition(NamedTuple):
    """Constants of one condition. `odds`: log odds of the tendency: constant, age, and by covariate."""

    name: str
    task: str
    drug: str
    response: Channel
    toward: int  # direction of the response in a developing subject
    drift: Channel  # level and noise; `spread` is the drift per visit in a developing subject
    prevalent: tuple[float, float]  # log odds of having the condition from the start: constant, age
    odds: tuple[float, float]
    covariates: dict[str, float]


CONDITIONS = (
    Condition(
        "hypertension",
        "hypertension_1y",
        "saline",
        Channel("systolic", False, 130.0, 7.0, 11.0, 4.0),
        +1,
        Channel("diastolic", False, 76.0, 4.0, 2.5, 4.0),
        (-1.3, 0.6),
        (-0.8, 0.5),
        {"kidney_disease": 0.7, "fibrillation": 0.6},
    ),
    Condition(
        "fluid",
        "fluid_disorder_1y",
        "thiazide",
        Channel("sodium", False, 138.5, 1.6, 3.2, 1.1),
        -1,
        Channel("potassium", False, 4.25, 0.22, -0.13, 0.2),
        (-2.6, 0.4),
        (-1.0, 0.4),
        {"heart_failure": 0.7, "kidney_disease": 0.5},
    ),
    Condition(
        "lipid",
        "lipid_disorder_1y",
        "steroid",
        Channel("triglyceride", True, log(140.0), 0.2, 0.32, 0.12),
        +1,
        Channel("ldl", False, 112.0, 14.0, 8.0, 13.0),
        (-1.5, 0.4),
        (-0.9, 0.4),
        {"diabetes": 0.8, "female": -0.5},
    ),
)

_YEARLY_RATE = (0.035, 0.85)  # of onset: not developing, developing
_RATE_AGE = 0.25
_RETREAT = -0.5  # drift of the others, relative to that of developing subjects


@dataclass(slots=True)
class Onset:
    """The course of one condition in one subject, and what an observer believes of it."""

    condition: Condition
    developing: bool
    base: float  # true level of the drifting quantity
    time: int  # of the onset; before the first visit if the subject has it from the start
    coded: bool
    rates: tuple[float, float]  # per year
    log_odds: float  # of developing, from what was recorded
    beliefs: tuple[Level, Level]
    visits: int = 0

    def level(self) -> float:
        """Level of the drifting quantity at the present visit."""
        return self.base + _drift(self.condition, self.developing, self.visits)

    def see_level(self, mean: float, n: int) -> None:
        """Learn from the mean of n readings at a visit."""
        variance = self.condition.drift.noise**2 / n
        stable, density0 = self.beliefs[0].after(mean, _drift(self.condition, False, self.visits), variance)
        rising, density1 = self.beliefs[1].after(mean, _drift(self.condition, True, self.visits), variance)
        self.beliefs = (stable, rising)
        self.log_odds += density1 - density0
        self.visits += 1

    def response(self, draws: Draws) -> int:
        """Direction of the response to the drug in this stay."""
        along = draws.chance(FIDELITY) == self.developing
        return self.condition.toward if along else -self.condition.toward

    def see_response(self, evidence: float) -> None:
        """Learn from a response; `evidence` is in favour of a rise."""
        p = logistic(evidence * self.condition.toward)
        agree, differ = FIDELITY * p, (1.0 - FIDELITY) * p
        self.log_odds += log((agree + (1.0 - FIDELITY) * (1.0 - p)) / (differ + FIDELITY * (1.0 - p)))

    def risk(self, now: int, entry: int) -> float:
        """P(onset within 365 days), given the record and that it has not happened yet."""
        slow, fast = self.rates
        waited = (now - entry) / (DAY * YEAR_DAYS)
        weight = logistic(self.log_odds - (fast - slow) * waited)
        year = 365.0 / YEAR_DAYS
        return 1.0 - (1.0 - weight) * exp(-slow * year) - weight * exp(-fast * year)


def _drift(condition: Condition, developing: bool, visits: int) -> float:
    return condition.drift.spread * min(visits, DRIFT_VISITS) * (1.0 if developing else _RETREAT)


def _prior_log_odds(condition: Condition, person: Person, age: float) -> float:
    facts = {*person.chronic, person.sex}
    known = sum(weight for name, weight in condition.covariates.items() if name in facts)
    return condition.odds[0] + condition.odds[1] * age + known


def new_onset(condition: Condition, person: Person, draws: Draws) -> Onset:
    """The hidden course of one condition, drawn at the first visit."""
    age = person.age(person.entry)
    prior = _prior_log_odds(condition, person, age)
    developing = draws.chance(logistic(prior))
    relative = exp(_RATE_AGE * age)
    rates = (_YEARLY_RATE[0] * relative, _YEARLY_RATE[1] * relative)
    wait_days = draws.exponential() / rates[developing] * YEAR_DAYS
    from_start = draws.chance(logistic(condition.prevalent[0] + condition.prevalent[1] * age))
    level = Level(condition.drift.level, condition.drift.level_sd**2)
    return Onset(
        condition=condition,
        developing=developing,
        base=draws.normal(condition.drift.level, condition.drift.level_sd),
        time=person.entry if from_start else person.entry + int(wait_days * DAY) + 1,
        coded=from_start,
        rates=rates,
        log_odds=prior,
        beliefs=(level, level),
    )


def labelled_risk(risk: float, early_death: float, late_death: float) -> float:
    """Return P(onset within the year | it is known).

    Death without onset leaves the outcome unknown. `early_death` is the probability of death within 30 days,
    `late_death` in the rest of the year; onset and death are independent. The onset comes before an early
    death with 3 %, before a late one with 54 % of its yearly probability (deaths taken as uniform within each
    part).
    """
    alive = 1.0 - early_death - late_death
    positive = risk * (alive + 0.03 * early_death + 0.54 * late_death)
    return positive / (positive + (1.0 - risk) * alive)
