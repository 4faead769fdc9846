"""With the site's key the same patient is the same subject; without it nobody can test for one."""

import base64
import hashlib
import json
import os
import stat
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chartscan import site_key
from chartscan.commands.ingest import IngestPlan, run_ingest
from chartscan.errors import ConfigError, DataError
from chartscan.notes import Note
from chartscan.runs import seen as seen_module
from chartscan.runs.seen import seen, seen_record
from chartscan.sources import fhir
from chartscan.store.dataset import Dataset
from chartscan.store.subjects import encounter_ids, subject_id_of
from chartscan.store.writer import DatasetWriter
from icu import Silent


@pytest.fixture
def key(monkeypatch, tmp_path):
    """Chooses the key file `name`."""

    def choose(name: str) -> None:
        monkeypatch.setenv(site_key.VARIABLE, str(tmp_path / "keys" / name))

    choose("ours")
    return choose


def ingested(tmp_path, name: str) -> Dataset:
    export = tmp_path / "export"
    if not export.exists():
        export.mkdir()
        patient = {"resourceType": "Patient", "gender": "female", "birthDate": "1950-03-04"}
        lines = [json.dumps(patient | {"id": f"mrn-{i}"}) for i in range(20)]
        (export / "Patient.ndjson").write_text("\n".join(lines) + "\n")
        visit = {"resourceType": "Encounter", "status": "finished", "class": {"code": "IMP"}}
        visit |= {"period": {"start": "2020-01-01T00:00:00Z", "end": "2020-01-03T00:00:00Z"}}
        lines = [
            json.dumps(visit | {"id": f"mrn-{i}-visit", "subject": {"reference": f"Patient/mrn-{i}"}})
            for i in range(20)
        ]
        (export / "Encounter.ndjson").write_text("\n".join(lines) + "\n")
    with DatasetWriter(tmp_path / name, source="fhir", settings={"namespace": "fhir"}) as writer:
        fhir.read(export, writer, fhir.Config(), lambda *_: None)
    return Dataset.open(tmp_path / name)


def test_the_same_patient_is_the_same_subject_in_all_datasets_of_a_site_and_no_other(tmp_path, key):
    first, again = ingested(tmp_path, "a"), ingested(tmp_path, "b")
    assert first.subject_ids(None).tolist() == again.subject_ids(None).tolist()
    assert first.fingerprint == again.fingerprint
    assert subject_id_of("fhir", "mrn-3") in first.subject_ids(None)
    key("theirs")
    other = ingested(tmp_path, "c")
    assert not set(other.subject_ids(None)) & set(first.subject_ids(None))
    assert other.manifest["site_key"] != first.manifest["site_key"]


def encounters_of(dataset: Dataset) -> list[str | None]:
    (events,) = (dataset.read_shard(path) for path in dataset.shards())
    return events["encounter_id"].to_pylist()


def test_the_same_encounter_has_the_same_id_in_all_datasets_of_a_site_and_no_other(tmp_path, key):
    first = encounters_of(ingested(tmp_path, "a"))
    assert first == encounters_of(ingested(tmp_path, "b"))
    assert len(set(first) - {None}) == 20  # an admission and a discharge each, as many as the source has
    assert first.count(None) == len(first) - 40
    key("theirs")
    assert not (set(first) & set(encounters_of(ingested(tmp_path, "c")))) - {None}


def test_encounter_ids_are_equal_exactly_where_those_of_the_source_are(key):
    chunks = [["a", None, "b", "a"], [], ["b", "", None]]
    found = encounter_ids(pa.chunked_array(chunks, pa.string())).to_pylist()
    source = [one for chunk in chunks for one in chunk]
    assert [one is None for one in found] == [one is None for one in source]
    assert [a == b for a in found for b in found] == [a == b for a in source for b in source]
    assert {len(one) for one in found if one is not None} == {32}


