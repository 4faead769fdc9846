import json
import shutil
from hashlib import file_digest
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from chartscan.errors import DataError
from chartscan.store import dataset as reading
from chartscan.store.dataset import Dataset
from chartscan.store.folder import read_manifest
from hospital import random_events, write

EVENTS_IN = random_events(2_000, 50)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    out = tmp_path_factory.mktemp("store") / "out"
    write(out, EVENTS_IN, shard_rows=400)
    return out


@pytest.mark.parametrize("columns", [None, ["code"], ["time", "subject_id"]])
@pytest.mark.parametrize("split", [None, "train", "held_out"])
def test_subjects_come_once_each_in_order_with_their_rows(published, columns, split):
    dataset = Dataset.open(published)
    everything = pa.concat_tables([dataset.read_shard(p) for p in dataset.shards()])
    ids = everything["subject_id"].to_numpy()
    wanted = [s for s in np.unique(ids).tolist() if split in (None, dataset.splits()[s])]
    found = list(dataset.subjects(columns, split))
    assert [subject for subject, _ in found] == wanted
    assert len(wanted) > 3
    for subject, table in found:
        rows = everything.filter(pa.array(ids == subject))
        assert table == (rows if columns is None else rows.select(columns))


def test_a_shard_is_read_without_being_copied_for_each_subject(published):
    dataset = Dataset.open(published)
    before = pa.total_allocated_bytes()
    tables = [table for _, table in dataset.shard_subjects(dataset.shards()[0])]
    shard = dataset.read_shard(dataset.shards()[0]).combine_chunks()
    assert pa.total_allocated_bytes() - before < 3 * shard.nbytes
    assert len({table["code"].chunk(0).buffers()[2].address for table in tables}) == 1


def test_ids_of_the_splits_are_all_subjects_and_disjoint(published):
    dataset = Dataset.open(published)
    parts = [dataset.subject_ids(split) for split in ("train", "tuning", "held_out")]
    assert np.array_equal(np.sort(np.concatenate(parts)), dataset.subject_ids())
    assert np.array_equal(dataset.subject_ids(), np.unique(EVENTS_IN["subject_id"]))
    with pytest.raises(DataError, match="Known: train"):
        dataset.subject_ids("test")


def test_one_flipped_bit_in_any_file_is_found_and_the_file_named(published, tmp_path):
    Dataset.open(published).verify()
    names = Dataset.open(published).files
    assert {n.split("/")[0] for n in names} == {"data", "metadata"}
    for name in names:
        copy = tmp_path / name.replace("/", "-")
        shutil.copytree(published, copy)
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / name).write_bytes(content)
        with pytest.raises(DataError, match=f"changed since written: {name}\\."):
            Dataset.open(copy).verify()


@pytest.mark.parametrize("missing", ["manifest.json", "metadata/codes.parquet", "data/1.parquet", "."])
def test_what_is_missing_is_named_on_opening(published, tmp_path, missing):
    copy = tmp_path / "copy"
    shutil.copytree(published, copy)
    if missing == ".":
        shutil.rmtree(copy)
    else:
        (copy / missing).unlink()
    with pytest.raises(DataError, match="no such folder" if missing == "." else missing) as raised:
        Dataset.open(copy)
    assert "ngest" in str(raised.value)  # the remedy


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"format": 99}', b"\xff"])
def test_a_manifest_that_is_damaged_or_of_another_format_is_refused(published, tmp_path, content):
    copy = tmp_path / "copy"
    shutil.copytree(published, copy)
    (copy / "manifest.json").write_bytes(content)
    with pytest.raises(DataError, match="Ingest the data again"):
        Dataset.open(copy)


def test_the_fingerprint_is_that_of_the_content(published, tmp_path):
    write(tmp_path / "same", EVENTS_IN, shard_rows=400)
    write(tmp_path / "other", EVENTS_IN.slice(1), shard_rows=400)
    first, same, other = (
        Dataset.open(p).fingerprint for p in (published, tmp_path / "same", tmp_path / "other")
    )
    assert first == same != other


