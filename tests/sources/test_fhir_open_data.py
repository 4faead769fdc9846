"""The two open FHIR data sets: MIMIC-IV's demo event by event against its own CSV files, and Synthea."""

import csv
import gzip
import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from meds import CodeMetadataSchema, DataSchema, SubjectSplitSchema
from pyarrow import parquet

from chartscan.sources import fhir
from chartscan.store.dataset import Dataset
from chartscan.store.subjects import subject_id_of
from chartscan.store.validate import violations
from chartscan.store.writer import DatasetWriter
from chartscan.vocabulary.units import canonical_unit

pytestmark = pytest.mark.data
BOSTON = ZoneInfo("America/New_York")


class Ingested(NamedTuple):
    """A data set as we published it, and the events as one table."""

    dataset: Dataset
    events: pa.Table

    def of(self, event_type: str) -> list[dict]:
        """Events of one type."""
        rows = self.events.filter(pa.compute.equal(self.events["event_type"], event_type))
        return rows.to_pylist()


def ingested(source: Path, out: Path) -> Ingested:
    with DatasetWriter(out, source="fhir") as writer:
        fhir.read(source, writer)
    dataset = Dataset.open(out)
    return Ingested(dataset, pa.concat_tables(dataset.read_shard(shard) for shard in dataset.shards()))


@pytest.fixture(scope="module")
def mimic(open_data, tmp_path_factory) -> Ingested:
    return ingested(open_data("mimic-iv-fhir-demo"), tmp_path_factory.mktemp("mimic") / "dataset")


@pytest.fixture(scope="module")
def synthea(open_data, tmp_path_factory) -> Ingested:
    return ingested(open_data("synthea-r4"), tmp_path_factory.mktemp("synthea") / "dataset")


@pytest.fixture(scope="module")
def patients(open_data) -> dict[str, int]:
    """MIMIC's own subject_id -> ours, by the identifier in Patient."""
    found = {}
    with gzip.open(open_data("mimic-iv-fhir-demo") / "MimicPatient.ndjson.gz") as file:
        for patient in map(json.loads, file):
            found[patient["identifier"][0]["value"]] = subject_id_of("fhir", patient["id"])
    return found


