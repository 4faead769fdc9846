"""Birth and death as a Patient states them: intervals, and whether anything is said at all.

A birth or death that cannot be read or cannot be true never costs the patient: it becomes unknown, with a
flag. Dead at an impossible time is dead, at an unknown time.
"""

from typing import NamedTuple

from chartscan.sources.fhir.clock import Clock, Zones
from chartscan.sources.fhir.outcomes import Quarantined
from chartscan.sources.fhir.plausible import NO_TIME, Implausible
from chartscan.sources.fhir.resources import Patient

Interval = tuple[int, int]
UNSAID, ALIVE, DEAD, DISPUTED = range(4)  # DISPUTED: two lines differ, and nothing says which is newer
UNDATED = NO_TIME, NO_TIME
DISPUTED_DEATH = "death_disputed"  # a flag: of a DISPUTED patient
DEAD_AND_ALIVE = "dead_and_alive"  # a flag: both are said of one patient


class Vital(NamedTuple):
    """First and last instant of birth and death, None where unknown; `flags` name what was odd."""

    birth: Interval | None
    death: Interval | None
    status: int  # UNSAID, ALIVE or DEAD
    flags: tuple[str, ...]


def vital_of(patient: Patient, clock: Clock, zones: Zones = None) -> Vital:
    """What a Patient says of birth and death. A date of death may be of the site's zone, or of `zones`."""
    birth, birth_flag = _read(patient.birthDate, "birth", clock, None)
    death, death_flag = _read(patient.deceasedDateTime, "death", clock, zones)
    flags = [birth_flag, death_flag]
    if birth and death and death[1] < birth[0]:
        death = None
        flags.append("death_before_birth")
    masked = bytes(patient.masked_death) not in (b"", b"null")
    dead = bool(patient.deceasedDateTime) or masked or patient.deceasedBoolean is True
    if dead and patient.deceasedBoolean is False:
        flags.append(DEAD_AND_ALIVE)
    status = DEAD if dead else UNSAID if patient.deceasedBoolean is None else ALIVE
    return Vital(birth, death, status, tuple(filter(None, flags)))


def either(status: int, death: Interval, other_status: int, other_death: Interval) -> tuple[int, Interval]:
    """What two lines say of a death together, of which only one is valid: a state, and the whole interval."""
    deaths = [when for state, when in ((status, death), (other_status, other_death)) if state >= DEAD]
    if status != DISPUTED and (len(deaths) == 0 or deaths == [death, death]):
        return min(status, other_status), death
    if UNDATED in deaths:
        return DISPUTED, UNDATED
    return DISPUTED, (min(first for first, _ in deaths), max(last for _, last in deaths))


def _read(text: str | None, name: str, clock: Clock, zones: Zones) -> tuple[Interval | None, str]:
    """The interval of a birth or death, or None, with the flag that says why; "" where nothing is odd."""
    if not text:
        return None, ""
    try:
        return clock.day_interval(text, zones, of_birth=name == "birth"), ""
    except Implausible:
        return None, f"{name}_implausible"
    except Quarantined:
        return None, f"{name}_invalid"
