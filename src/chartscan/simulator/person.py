"""Who the subject is: what is known from the first visit on, and what of the past still matters."""

from dataclasses import dataclass
from math import exp

from chartscan.simulator.catalogue import logistic
from chartscan.simulator.draws import Draws, cumulative
from chartscan.simulator.record import DAY, YEAR_DAYS

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
