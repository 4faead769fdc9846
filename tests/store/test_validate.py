"""Each rule of a MEDS dataset, broken on purpose in a copy of a right one."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from chartscan.errors import DataError
from chartscan.store.dataset import Dataset
from chartscan.store.validate import violations
from hospital import random_events, write


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    out = tmp_path_factory.mktemp("store") / "out"
    write(out, random_events(2_000, 30), shard_rows=700)
    return out


@pytest.fixture
def copy(right, tmp_path):
    return Path(shutil.copytree(right, tmp_path / "copy"))


def change(path: Path, function: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(function(pq.read_table(path)), path)


def replaced(name: str, function: Callable[[pa.ChunkedArray], pa.Array]) -> Callable[[pa.Table], pa.Table]:
    return lambda t: t.set_column(t.schema.names.index(name), name, function(t[name]))


def last_row_first(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table[-1:], table[:-1]])


def swapped_within_a_subject(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table[:10], table[11:12], table[10:11], table[12:]])


def nothing_at_first(column: pa.ChunkedArray) -> pa.Array:
    return pa.array([None, *column.to_pylist()[1:]], column.type)


BREAKS = {
    "numeric_value as text": (replaced("numeric_value", lambda c: c.cast(pa.string())), "numeric_value"),
    "time with a zone": (replaced("time", lambda c: c.cast(pa.timestamp("us", "UTC"))), "time"),
    "code as large string": (replaced("code", lambda c: c.cast(pa.large_string())), "code"),
    "null code": (replaced("code", nothing_at_first), "code"),
    "no code": (lambda t: t.drop_columns("code"), "code"),
    "rows not contiguous": (last_row_first, "not contiguous (1 breaks)"),
    "rows not sorted": (swapped_within_a_subject, "1 rows out of the order"),
    "code unknown": (replaced("code", lambda c: pa.array(["Z"] * len(c))), "1 codes of the data are missing"),
    "event type unknown": (replaced("event_type", lambda c: pa.array(["zz"] * len(c))), "unknown event_type"),
    "value infinite": (
        replaced("numeric_value", lambda c: pa.array([float("inf")] * len(c), pa.float32())),
        "not finite",
    ),
    "known too early": (
        replaced("available_time", lambda c: pc.subtract(c, pa.scalar(10**12, pa.duration("us")))),
        "available_time before time",
    ),
}


def test_a_dataset_as_written_breaks_no_rule(right):
    assert violations(right) == []
    Dataset.open(right).validate()


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_rule_is_named_with_its_file(copy, name):
    function, message = BREAKS[name]
    change(copy / "data" / "1.parquet", function)
    found = violations(copy)
    assert any(message in line for line in found), found
    assert any(line.startswith(("data/1.parquet", "metadata/codes.parquet")) for line in found)


def test_a_subject_in_two_files_is_found(copy):
    first = pq.read_table(copy / "data" / "0.parquet")
    change(copy / "data" / "1.parquet", lambda t: pa.concat_tables([first[-1:], t]))
    assert violations(copy) == ["data/: 1 subjects are in more than one file."]


def test_all_violations_are_listed_at_once(copy):
    change(copy / "data" / "0.parquet", swapped_within_a_subject)
    change(copy / "data" / "1.parquet", last_row_first)
    (copy / "data" / "2.parquet").write_bytes(b"PAR1")
    change(copy / "metadata" / "codes.parquet", lambda t: t[3:])
    change(copy / "metadata" / "subject_splits.parquet", lambda t: pa.concat_tables([t[2:], t[5:6]]))
    (copy / "metadata" / "dataset.json").write_text('{"dataset_name": 5}')
    with pytest.raises(DataError) as raised:
        Dataset.open(copy).validate()
    text = str(raised.value)
    for part in (
        "data/0.parquet: 1 rows out of the order",
        "data/1.parquet: rows of a subject are not contiguous",
        "data/2.parquet: missing or damaged",
        "codes.parquet: 3 codes",
        "subject_splits.parquet: 2 subjects of the data are missing",
        "subject_splits.parquet: 1 subjects are named more than once",
        "dataset.json",
    ):
        assert part in text


def test_a_dataset_of_others_is_checked_for_the_rules_of_meds_only(tmp_path):
    table = pa.table(
        {
            "subject_id": [9, 9, 9, 1],  # subjects in any order
            "time": pa.array([None, 5, 5, 1], pa.timestamp("us")),
            "code": ["b", "z", "a", "c"],  # events of one time in any order
        }
    )
    (tmp_path / "data" / "train").mkdir(parents=True)
    (tmp_path / "metadata").mkdir()
    pq.write_table(table, tmp_path / "data" / "train" / "x.parquet")
    codes = {"code": ["a", "b", "c", "z"], "description": pa.nulls(4, pa.string())}
    parents = {"parent_codes": pa.nulls(4, pa.list_(pa.string()))}
    pq.write_table(pa.table(codes | parents), tmp_path / "metadata" / "codes.parquet")
    splits = pa.table({"subject_id": [1, 9], "split": ["a", "b"]})
    pq.write_table(splits, tmp_path / "metadata" / "subject_splits.parquet")
    (tmp_path / "metadata" / "dataset.json").write_text("{}")
    assert violations(tmp_path) == []
    pq.write_table(table.take([1, 0, 2, 3]), tmp_path / "data" / "train" / "x.parquet")
    assert violations(tmp_path) == [
        "data/train/x.parquet: 1 rows earlier than the row before them (no time comes first)."
    ]


def test_an_empty_folder_is_no_dataset(tmp_path):
    assert violations(tmp_path) == ["data/: no Parquet files."]