def test_a_reader_whose_dataset_is_replaced_gets_an_error_not_a_mixture(tmp_path):
    out = tmp_path / "out"
    write(out, EVENTS_IN, shard_rows=400)
    dataset = Dataset.open(out)
    subjects = dataset.subjects()
    next(subjects)
    write(out, random_events(2_000, 50, seed=9), shard_rows=400, overwrite=True)
    with pytest.raises(DataError, match="replaced while"):
        list(subjects)
    assert len(list(Dataset.open(out).subjects())) == 50


def test_damaged_events_are_a_data_error_without_content(published, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(published, copy)
    (copy / "data" / "0.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"0\.parquet: damaged"):
        list(Dataset.open(copy).subjects())


def read_all(folder):
    """Everything a reader may ask for."""
    dataset = Dataset.open(folder)
    list(dataset.subjects())
    dataset.codes(), dataset.splits(), dataset.subject_map()
    return dataset


@pytest.mark.parametrize("seed", range(20))
def test_one_flipped_bit_is_a_data_error_when_the_file_is_read(published, tmp_path, seed):
    rng = np.random.default_rng(seed)
    copy = Path(shutil.copytree(published, tmp_path / "copy"))
    files = [path for path in sorted(copy.rglob("*")) if path.is_file()]
    assert {"manifest.json", "dataset.json", "0.parquet", "codes.parquet"} <= {path.name for path in files}
    for path in files:
        whole = path.read_bytes()
        content = bytearray(whole)
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        with pytest.raises(DataError):
            read_all(copy).verify()  # of dataset.json, which nothing here reads
        if path.name != "dataset.json":
            with pytest.raises(DataError, match=path.name.replace(".", r"\.")):
                read_all(copy)
        path.write_bytes(whole)
    read_all(copy)


def test_every_flipped_bit_of_a_manifest_is_a_data_error(tmp_path):
    write(tmp_path / "out", EVENTS_IN.slice(0, 3))
    path = tmp_path / "out" / "manifest.json"
    whole = path.read_bytes()
    for position in range(len(whole)):
        content = bytearray(whole)
        content[position] ^= 1 << position % 8
        path.write_bytes(content)
        with pytest.raises(DataError):
            read_manifest(tmp_path / "out")


def test_a_file_is_verified_once(published, monkeypatch):
    calls = []
    monkeypatch.setattr(reading, "file_digest", lambda *args: calls.append(args) or file_digest(*args))
    dataset = Dataset.open(published)
    for _ in range(3):
        dataset.codes()
    assert len(calls) == 1


OTHERS = {
    "a trained model": ({"manifest.json": '{"sha256": {"model.json": "00"}}'}, "This is a trained model"),
    "an export": ({"manifest.json": '{"transactionTime": "2022", "output": []}'}, "chartscan ingest fhir"),
    "lines alone": ({"Patient.ndjson": ""}, "chartscan ingest fhir"),
    "a MEDS dataset": ({"metadata/dataset.json": '{"etl_name": "MIMIC"}', "data/0": ""}, "from elsewhere"),
    "anything": ({"thesis.txt": ""}, "chartscan ingest SOURCE IN OUT"),
    "nothing": ({}, "chartscan ingest SOURCE IN OUT"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_dataset_is_called_what_it_is(tmp_path, kind):
    files, says = OTHERS[kind]
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=says) as raised:
        Dataset.open(tmp_path)
    assert "ingest meds" not in str(raised.value)


def test_the_manifest_holds_settings_versions_and_sizes(published):
    manifest = json.loads((published / "manifest.json").read_bytes())
    assert manifest["source"] == "test"
    assert manifest["store"]["shard_rows"] == 400
    assert set(manifest["versions"]) == {"chartscan", "meds", "pyarrow", "duckdb"}
    for name, entry in manifest["files"].items():
        assert (published / name).stat().st_size == entry["bytes"]
