import datetime as dt
import gc
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import duckdb
import meds
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from chartscan.errors import BudgetError, ConfigError, DataError
from chartscan.schema import EVENTS, SPLITS
from chartscan.store import sort
from chartscan.store.config import DaysAfterLastEvent, ExportTime, StoreConfig
from chartscan.store.dataset import Dataset
from chartscan.store.quarantine import Quarantine
from chartscan.store.spool import Spool
from chartscan.store.subjects import SUBJECTS
from chartscan.store.writer import DatasetWriter
from hospital import random_events, write

EVENTS_IN = random_events(5_000, 100)


def file_bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@contextmanager
def writing(out: Path, **settings: object) -> Iterator[DatasetWriter]:
    """A writer that already has the events of subject 1."""
    with DatasetWriter(out, source="test", **settings) as writer:  # type: ignore[arg-type]
        writer.write(one_event(1))
        yield writer


def refused(
    out: Path, error: type[Exception], feed: Callable[[DatasetWriter], object], **settings: object
) -> str:
    """The message of the `error` that a run meets when `feed` gives it more."""
    with pytest.raises(error) as raised:  # noqa: SIM117
        with writing(out, **settings) as writer:
            feed(writer)
    return str(raised.value)


def beside(out: Path) -> list[str]:
    return sorted(p.name for p in out.parent.iterdir() if p != out)


def test_every_row_arrives_once_as_it_was(tmp_path):
    write(tmp_path / "out", EVENTS_IN, shard_rows=700)
    dataset = Dataset.open(tmp_path / "out")
    found = pa.concat_tables([dataset.read_shard(path) for path in dataset.shards()])
    keys = [(name, "ascending") for name in EVENTS.names]
    assert found.sort_by(keys).to_pylist() == EVENTS_IN.sort_by(keys).to_pylist()
    assert dataset.manifest["counts"]["events"] == dataset.manifest["accounting"]["events_out"] == 5_000


def test_the_validators_of_meds_accept_every_file(tmp_path):
    write(tmp_path / "out", EVENTS_IN, shard_rows=700)
    out = tmp_path / "out"
    shards = list((out / "data").iterdir())
    assert len(shards) > 3
    for path in shards:
        table = pq.read_table(path)
        meds.DataSchema.validate(table)
        assert table.schema.equals(EVENTS)
    meds.CodeMetadataSchema.validate(pq.read_table(out / meds.code_metadata_filepath))
    meds.SubjectSplitSchema.validate(pq.read_table(out / meds.subject_splits_filepath))
    meds.DatasetMetadataSchema.validate(json.loads((out / meds.dataset_metadata_filepath).read_bytes()))
    Dataset.open(out).validate()


def test_polars_and_duckdb_read_what_was_written(tmp_path):
    write(tmp_path / "out", EVENTS_IN, shard_rows=700)
    pattern = str(tmp_path / "out" / "data" / "*.parquet")
    total = pc.sum(EVENTS_IN["numeric_value"].cast(pa.float64())).as_py()
    assert pl.read_parquet(pattern)["numeric_value"].cast(pl.Float64).sum() == pytest.approx(total)
    query = f"SELECT sum(numeric_value::DOUBLE) FROM read_parquet('{pattern}')"
    assert duckdb.sql(query).fetchall()[0][0] == pytest.approx(total)


MANY = random_events(100_000, 500)  # more than one row group of a shard


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    out = tmp_path_factory.mktemp("many") / "first"
    write(out, MANY, shard_rows=80_000)
    return out


