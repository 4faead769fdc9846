"""A simulated export as resources that can be changed, written, ingested and labelled again."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from chartscan.commands.ingest import IngestPlan, run_ingest
from chartscan.console import Display
from chartscan.errors import ChartscanError
from chartscan.labels.making import make_labels
from chartscan.simulator import SimulateConfig, simulate

EXPORTED = "2024-03-08T00:00:00Z"
Resources = dict[str, list[dict[str, Any]]]
Labels = dict[tuple[str, str, datetime], bool]  # task, patient, prediction time -> value
QUIET = Display(quiet=True)


@dataclass
class Hospital:
    """An export to be: resources by type, and how they are written and read."""

    resources: Resources
    site: str | None = None  # text of a site file
    settings: list[str] = field(default_factory=list)  # of --set
    store: list[str] = field(default_factory=list)  # of --store

    def all(self) -> list[dict[str, Any]]:
        """Every resource."""
        return [one for many in self.resources.values() for one in many]

    def copy(self) -> "Hospital":
        """The same, to be changed."""
        return Hospital(
            json.loads(json.dumps(self.resources)), self.site, list(self.settings), list(self.store)
        )


def simulated(folder: Path, subjects: int, seed: int) -> Hospital:
    """A simulated hospital as far as labels need it: a few observations of each encounter are enough."""
    simulate(folder / "simulated", SimulateConfig(subjects=subjects, seed=seed))
    resources: Resources = {}
    for kind in ("Patient", "Encounter", "Condition", "Procedure", "Immunization"):
        lines = (folder / "simulated" / f"{kind}.ndjson").read_text().splitlines()
        resources[kind] = [json.loads(line) for line in lines]
    seen: dict[str, int] = {}
    resources["Observation"] = []
    for line in (folder / "simulated" / "Observation.ndjson").read_text().splitlines():
        one = json.loads(line)
        at = one["encounter"]["reference"]
        seen[at] = seen.get(at, 0) + 1
        if seen[at] <= 2:
            resources["Observation"].append(one)
    return Hospital(resources)


def manifest(folder: Path, at: str = EXPORTED) -> None:
    """The bulk export's manifest."""
    (folder / "manifest.json").write_text(json.dumps({"transactionTime": at, "output": []}))


def write(hospital: Hospital, folder: Path) -> Path:
    """One NDJSON file a type."""
    folder.mkdir(parents=True)
    for kind, many in hospital.resources.items():
        (folder / f"{kind}.ndjson").write_text("".join(json.dumps(one) + "\n" for one in many))
    manifest(folder)
    return folder


def ingested(export: Path, out: Path, hospital: Hospital) -> Any:
    """The dataset of a written export."""
    site = None
    if hospital.site is not None:
        site = out.parent / f"{out.name}-site.yaml"
        site.write_text(hospital.site)
    plan = IngestPlan(
        source="fhir", path=export, out=out, settings=hospital.settings, store=hospital.store, site=site
    )
    return run_ingest(plan, QUIET)[0]


def labels_of(dataset: Any, patients: dict[str, str] | None = None) -> tuple[Labels, dict[str, str]]:
    """All labels, and why tasks were refused. `patients` names the patients as the original does."""
    names = {s: p for p, s in subjects_of(dataset).items()}
    found: Labels = {}
    refused: dict[str, str] = {}
    for task in TASKS:
        try:
            table = make_labels(dataset, [task], QUIET)[task][0]
        except ChartscanError as err:
            refused[task] = str(err)
            continue
        for row in table.to_pylist():
            name = names[row["subject_id"]]
            name = (patients or {}).get(name, name)
            found[task, name, row["prediction_time"]] = row["boolean_value"]
    return found, refused


def subjects_of(dataset: Any) -> dict[str, int]:
    """Subject id of every patient id."""
    table = dataset.subject_map()
    return dict(zip(table["patient_id"].to_pylist(), table["subject_id"].to_pylist(), strict=True))


TASKS = (
    "in_hospital_mortality",
    "long_stay_7d",
    "mortality_30d",
    "readmission_30d",
    "hypertension_1y",
    "fluid_disorder_1y",
    "lipid_disorder_1y",
)


def patient_of(resource: dict[str, Any]) -> str:
    """Id of the patient that a resource is of."""
    if resource["resourceType"] == "Patient":
        return resource["id"]
    reference = resource.get("subject") or resource["patient"]
    return reference["reference"].removeprefix("Patient/")


def stays(hospital: Hospital) -> list[dict[str, Any]]:
    """The hospital stays."""
    return [e for e in hospital.resources["Encounter"] if e["class"].get("code") == "IMP"]


def every(items: Sequence[Any], step: int) -> list[Any]:
    """Each `step`-th item."""
    return list(items[::step])
