"""The written export: reproducible, whole, readable."""

import errno
import gzip
import hashlib
import json
import os
from collections import Counter, defaultdict
from datetime import datetime
from itertools import pairwise

import msgspec
import pyarrow.parquet as pq
import pytest

from chartscan.errors import ConfigError
from chartscan.simulator import TRUTH, SimulateConfig, simulate


def digests(folder):
    """SHA-256 of every file below a folder."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    """A hospital of 63 subjects, its counts and its resources by type."""
    out = tmp_path_factory.mktemp("simulated") / "hospital"
    counts = simulate(out, SimulateConfig(subjects=63, seed=5))
    resources = {p.stem: list(map(json.loads, p.read_text().splitlines())) for p in out.glob("*.ndjson")}
    return out, counts, resources


def test_equal_configurations_give_equal_bytes(hospital, tmp_path):
    simulate(tmp_path / "again", SimulateConfig(subjects=63, seed=5))
    assert digests(tmp_path / "again") == digests(hospital[0])


def test_another_seed_is_another_hospital(hospital, tmp_path):
    simulate(tmp_path / "other", SimulateConfig(subjects=63, seed=6))
    assert digests(tmp_path / "other")["Patient.ndjson"] != digests(hospital[0])["Patient.ndjson"]


def test_a_subject_is_the_same_in_a_hospital_of_any_size(hospital, tmp_path):
    simulate(tmp_path / "small", SimulateConfig(subjects=7, seed=5))
    for path in (tmp_path / "small").glob("*.ndjson"):
        assert (hospital[0] / path.name).read_bytes().startswith(path.read_bytes())


def test_compressed_files_hold_the_same_lines(hospital, tmp_path):
    simulate(tmp_path / "packed", SimulateConfig(subjects=63, seed=5, compress=True))
    for path in hospital[0].glob("*.ndjson"):
        assert gzip.decompress((tmp_path / "packed" / f"{path.name}.gz").read_bytes()) == path.read_bytes()


def test_manifest_counts_every_line(hospital):
    out, counts, resources = hospital
    manifest = json.loads((out / "manifest.json").read_text())
    assert {o["type"]: o["count"] for o in manifest["output"]} == counts
    assert {name: len(rows) for name, rows in resources.items()} == counts
    assert all((out / o["url"]).is_file() for o in manifest["output"])
    assert datetime.fromisoformat(manifest["transactionTime"]).year == 2024


def test_ids_are_unique_and_references_resolve(hospital):
    resources = hospital[2]
    ids = {f"{r['resourceType']}/{r['id']}" for rows in resources.values() for r in rows}
    assert len(ids) == sum(map(len, resources.values()))
    referred = {found for rows in resources.values() for r in rows for found in references(r)}
    assert referred <= ids
    assert "Medication/medication-5224" in referred


def references(value):
    """Every reference inside a JSON value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "reference":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_resources_per_subject_are_about_350(hospital):
    resources = hospital[2]
    per_subject = Counter(
        next(ref for ref in references(r) if ref.startswith("Patient/"))
        for name, rows in resources.items()
        if name not in ("Patient", "Medication")
        for r in rows
    )
    assert len(per_subject) == 63
    assert min(per_subject.values()) > 40
    assert 250 < sum(per_subject.values()) / 63 < 450


def test_no_result_is_issued_before_it_was_measured_nor_after_its_visit(hospital):
    resources = hospital[2]
    ends = {
        f"Encounter/{e['id']}": datetime.fromisoformat(e["period"]["end"]) for e in resources["Encounter"]
    }
    for o in resources["Observation"]:
        issued = datetime.fromisoformat(o["issued"])
        assert datetime.fromisoformat(o["effectiveDateTime"]) <= issued <= ends[o["encounter"]["reference"]]


def test_stays_do_not_overlap_and_nothing_starts_after_death(hospital):
    resources = hospital[2]
    deaths = {f"Patient/{p['id']}": p.get("deceasedDateTime", "9999") for p in resources["Patient"]}
    stays = defaultdict(list)
    for e in resources["Encounter"]:
        subject, period = e["subject"]["reference"], e["period"]
        assert period["start"] < period["end"] <= deaths[subject]
        if e["class"]["code"] == "IMP":
            stays[subject].append((period["start"], period["end"]))
    for periods in stays.values():
        periods.sort()
        assert all(a[1] < b[0] for a, b in pairwise(periods))


def test_record_holds_what_a_hospital_has(hospital):
    resources = hospital[2]
    statuses = Counter(o["status"] for o in resources["Observation"])
    assert statuses["final"] > 50 * (statuses["cancelled"] + statuses["entered-in-error"]) > 0
    measures = {o["code"]["coding"][0]["code"] for o in resources["Observation"]}
    assert len(measures) == 16
    assert all("unit" in o["valueQuantity"] for o in resources["Observation"] if "valueQuantity" in o)
    codes = {c["code"]["coding"][0]["code"] for c in resources["Condition"]}
    assert len(codes) > 80


def test_truth_belongs_to_patients_of_the_export(hospital):
    out, _, resources = hospital
    truth = pq.read_table(out / "truth" / "risk.parquet")
    assert truth.schema.equals(TRUTH)
    assert set(truth["patient_id"].to_pylist()) <= {p["id"] for p in resources["Patient"]}
    assert len(set(truth["task"].to_pylist())) == 7
    risks = truth["true_risk"].to_numpy()
    assert risks.min() > 0.0
    assert risks.max() < 1.0


def test_an_existing_folder_is_refused_and_kept(tmp_path):
    (tmp_path / "keep").write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        simulate(tmp_path, SimulateConfig(subjects=1))
    assert (tmp_path / "keep").read_text() == "mine"


def test_a_failed_run_leaves_nothing_behind(tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "out", SimulateConfig(subjects=3), interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("settings", [{"subjects": 0}, {"seed": -1}, {"seed": 2**63}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ConfigError, match="subjects >= 1"):
        msgspec.structs.replace(SimulateConfig(), **settings)


def test_a_full_disk_names_the_export_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("chartscan.simulator.export._write_lines", full)
    with pytest.raises(OSError, match="No space left") as caught:
        simulate(tmp_path / "export", SimulateConfig(subjects=1))
    assert caught.value.filename == str(tmp_path / "export")
    assert not list(tmp_path.iterdir())