@pytest.mark.parametrize("way", ["shuffled", "in pieces", "by workers", "one thread, little memory"])
def test_equal_events_give_equal_bytes_however_they_arrive(many, tmp_path, way):
    shuffled = MANY.take(np.random.default_rng(1).permutation(MANY.num_rows))
    out = tmp_path / "second"
    if way == "shuffled":
        write(out, shuffled, shard_rows=80_000)
    elif way == "in pieces":
        write(out, *[shuffled.slice(i, 7_001) for i in range(0, 100_000, 7_001)], shard_rows=80_000)
    elif way == "one thread, little memory":
        write(out, shuffled, shard_rows=80_000, threads=1, memory_mb=64)
    else:
        with DatasetWriter(out, source="test", config=StoreConfig(shard_rows=80_000)) as writer:
            writer.write(shuffled.slice(0, 25_000))
            for i in (1, 2, 3):
                with Spool(writer.spool_folder, f"worker-{i}") as spool:
                    spool.write(shuffled.slice(i * 25_000, 25_000))
    first, second = file_bytes(many), file_bytes(out)
    assert {name for name in first if first[name] != second[name]} <= {"manifest.json"}
    assert Dataset.open(many).fingerprint == Dataset.open(out).fingerprint


@pytest.mark.parametrize("shard_rows", [1, 63, 10**9])
def test_a_subject_is_in_one_shard_which_ends_with_the_first_subject_beyond_the_wanted_rows(
    tmp_path, shard_rows
):
    events = EVENTS_IN.slice(0, 1_000)
    write(tmp_path / "out", events, shard_rows=shard_rows)
    dataset = Dataset.open(tmp_path / "out")
    shards = [dataset.read_shard(p)["subject_id"].to_numpy() for p in dataset.shards()]
    expected, rows = [[]], 0
    for subject, count in zip(*np.unique(events["subject_id"], return_counts=True), strict=True):
        if rows >= shard_rows:
            expected, rows = [*expected, []], 0
        expected[-1].append(int(subject))
        rows += count
    assert [np.unique(ids).tolist() for ids in shards] == expected


def test_codes_are_those_of_the_data_with_counts_and_descriptions_in_any_order_of_arrival(tmp_path):
    with DatasetWriter(tmp_path / "out", source="test") as writer:
        writer.write(EVENTS_IN)
        writer.code("LOINC//1", "Sodium", ["LOINC//LP1"])
        writer.code("LOINC//1", "Natrium", ["LOINC//LP0"])
        writer.code("LOINC//2", None)
        table = {"code": ["LOINC//3", "LOINC//unused"], "description": ["Potassium", "never"]}
        writer.describe_codes(pa.table(table))
    found = {row.pop("code"): row for row in Dataset.open(tmp_path / "out").codes().to_pylist()}
    pairs = list(zip(EVENTS_IN["code"].to_pylist(), EVENTS_IN["subject_id"].to_pylist(), strict=True))
    assert list(found) == sorted({code for code, _ in pairs})
    for code, row in found.items():
        assert row["event_count"] == sum(c == code for c, _ in pairs)
        assert row["subject_count"] == len({s for c, s in pairs if c == code})
    assert found["LOINC//1"]["description"] == "Natrium"
    assert found["LOINC//1"]["parent_codes"] == ["LOINC//LP0", "LOINC//LP1"]
    assert found["LOINC//2"]["description"] is None
    assert found["LOINC//3"]["description"] == "Potassium"


def patients(*rows: tuple[str, int, str | None]) -> pa.Table:
    return pa.Table.from_pylist(
        [dict(zip(SUBJECTS.names, row, strict=True)) for row in rows], schema=SUBJECTS
    )


def one_event(subject: int) -> pa.Table:
    return pa.table({"subject_id": [subject], "code": ["a"], "event_type": ["static"]})


def test_merged_patients_share_a_subject_and_a_subject_without_events_has_a_split(tmp_path):
    with DatasetWriter(tmp_path / "out", source="test") as writer:
        writer.write(one_event(1))
        writer.subjects(patients(("b", 1, None), ("a", 1, "b")))
        writer.subjects(patients(("c", 2, None), ("b", 1, None)))
    dataset = Dataset.open(tmp_path / "out")
    assert (
        dataset.subject_map().to_pylist()
        == patients(("a", 1, "b"), ("b", 1, None), ("c", 2, None)).to_pylist()
    )
    assert set(dataset.splits()) == {1, 2}
    assert dataset.manifest["counts"]["subjects"] == 2
    assert dataset.manifest["counts"]["subjects_with_events"] == 1