def test_a_dataset_holds_neither_patient_ids_nor_hashes_that_others_can_compute(tmp_path, key):
    dataset = ingested(tmp_path, "a")
    for path in dataset.path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".parquet":
                content += str(pq.read_table(path).to_pylist()).encode()
            assert b"mrn-" not in content, path
    plain = hashlib.blake2b(b"fhir\x00mrn-3", digest_size=8).digest()
    assert int.from_bytes(plain) >> 1 not in dataset.subject_ids(None)
    visits = {
        hashlib.blake2b(b"mrn-3-visit", digest_size=16, person=p).hexdigest() for p in (b"", b"encounter")
    }
    assert not visits & set(encounters_of(dataset))
    assert site_key.site_key().hex().encode() not in (dataset.path / "manifest.json").read_bytes()


def test_a_run_recognises_its_subjects_under_its_key_alone(key):
    class Data:
        def shards(self) -> list[object]:
            return []

    class Job:
        dataset = Data()

        def subjects(self, split: str) -> np.ndarray:
            return np.arange(5) if split == "train" else np.arange(5, 8)

    run = {"seen": seen_record(Job())}
    assert seen(run, np.arange(4, 100)) == 4
    key("theirs")
    with pytest.warns(UserWarning, match="is unknown"):
        assert seen(run, np.arange(100)) == 0
    salt, packed = bytes.fromhex(run["seen"][0]["salt"]), base64.b64decode(run["seen"][0]["subjects"])
    assert not any(seen_module._hash(b"", salt, subject) in packed for subject in range(8))


def test_a_damaged_record_of_subjects_seen_is_refused(key):
    for wrong in ([{"salt": "zz", "subjects": ""}], [{"salt": "00", "subjects": "?"}], [3], "x", [{}]):
        with pytest.raises(DataError, match="is damaged"):
            seen({"seen": wrong}, np.arange(3))


def test_a_key_is_made_once_for_its_owner_alone(tmp_path, key):
    first = site_key.site_key()
    path = site_key.key_path()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    site_key._key.cache_clear()
    assert site_key.site_key() == first
    assert os.listdir(path.parent) == ["ours"]


def test_a_key_that_is_new_is_told_where_it_is_made(tmp_path, key):
    class Told(Silent):
        notes: ClassVar[list[Note]] = []

        def note(self, note: Note) -> None:
            self.notes.append(note)

    ingested(tmp_path, "a")  # with a key
    export = tmp_path / "export"
    run_ingest(IngestPlan("fhir", export, tmp_path / "b", [], []), Told())
    assert not [note for note in Told.notes if note.code == "new_site_key"]
    key("misspelt")
    run_ingest(IngestPlan("fhir", export, tmp_path / "c", [], []), Told())
    (note,) = [note for note in Told.notes if note.code == "new_site_key"]
    assert str(tmp_path / "keys" / "misspelt") in note.text


def test_a_key_that_cannot_be_trusted_is_refused_with_a_remedy(tmp_path, key):
    path = site_key.key_path()
    path.parent.mkdir()
    for make, words in (
        (lambda: path.write_text("short"), "chmod 600"),
        (lambda: path.chmod(0o600), "not a site key"),
        (lambda: (path.unlink(), path.symlink_to(tmp_path / "x")), "cannot be read"),
    ):
        make()
        with pytest.raises(ConfigError, match=words):
            site_key.site_key()


def test_the_truth_of_a_simulated_export_needs_the_key_of_the_dataset(tmp_path, key):
    dataset = ingested(tmp_path, "a")
    site_key.check_key(dataset.manifest["site_key"], dataset.path)
    key("theirs")
    with pytest.raises(ConfigError, match="made with another site key"):
        site_key.check_key(dataset.manifest["site_key"], dataset.path)


def test_open_ids_are_those_that_anyone_can_compute(monkeypatch, key):
    plain = hashlib.blake2b(b"fhir\x00mrn-3", digest_size=8).digest()
    with site_key.open_ids():
        assert subject_id_of("fhir", "mrn-3") == int.from_bytes(plain) >> 1
        assert encounter_ids(pa.chunked_array([["mrn-3-visit"]])).to_pylist() == ["mrn-3-visit"]
    monkeypatch.setenv(site_key.VARIABLE, "open")
    assert subject_id_of("fhir", "mrn-3") == int.from_bytes(plain) >> 1
