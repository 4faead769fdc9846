"""A simulated subject: facts of the first visit, and all that is recorded.

The record is plain rows in seconds since 1970; `fhir` turns it into JSON.
"""

from dataclasses import dataclass, field
from math import exp
from typing import NamedTuple

from chartscan.simulator.catalogue import cumulative
from chartscan.simulator.draws import Draws, logistic

MINUTE, HOUR, DAY = 60, 3600, 86400
YEAR_DAYS = 365.25
# Log odds of each chronic condition at mean age, and its slope in standardised age.
_CHRONIC_ODDS = {
    "heart_failure": (-1.7, 0.6),
    "kidney_disease": (-1.5, 0.5),
    "diabetes": (-1.2, 0.3),
    "lung_disease": (-1.9, 0.3),
    "cancer": (-2.0, 0.4),
    "fibrillation": (-2.0, 0.7),
}
_RACE_WEIGHTS = cumulative((0.62, 0.2, 0.08, 0.1))
ENTRY_FIRST = 14975 * DAY  # 2011-01-01
ENTRY_LAST = 18261 * DAY  # 2019-12-31
ENROLMENT_CLOSE = 19358 * DAY  # 2023-01-01: no stay begins later
EXPORT = 19790 * DAY  # 2024-03-08: the record ends; every window of 365 days has then passed
FADING_DAYS = 45.0  # how fast a past stay loses its weight


@dataclass(frozen=True, slots=True)
class Person:
    """Facts recorded at the first visit. `entry` is the time of that visit."""

    birth: int
    entry: int
    sex: str
    race: int
    chronic: frozenset[str]

    def age(self, time: int) -> float:
        """Age standardised to mean 0, SD about 1."""
        return ((time - self.birth) / (YEAR_DAYS * DAY) - 62.0) / 15.0

    def has(self, name: str) -> float:
        """1 with this chronic condition, else 0."""
        return 1.0 if name in self.chronic else 0.0


def new_person(draws: Draws) -> Person:
    """A subject at the first visit."""
    entry = int(draws.uniform(ENTRY_FIRST, ENTRY_LAST))
    years = min(93.0, max(19.0, draws.normal(60.0, 16.0)))
    birth = (entry - int(years * YEAR_DAYS * DAY)) // DAY * DAY
    age = (years - 62.0) / 15.0
    chronic = frozenset(
        name for name, (odds, slope) in _CHRONIC_ODDS.items() if draws.chance(logistic(odds + slope * age))
    )
    sex = "female" if draws.chance(0.52) else "male"
    return Person(birth, entry, sex, draws.index(_RACE_WEIGHTS), chronic)


def fading(now: int, last_discharge: int | None) -> float:
    """Weight of the previous stay, 1 just after it, falling exponentially; 0 without one."""
    return 0.0 if last_discharge is None else exp(-(now - last_discharge) / (DAY * FADING_DAYS))


class Encounter(NamedTuple):
    """A hospital contact: IMP, EMER or AMB; disposition and source only for IMP."""

    kind: str
    start: int
    end: int
    disposition: str = ""
    source: str = ""


class Observation(NamedTuple):
    """One measured value. `status` other than final means that it must not be used."""

    time: int
    issued: int
    measure: str
    value: float
    encounter: int
    status: str = "final"


class Pressure(NamedTuple):
    """One blood pressure: two values at one time."""

    time: int
    systolic: int
    diastolic: int
    encounter: int


class Order(NamedTuple):
    """A prescription: `drug` is the RxNorm code."""

    time: int
    drug: str
    encounter: int


class Dose(NamedTuple):
    """A dose given, of the order with this index."""

    time: int
    drug: str
    encounter: int
    order: int


class Coded(NamedTuple):
    """A procedure, diagnosis, vaccination or allergy."""

    time: int
    code: str
    encounter: int


class Prediction(NamedTuple):
    """A moment at which a task asks, and the true risk there."""

    task: str
    time: int
    true_risk: float


@dataclass(slots=True)
class Record:
    """Everything recorded about one subject. Encounters are referred to by their index."""

    birth: int
    sex: str
    race: int
    death: int | None = None
    encounters: list[Encounter] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    pressures: list[Pressure] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    doses: list[Dose] = field(default_factory=list)
    procedures: list[Coded] = field(default_factory=list)
    conditions: list[Coded] = field(default_factory=list)
    immunizations: list[Coded] = field(default_factory=list)
    allergies: list[Coded] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)

    def observe(self, time: float, measure: str, value: float, encounter: int) -> None:
        """Note a result; it is issued 15 to 45 minutes later."""
        when = int(time)
        issued = when + 15 * MINUTE + when % (30 * MINUTE)
        self.observations.append(Observation(when, issued, measure, value, encounter))

    def order(self, time: float, drug: str, encounter: int) -> int:
        """Note a prescription and return its index."""
        self.orders.append(Order(int(time), drug, encounter))
        return len(self.orders) - 1

    def give(self, times: list[float], drug: str, encounter: int) -> None:
        """Note a prescription 20 minutes before the first dose, and the doses."""
        order = self.order(times[0] - 20 * MINUTE, drug, encounter)
        self.doses.extend(Dose(int(t), drug, encounter, order) for t in times)