@pytest.mark.parametrize(
    "rows",
    [
        [("a", 1, None), ("b", 1, None)],  # two patients, one hash
        [("a", 1, None), ("a", 2, None)],
        [("a", 2, None)],  # subject 1 has events
    ],
)
def test_colliding_or_unknown_subjects_are_an_error_never_a_merge(tmp_path, rows):
    refused(tmp_path / "out", DataError, lambda writer: writer.subjects(patients(*rows)))
    assert list(tmp_path.iterdir()) == []


def test_splits_of_the_source_replace_ours_and_must_name_everybody(tmp_path):
    given = pa.table({"subject_id": [2, 1], "split": ["tuning", "held_out"]}, schema=SPLITS)
    with DatasetWriter(tmp_path / "out", source="test") as writer:
        writer.write(pa.concat_tables([one_event(1), one_event(2)]))
        writer.splits(given)
    assert Dataset.open(tmp_path / "out").splits() == {1: "held_out", 2: "tuning"}
    assert "every subject" in refused(tmp_path / "b", DataError, lambda writer: writer.splits(given))


def test_the_follow_up_of_the_user_wins_over_that_of_the_source(tmp_path):
    export = ExportTime(dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    rules = {}
    for name, config in (("source", StoreConfig()), ("user", StoreConfig(follow_up=DaysAfterLastEvent(365)))):
        with DatasetWriter(tmp_path / name, source="test", config=config) as writer:
            writer.write(EVENTS_IN)
            writer.set_follow_up(export)
        rules[name] = Dataset.open(tmp_path / name).follow_up
    write(tmp_path / "none", EVENTS_IN)
    assert rules["source"] == {"rule": "export_time", "time": "2020-01-01T00:00:00Z"}
    assert rules["user"] == {"rule": "days_after_last_event", "days": 365}
    assert Dataset.open(tmp_path / "none").follow_up == {"rule": "days_after_last_event", "days": 0}


def test_an_error_in_the_block_publishes_nothing_and_leaves_what_was_there(tmp_path):
    write(tmp_path / "out", EVENTS_IN)
    before = file_bytes(tmp_path / "out")
    refused(tmp_path / "out", ZeroDivisionError, lambda writer: 1 / 0, overwrite=True)
    assert file_bytes(tmp_path / "out") == before
    assert beside(tmp_path / "out") == []


def test_lines_that_do_not_add_up_publish_nothing(tmp_path):
    message = refused(tmp_path / "out", DataError, lambda writer: writer.accounting.line("a", "Patient"))
    assert "a, Patient: 1 lines in, 0 explained" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("lines", "strict", "published"), [(1000, False, True), (999, False, False), (1000, True, False)]
)
def test_beyond_the_error_budget_nothing_is_published_but_the_quarantine_stays(
    tmp_path, lines, strict, published
):
    def run():
        config = StoreConfig(strict=strict)
        with DatasetWriter(tmp_path / "out", source="test", config=config) as writer:
            writer.write(EVENTS_IN)
            writer.accounting.line("a", "Patient", lines)
            writer.accounting.accept("a", "Patient", lines - 1)
            writer.accounting.quarantine("a", "Patient", "B02 malformed_json")
            writer.quarantine.put("B02 malformed_json", "a", 5, 100, b"{")

    if published:
        run()
    else:
        with pytest.raises(BudgetError):
            run()
    assert (tmp_path / "out").exists() == published
    assert beside(tmp_path / "out") == ([] if published else ["out.quarantine"])
    folder = tmp_path / "out" / "quarantine" if published else tmp_path / "out.quarantine"
    assert folder.stat().st_mode & 0o777 == 0o700
    kept = json.loads((folder / "accounting.json").read_bytes())
    assert kept["lines"][0]["quarantined"] == {"B02 malformed_json": 1}


def test_an_existing_dataset_is_refused_before_any_work_unless_it_may_be_replaced(tmp_path):
    write(tmp_path / "out", EVENTS_IN)
    with pytest.raises(ConfigError, match="overwrite"):
        DatasetWriter(tmp_path / "out", source="test").__enter__()
    write(tmp_path / "out", EVENTS_IN.slice(0, 10), overwrite=True)
    assert Dataset.open(tmp_path / "out").manifest["counts"]["events"] == 10
    assert beside(tmp_path / "out") == []


