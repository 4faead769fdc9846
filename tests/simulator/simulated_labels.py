"""Labels of the seven tasks straight from written FHIR resources, by their definitions and nothing else."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from chartscan.simulator.fhir import render
from chartscan.simulator.life import live

EXPORT = datetime.fromisoformat("2024-03-08T00:00:00+00:00")
GROUPS = {
    "hypertension_1y": ("I10", "I11", "I12", "I13", "I14", "I15", "I16"),
    "fluid_disorder_1y": ("E86", "E87"),
    "lipid_disorder_1y": ("E78",),
}
HOURS_24, MONTH, YEAR = timedelta(hours=24), timedelta(days=30), timedelta(days=365)


@dataclass(frozen=True)
class Chart:
    """What the labels need of one subject: stays (start, end, died), death, coded starts per group."""

    birth: datetime
    stays: list[tuple[datetime, datetime, bool]]
    death: datetime | None
    coded: dict[str, list[datetime]]
    diagnoses: set[str]


def chart(seed: int, index: int) -> tuple[Chart, list]:
    """The chart of a subject, read back from JSON, and the simulator's predictions."""
    record = live(seed, index)
    texts = render(record, "p")
    patient = json.loads(texts["Patient"][0])
    encounters = {e["id"]: e for e in map(json.loads, texts["Encounter"])}
    coded: dict[str, list[datetime]] = {task: [] for task in GROUPS}
    diagnoses = set()
    for condition in map(json.loads, texts["Condition"]):
        code = condition["code"]["coding"][0]["code"]
        visit = encounters[condition["encounter"]["reference"].removeprefix("Encounter/")]
        diagnoses.add(code)
        for task, group in GROUPS.items():
            if code.startswith(group):
                coded[task].append(datetime.fromisoformat(visit["period"]["start"]))
    stays = sorted(_stay(e) for e in encounters.values() if e["class"]["code"] == "IMP")
    death = patient.get("deceasedDateTime")
    birth = datetime.fromisoformat(patient["birthDate"] + "T00:00:00+00:00")
    read = Chart(birth, stays, datetime.fromisoformat(death) if death else None, coded, diagnoses)
    return read, record.predictions


def _stay(encounter: dict) -> tuple[datetime, datetime, bool]:
    period = encounter["period"]
    disposition = encounter["hospitalization"]["dischargeDisposition"]["coding"][0]["code"]
    start, end = (datetime.fromisoformat(period[key]) for key in ("start", "end"))
    return start, end, disposition == "exp"


def labels(chart: Chart) -> dict[tuple[str, datetime], bool | None]:
    """(task, prediction time) -> label of every eligible question; None where the outcome is not known."""
    found: dict[tuple[str, datetime], bool | None] = {}
    for start, end, died in chart.stays:
        if end - start >= HOURS_24:
            found["in_hospital_mortality", start + HOURS_24] = died
            found["long_stay_7d", start + HOURS_24] = end - start > timedelta(hours=168)
        if not died:
            found.update({(task, end): label for task, label in _after_discharge(chart, end).items()})
    return found


def _after_discharge(chart: Chart, end: datetime) -> dict[str, bool | None]:
    lived = chart.death or EXPORT
    readmitted = any(end < start <= end + MONTH for start, _, _ in chart.stays)
    answers: dict[str, bool | None] = {
        "mortality_30d": chart.death is not None and chart.death <= end + MONTH,
        "readmission_30d": readmitted,
    }
    for task, starts in chart.coded.items():
        if any(start <= end for start in starts):
            continue
        onset = any(end < start <= end + YEAR for start in starts)
        answers[task] = True if onset else (None if lived < end + YEAR else False)
    return answers
