"""After discharge: readmission and death at home, as competing hazards.

The record at discharge sets them. Both fade from the discharge on with the same shape and have a small
constant part. So they follow from two clocks each, and the risks within 30 days are one integral over the day
of readmission.
"""

from math import exp, log, prod
from typing import NamedTuple

from chartscan.simulator.draws import Draws
from chartscan.simulator.subject import DAY, ENROLMENT_CLOSE, YEAR_DAYS, Person

FADE_DAYS = 11.0
_WINDOW = 30
_CLOCK = 1.0 - exp(-_WINDOW / FADE_DAYS)  # the fading part of a hazard integrates to its size over 30 days
_CELLS = 60  # of the integral over 30 days, midpoint rule


class Findings(NamedTuple):
    """The record of a stay at its end; trends are apparent directions in [-1, 1]."""

    congestion: float  # NT-proBNP rising (+1) or falling (-1)
    hemoglobin: float  # rising (+1) or falling (-1)
    diuretic: int  # loop diuretic on the last day (+1), on the first only (-1), none (0)
    heparin: int  # given after the operation (+1), before it (-1), no operation (0)
    oxygen: int  # low saturation at the end (+1), at the start only (-1), never (0)


class Hazards(NamedTuple):
    """Fading parts (integral over the first 30 days) and constant parts (per day)."""

    readmission: float
    death: float
    later_readmission: float
    later_death: float


_DEATH_CONGESTION = 0.75
_DEATH_HEMOGLOBIN = -1.0
_DEATH_OXYGEN = 1.15
_DEATH_HEPARIN = 0.55


def _death_base(person: Person, now: int) -> float:
    """Fading hazard of death at home, but for the findings."""
    return exp(-4.15 + 0.9 * person.has("cancer") + 0.6 * person.age(now))


# Probabilities of -1, 0 and +1 of each finding.
CONGESTION_ODDS = (0.58, 0.0, 0.42)
HEMOGLOBIN_ODDS = (0.45, 0.0, 0.55)
OXYGEN_ODDS = (0.36, 0.4, 0.24)
HEPARIN_ODDS = (0.39, 0.35, 0.26)
DIURETIC_ODDS = (0.435, 0.25, 0.315)


def _mean_factor() -> float:
    """Mean over all findings of what they do to the hazard of death."""
    terms = (
        (_DEATH_CONGESTION, CONGESTION_ODDS),
        (_DEATH_HEMOGLOBIN, HEMOGLOBIN_ODDS),
        (_DEATH_OXYGEN, OXYGEN_ODDS),
        (_DEATH_HEPARIN, HEPARIN_ODDS),
    )
    return prod(sum(p * exp(size * k) for k, p in zip((-1, 0, 1), odds, strict=True)) for size, odds in terms)


_MEAN_FACTOR = _mean_factor()


def death_after_next(person: Person, now: int) -> float:
    """Expected probability of death at home within 30 days of the discharge of a readmission."""
    return 1.0 - exp(-_death_base(person, now) * _MEAN_FACTOR)


def hazards(person: Person, now: int, found: Findings, faded: float) -> Hazards:
    """Return hazards after a discharge at `now`; `faded` weighs the previous stay."""
    readmission = exp(
        -2.45
        + 0.95 * found.congestion
        - 0.65 * found.hemoglobin
        + 0.85 * found.diuretic
        + 0.4 * found.heparin
        + 1.0 * faded
        + 0.8 * person.has("heart_failure")
        + 0.6 * person.has("lung_disease")
    )
    death = _death_base(person, now) * exp(
        _DEATH_CONGESTION * found.congestion
        + _DEATH_HEMOGLOBIN * found.hemoglobin
        + _DEATH_OXYGEN * found.oxygen
        + _DEATH_HEPARIN * found.heparin
    )
    years = (now - person.entry) / (DAY * YEAR_DAYS)
    burden = 0.25 * len(person.chronic)
    return Hazards(
        min(readmission, 6.0),
        min(death, 3.0),
        0.33 * exp(burden - years / 3.0) / YEAR_DAYS,
        0.02 * exp(0.7 * person.age(now) + 0.5 * person.has("cancer")) / YEAR_DAYS,
    )


def _first_time(fading: float, constant: float, draws: Draws) -> float:
    """Days until the earlier of the fading and the constant clock; infinite if neither rings."""
    need = draws.exponential() / fading * _CLOCK
    early = -FADE_DAYS * log(1.0 - need) if need < 1.0 else float("inf")
    return min(early, draws.exponential() / constant)


def next_times(hazard: Hazards, draws: Draws) -> tuple[float, float]:
    """Draw days from discharge to next stay and death at home; earlier wins."""
    return (
        _first_time(hazard.readmission, hazard.later_readmission, draws),
        _first_time(hazard.death, hazard.later_death, draws),
    )


def _shape(day: float) -> float:
    return exp(-day / FADE_DAYS) / (FADE_DAYS * _CLOCK)


# Of deaths in a readmission, 1 - exp(-(u / 7.3) ** 1.9) have come u days after its start: fitted to simulated
# stays, where the largest distance of the two curves is 0.02.
_DEATH_DELAY_DAYS, _DEATH_DELAY_SHAPE = 7.3, 1.9
_READMISSION_DAYS = 5.0  # mean length of a readmission
_AGAIN = 0.2  # readmitted once more in time


class NextStay(NamedTuple):
    """A readmission's risks: death in hospital, and within 30 days after discharge."""

    death: float
    death_after: float


def _dead_by(days_left: float, next_stay: NextStay) -> float:
    """P(dead `days_left` days after the start of a readmission)."""
    inside = next_stay.death * (1.0 - exp(-((days_left / _DEATH_DELAY_DAYS) ** _DEATH_DELAY_SHAPE)))
    later = (1.0 - next_stay.death) * (next_stay.death_after + _AGAIN * next_stay.death)
    home_days = max(0.0, days_left - _READMISSION_DAYS)
    return inside + later * (1.0 - exp(-home_days / FADE_DAYS)) / _CLOCK


class Outlook(NamedTuple):
    """Risks within 30 days of discharge, and of death in days 31 to 365 (approximate)."""

    readmission: float
    mortality: float
    late_death: float


_GRID = tuple((cell + 0.5) * _WINDOW / _CELLS for cell in range(_CELLS))
_SHAPES = tuple((day, _shape(day), (1.0 - exp(-day / FADE_DAYS)) / _CLOCK) for day in _GRID)


def outlook(hazard: Hazards, now: int, next_stay: NextStay) -> Outlook:
    """The true risks at a discharge.

    Deaths after the start of a readmission use its mean course (`_dead_by`): about one death in three.
    """
    open_days = (ENROLMENT_CLOSE - now) / DAY
    width = _WINDOW / _CELLS
    fading = hazard.readmission + hazard.death
    constant = hazard.later_readmission + hazard.later_death
    readmission = mortality = 0.0
    for day, shape, clock in _SHAPES:
        admits = hazard.readmission * shape + hazard.later_readmission if day < open_days else 0.0
        present = exp(-fading * clock - constant * day) * width
        readmission += admits * present
        dies = hazard.death * shape + hazard.later_death
        mortality += (dies + admits * _dead_by(_WINDOW - day, next_stay)) * present
    rest = 1.0 - exp(-335.0 * hazard.later_readmission)
    late = 335.0 * hazard.later_death + rest * (next_stay.death + next_stay.death_after)
    return Outlook(readmission, mortality, min(0.9, late) * (1.0 - mortality))