def test_a_folder_that_is_no_dataset_is_never_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="not a chartscan dataset"):
        write(tmp_path / "out", EVENTS_IN, overwrite=True)
    assert (tmp_path / "out" / "thesis.txt").exists()
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", EVENTS_IN)
    Dataset.open(tmp_path / "empty").verify()


@pytest.mark.parametrize(
    "manifest",
    [
        '{"transactionTime": "2022-03-04T05:06:07Z", "output": [], "error": []}',  # a bulk export
        '{"sha256": {"model.json": "00", "weights.safetensors": "00"}}',  # a trained model
        '{"format": 1}',
        "not JSON",
    ],
)
def test_a_folder_of_another_kind_with_a_manifest_is_never_replaced(tmp_path, manifest):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text(manifest)
    (tmp_path / "out" / "Patient.ndjson").write_text("years of work")
    before = file_bytes(tmp_path)
    with pytest.raises(ConfigError, match="not a chartscan dataset"):
        write(tmp_path / "out", EVENTS_IN, overwrite=True)
    assert file_bytes(tmp_path) == before


def test_a_published_dataset_is_for_its_owner_only(tmp_path):
    for overwrite in (False, True):
        write(tmp_path / "out", EVENTS_IN, overwrite=overwrite)
        assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700
        (tmp_path / "out").chmod(0o755)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A disk on which no file may be larger: what is written beyond fails, as it does on a full one."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("when", ["while reading", "at the end of reading", "while sorting", "in the shards"])
def test_a_full_disk_leaves_no_staging_and_the_first_error_is_the_one_seen(tmp_path, monkeypatch, when):
    if when == "while reading":
        monkeypatch.setattr(Spool.__init__, "__defaults__", ("main", 1 << 20))
    write(tmp_path / "out", EVENTS_IN)
    before = file_bytes(tmp_path / "out")
    config = StoreConfig(memory_mb=64, threads=1)
    events = random_events(60_000, 200)
    pieces = [events.slice(i, 10_000) for i in range(0, 60_000, 10_000)]
    limit = ExitStack()
    with limit, pytest.raises(OSError, match="cannot be written: File too large") as raised:  # noqa: PT012, SIM117
        with DatasetWriter(tmp_path / "out", source="test", config=config, overwrite=True) as writer:
            if when in ("while reading", "at the end of reading"):
                limit.enter_context(files_of_at_most(100_000))
            for piece in pieces:
                writer.write(piece)
            if when == "while sorting":
                monkeypatch.setattr(StoreConfig, "bytes_at_once", 2 << 20)
                monkeypatch.setattr(sort, "BUFFER_BYTES", 1 << 20)
            if when in ("while sorting", "in the shards"):
                writer._spool.close()
                limit.enter_context(files_of_at_most(20_000))
    gc.collect()  # nothing fails later, where nobody can catch it
    part = {"while sorting": "/scratch/subjects/", "in the shards": "/dataset/data/0.parquet"}
    assert part.get(when, "/spool/main.parquet") in raised.value.filename
    assert file_bytes(tmp_path / "out") == before
    assert beside(tmp_path / "out") == []


def test_when_tidying_up_fails_too_the_first_error_is_shown_and_the_rest_is_done(tmp_path, monkeypatch):
    def broken(self, counts):
        raise OSError("no space for the quarantine")

    monkeypatch.setattr(Quarantine, "finish", broken)
    with pytest.raises(ZeroDivisionError) as raised:  # noqa: SIM117
        with DatasetWriter(tmp_path / "out", source="test"):
            raise ZeroDivisionError
    assert "no space for the quarantine" in raised.value.__notes__[0]
    assert list(tmp_path.iterdir()) == []


def bad_run(out: Path, reason: str, fails: bool) -> None:
    """A run with one line in quarantine, which fails at its end or does not."""
    with DatasetWriter(out, source="test", overwrite=True) as writer:
        writer.write(EVENTS_IN)
        writer.quarantine.put(reason, "a.ndjson", 1, 0, b"{")
        if fails:
            raise ZeroDivisionError