@pytest.fixture(scope="module")
def table(open_data):
    """Rows of one of MIMIC's CSV files."""

    def rows(name: str) -> list[dict[str, str]]:
        with gzip.open(open_data("mimic-iv-demo") / f"{name}.csv.gz", "rt", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    return rows


def place(event: dict) -> tuple[int, str, datetime]:
    """Who, what and when."""
    return event["subject_id"], event["code"], event["time"]


def icd(row: dict[str, str], names: dict[str, str]) -> str:
    """The code of a row of diagnoses or procedures."""
    return f"{names[row['icd_version']]}//{row['icd_code'].strip()}"


def utc(wall_clock: str) -> datetime:
    """What MIMIC's clock in Boston shows, as UTC without a zone."""
    local = datetime.fromisoformat(wall_clock).replace(tzinfo=BOSTON)
    return local.astimezone(UTC).replace(tzinfo=None)


def test_the_counts_of_mimic(mimic):
    assert mimic.dataset.manifest["counts"]["subjects"] == 100
    assert len(mimic.of("death")) == 31
    assert len(mimic.of("admission")) == len(mimic.of("discharge")) == 275
    labs = [e for e in mimic.of("lab") if e["code"].startswith("mimic-d-labitems//")]
    assert len(labs) == 107_727
    # Dispenses of the wards have no time in this export. Placed at the end of their stay, all at one moment,
    # they were most of what seemed to happen at a discharge; only those of the emergency department are left.
    assert len(mimic.of("medication_dispense")) == 1_082
    lines = mimic.dataset.manifest["accounting"]["lines"]
    filtered = {
        r["file"]: r["filtered"] for r in lines if r["type"] == "MedicationDispense" and r["filtered"]
    }
    assert filtered == {"MimicMedicationDispense.ndjson.gz": {"undated": 14_293}}
    assert not any(row["quarantined"] for row in mimic.dataset.manifest["accounting"]["lines"])


def test_every_lab_result_of_mimic_agrees_with_the_csv(mimic, patients, table):
    ours = Counter(
        (
            e["subject_id"],
            e["code"],
            e["time"],
            e["numeric_value"],
            e["text_value"],
            e["unit"],
            e["comparator"],
        )
        for e in mimic.of("lab")
        if e["code"].startswith("mimic-d-labitems//")
    )
    rows = table("hosp/labevents")
    theirs = Counter(
        (patients[r["subject_id"]], f"mimic-d-labitems//{r['itemid']}", utc(r["charttime"]), *lab_value(r))
        for r in rows
    )
    assert sum(bool(r["valuenum"]) for r in rows) == 95_246
    assert ours == theirs


def lab_value(row: dict[str, str]) -> tuple[float | None, str | None, str | None, str | None]:
    """Number, text, unit and comparator of a row of labevents, by a rule of its own."""
    if row["valuenum"]:
        unit = row["valueuom"].strip()
        return float(np.float32(row["valuenum"])), None, canonical_unit(unit) or unit or None, None
    text = row["value"].strip()
    if text in ("___", "-") or not text:
        return None, None, None, None
    number = re.sub("^[<>]=?", "", text).strip()
    if re.fullmatch(r"[0-9]*[.]?[0-9]+|[0-9]+[.]", number):
        return float(np.float32(number)), None, None, text[: -len(number)].strip() or None
    return None, text, None, None


def test_results_of_mimic_are_known_when_they_were_stored(mimic, patients, table):
    ours = Counter(
        (*place(e), e["available_time"])
        for e in mimic.of("lab")
        if e["code"].startswith("mimic-d-labitems//")
    )
    theirs = Counter(
        (
            patients[r["subject_id"]],
            f"mimic-d-labitems//{r['itemid']}",
            utc(r["charttime"]),
            # the clocks of 8 March 2116 are put forward between the two: later by the wall, earlier in UTC
            max(utc(r["charttime"]), utc(r["storetime"]))
            if r["storetime"]
            else utc(r["charttime"]) + timedelta(hours=24),  # by default_result_delay_hours
        )
        for r in table("hosp/labevents")
    )
    assert ours == theirs


def test_admissions_and_discharges_of_mimic_agree_with_the_csv(mimic, patients, table):
    rows = table("hosp/admissions")
    for event_type, column in (("admission", "admittime"), ("discharge", "dischtime")):
        ours = Counter((e["subject_id"], e["time"]) for e in mimic.of(event_type))
        assert ours == Counter((patients[r["subject_id"]], utc(r[column])) for r in rows)
    expired = Counter(e["subject_id"] for e in mimic.of("discharge") if e["code"].endswith("//EXPIRED"))
    died = [r["subject_id"] for r in rows if r["hospital_expire_flag"] == "1"]
    assert expired == Counter(patients[s] for s in died)


def test_deaths_of_mimic_are_the_last_moment_of_the_date(mimic, patients, table):
    dates = {patients[r["subject_id"]]: r["dod"] for r in table("hosp/patients") if r["dod"]}
    deaths = {e["subject_id"]: e["time"] for e in mimic.of("death")}
    assert deaths.keys() == dates.keys()
    for subject, time in deaths.items():
        last = datetime.fromisoformat(dates[subject]) + timedelta(days=1, microseconds=-1)
        # the date may be Boston's, where a day ends four or five hours later
        assert timedelta(0) <= time - last <= timedelta(hours=5)


def test_diagnoses_and_procedures_of_mimic_agree_with_the_csv(mimic, patients, table):
    discharged = {r["hadm_id"]: utc(r["dischtime"]) for r in table("hosp/admissions")}
    stays = {e["encounter_id"] for e in mimic.of("admission")}
    ours = Counter(
        (e["subject_id"], e["code"], e["available_time"])
        for e in mimic.of("diagnosis")
        if e["encounter_id"] in stays
    )
    assert ours == Counter(
        (
            patients[r["subject_id"]],
            f"ICD{r['icd_version']}CM//{r['icd_code'].strip()}",
            discharged[r["hadm_id"]],
        )
        for r in table("hosp/diagnoses_icd")
    )
    names = {"9": "ICD9PROC", "10": "ICD10PCS"}
    billed = [e for e in mimic.of("procedure") if e["code"].startswith(tuple(names.values()))]
    ours = Counter((*place(e), e["available_time"]) for e in billed)
    assert ours == Counter(
        (patients[r["subject_id"]], icd(r, names), *date_and_billing(r, discharged))
        for r in table("hosp/procedures_icd")
    )


def date_and_billing(row: dict[str, str], discharged: dict[str, datetime]) -> tuple[datetime, datetime]:
    """When a billed procedure happened, of which only the date is known, and when it was coded."""
    left, midnight = discharged[row["hadm_id"]], utc(row["chartdate"])
    last = midnight + timedelta(days=1, microseconds=-1)
    time = left if midnight <= left <= last else last
    return time, max(time, left)


def test_microbiology_of_mimic_is_known_a_week_after_the_draw(mimic, table):
    """The export leaves out when results were stored; a week is too early for one of twenty by the tables."""
    systems = ("mimic-microbiology-test", "mimic-microbiology-organism", "mimic-microbiology-antibiotic")
    events = [e for e in mimic.of("lab") if e["code"].startswith(systems)]
    assert len(events) == 1_893 + 338 + 1_036
    assert {e["available_time"] - e["time"] for e in events} == {timedelta(days=7)}
    rows = [r for r in table("hosp/microbiologyevents") if r["charttime"] and r["storetime"]]
    late = sum(utc(r["storetime"]) - utc(r["charttime"]) > timedelta(days=7) for r in rows)
    assert late / len(rows) < 0.1


def test_icu_stays_of_mimic_agree_with_the_csv(mimic, patients, table):
    ours = Counter(
        (e["subject_id"], e["time"]) for e in mimic.of("visit_start") if e["code"].startswith("ICU_ADMISSION")
    )
    assert ours == Counter((patients[r["subject_id"]], utc(r["intime"])) for r in table("icu/icustays"))


def test_prescriptions_of_mimic_follow_the_reference_to_the_drug(mimic):
    orders = mimic.of("medication_request")
    unknown = [e for e in orders if e["code"].startswith("NO-CODE")]
    assert len(orders) >= 17_552
    assert not unknown


@pytest.mark.parametrize("name", ["mimic", "synthea"])
def test_the_published_data_set_is_valid_meds(name, request):
    dataset = request.getfixturevalue(name).dataset
    for shard in dataset.shards():
        DataSchema.validate(parquet.read_table(shard))
    CodeMetadataSchema.validate(parquet.read_table(dataset.path / "metadata" / "codes.parquet"))
    SubjectSplitSchema.validate(parquet.read_table(dataset.path / "metadata" / "subject_splits.parquet"))
    assert violations(dataset.path) == []


def test_the_counts_of_synthea(synthea):
    assert synthea.dataset.manifest["counts"]["subjects"] == 615
    assert len(synthea.of("death")) == 124
    assert len(synthea.of("admission")) == 621
    rows = synthea.dataset.manifest["accounting"]["lines"]
    reasons = {reason for row in rows for reason in row["quarantined"]}
    assert reasons == {"B46 before_birth"}  # five records of people that were not yet born
    assert sum(sum(row["quarantined"].values()) for row in rows) == 5
    assert synthea.dataset.manifest["accounting"]["flagged"] == {
        "after_death": 315,
        "long_after_death": 61,
        "outside_encounter": 94,
        "shared_identifier": 2,
        "unknown_encounter": 2,
    }


def test_unread_types_of_synthea_are_counted_as_filtered(synthea):
    lines = synthea.dataset.manifest["accounting"]["lines"]
    assert {row["type"]: row["filtered"] for row in lines if row["filtered"]} == {
        "CarePlan": {"unsupported type": 1_769},
        "DiagnosticReport": {"unsupported type": 6_262},
    }
