"""What is written down about one subject, as plain rows in seconds since 1970. `fhir` turns it into JSON."""

from dataclasses import dataclass, field
from typing import NamedTuple

MINUTE, HOUR, DAY = 60, 3600, 86400
YEAR_DAYS = 365.25


class Encounter(NamedTuple):
    """A contact with the hospital. `kind` is IMP, EMER or AMB; disposition and source only for IMP."""

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