def reasons(folder: Path) -> list[str]:
    lines = (folder / "records-main.jsonl").read_bytes().splitlines()
    return [json.loads(line)["reason"] for line in lines]


def test_the_quarantine_of_a_dataset_stays_as_long_as_the_dataset(tmp_path):
    out, kept = tmp_path / "out", tmp_path / "out" / "quarantine"
    failed = tmp_path / "out.quarantine"
    bad_run(out, "first", fails=False)
    fingerprint = Dataset.open(out).fingerprint
    before = file_bytes(kept)
    with pytest.raises(ZeroDivisionError):
        bad_run(out, "second", fails=True)
    assert file_bytes(kept) == before
    assert reasons(failed) == ["second"]
    assert failed.stat().st_mode & 0o777 == 0o700
    assert (failed / "key").read_bytes() == (kept / "key").read_bytes()
    with pytest.raises(ConfigError):
        DatasetWriter(out, source="test").__enter__()
    assert file_bytes(kept) == before
    bad_run(out, "third", fails=False)
    assert reasons(kept) == ["third"]
    assert (kept / "key").read_bytes() == before["key"]
    assert beside(out) == []
    write(out, EVENTS_IN, overwrite=True)
    assert not kept.exists()
    assert Dataset.open(out).fingerprint == fingerprint


def test_the_quarantine_is_listed_in_the_manifest_but_may_be_removed(tmp_path):
    out = tmp_path / "out"
    bad_run(out, "first", fails=False)
    names = ["accounting.json", "content-main.ndjson", "key", "records-main.jsonl"]
    assert list(Dataset.open(out).manifest["quarantine"]) == [f"quarantine/{name}" for name in names]
    for path in (out / "quarantine").iterdir():
        path.unlink()
    Dataset.open(out).verify()
    Dataset.open(out).validate()


def test_files_of_the_user_in_the_quarantine_folder_are_never_removed(tmp_path):
    out, kept = tmp_path / "out", tmp_path / "out.quarantine"
    (kept / "looked at").mkdir(parents=True)
    (kept / "looked at" / "records-1.jsonl").write_text("{}")
    (kept / "notes.txt").write_text("ask the hospital")
    mine = file_bytes(kept)
    for reason in ("first", "second"):
        with pytest.raises(ZeroDivisionError):
            bad_run(out, reason, fails=True)
    assert reasons(kept) == ["second"]
    assert mine.items() <= file_bytes(kept).items()
    write(out, EVENTS_IN, overwrite=True)
    assert mine.items() <= file_bytes(kept).items()
    assert not (kept / "records-main.jsonl").exists()


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_events_that_repeat_in_every_column_stay_and_are_counted_b62(tmp_path, monkeypatch, pieces):
    monkeypatch.setattr(sort, "BATCH_ROWS", -(-1_000 // pieces))
    events = EVENTS_IN.slice(0, 600)
    write(tmp_path / "out", events, events.slice(100, 400))
    dataset = Dataset.open(tmp_path / "out")
    assert dataset.manifest["counts"]["events"] == 1_000
    different = len(set(map(str, events.to_pylist())))
    assert dataset.manifest["accounting"]["flagged"]["repeated_events"] == 1_000 - different


def test_no_events_at_all_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no events"):
        write(tmp_path / "out", EVENTS_IN.slice(0, 0))


def test_progress_ends_at_the_number_of_rows(tmp_path):
    steps = []
    bar = nullcontext(lambda *step: steps.append(step))
    with DatasetWriter(tmp_path / "out", source="test", sorting=lambda: bar) as writer:
        writer.write(EVENTS_IN)
    assert steps[-1] == (5_000, 5_000)


@pytest.mark.parametrize(
    "wrong", [{"shard_rows": 0}, {"error_budget": 2.0}, {"train_fraction": 0.9}, {"memory_mb": 63}]
)
def test_settings_that_cannot_work_are_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        StoreConfig(**wrong)


def test_a_follow_up_that_ends_before_the_last_event_is_refused():
    with pytest.raises(ValueError, match="must not be negative"):
        DaysAfterLastEvent(days=-5)
    assert DaysAfterLastEvent(days=0).days == 0
