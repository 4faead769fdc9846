"""Files of results carry a digest of themselves: any byte that changes is an error that names the file."""

import random
from pathlib import Path

import duckdb
import meds
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chartscan import parquet_files
from chartscan.errors import DataError
from chartscan.evaluation import read_predictions, write_predictions
from chartscan.labels.files import read_labels, write_labels
from chartscan.schema import LABELS, PREDICTIONS, TIME, Counts

ROWS = 40


def labels() -> pa.Table:
    values = [i % 3 == 0 for i in range(ROWS)]
    times = pa.array([10**15 + i for i in range(ROWS)], pa.int64()).cast(TIME)
    return pa.table([pa.array(range(ROWS), pa.int64()), times, pa.array(values)], schema=LABELS)


def write_label_file(path: Path) -> None:
    write_labels(path, labels(), "readmission_30d", Counts())


def write_prediction_file(path: Path) -> None:
    answers = pa.array([i / ROWS for i in range(ROWS)], pa.float32())
    table = labels().append_column("predicted_boolean_value", pa.nulls(ROWS, pa.bool_()))
    table = table.append_column("predicted_boolean_probability", answers).cast(PREDICTIONS)
    write_predictions(path, table, "readmission_30d", "a model")


KINDS = [
    pytest.param(write_label_file, read_labels, id="labels"),
    pytest.param(write_prediction_file, read_predictions, id="predictions"),
]


@pytest.mark.parametrize(("write", "read"), KINDS)
@pytest.mark.parametrize("flips", [60, pytest.param(300, marks=pytest.mark.soak)])
def test_a_flipped_byte_anywhere_is_an_error_that_names_the_file(write, read, flips, tmp_path):
    path = tmp_path / "of readmission.parquet"
    write(path)
    read(path)
    whole, rng = path.read_bytes(), random.Random(flips)
    for _ in range(flips):
        changed = bytearray(whole)
        changed[rng.randrange(len(whole))] ^= rng.randrange(1, 256)
        path.write_bytes(changed)
        with pytest.raises(DataError, match=r"of readmission\.parquet: (damaged|cannot be read)"):
            read(path)


@pytest.mark.parametrize("write", [write_label_file, write_prediction_file])
def test_every_single_bit_is_covered_by_the_digest(write, tmp_path):
    write(tmp_path / "x.parquet")
    whole = (tmp_path / "x.parquet").read_bytes()
    assert parquet_files.intact(whole)
    missed = []
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        missed += [place] if parquet_files.intact(bytes(changed)) else []
    assert not missed


@pytest.mark.parametrize(("write", "read"), KINDS)
def test_a_file_cut_short_or_grown_is_an_error_that_names_it(write, read, tmp_path):
    path = tmp_path / "x.parquet"
    write(path)
    whole = path.read_bytes()
    for changed in (*(whole[:n] for n in range(0, len(whole), 97)), whole[:-1], whole + b"\0", whole[1:]):
        path.write_bytes(changed)
        with pytest.raises(DataError, match=r"x\.parquet"):
            read(path)


def test_other_tools_read_the_files_and_write_them_anew_without_a_digest(tmp_path):
    path, again = tmp_path / "l.parquet", tmp_path / "again.parquet"
    write_label_file(path)
    assert parquet_files.BEGIN in path.read_bytes()
    meds.LabelSchema.validate(pq.read_table(path).replace_schema_metadata(None))
    assert pl.read_parquet(path).height == ROWS == pl.scan_parquet(path).collect().height
    assert duckdb.sql(f"select count(*) from '{path}'").fetchall() == [(ROWS,)]
    pq.write_table(pq.read_table(path).slice(0, 10), again)
    table, task, _ = read_labels(again)
    assert (table.num_rows, task) == (10, "readmission_30d")
    pl.read_parquet(path).head(5).write_parquet(again)
    assert read_labels(again)[0].num_rows == 5


def test_tables_written_by_polars_carry_it_too(tmp_path):
    pl.DataFrame({"attribution": [0.5, 0.25]}).write_parquet(tmp_path / "p.parquet")
    path = tmp_path / "WHY" / "attributions.parquet"
    parquet_files.write_content(path, (tmp_path / "p.parquet").read_bytes())
    assert parquet_files.read_table(path, "").num_rows == 2
    assert path.stat().st_mode & 0o077 == 0
    path.write_bytes(path.read_bytes().replace(b"PAR1", b"PAR2", 1))
    with pytest.raises(DataError, match=r"attributions\.parquet: damaged.*Explain again"):
        parquet_files.read_table(path, "Explain again.")


def test_a_read_that_fails_names_the_file(tmp_path, monkeypatch):
    path = tmp_path / "x.parquet"
    with pytest.raises(DataError, match=r"x\.parquet: no such parquet file"):
        parquet_files.read_table(path, "")

    def fail(self):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(OSError, match="Input/output error") as caught:
        parquet_files.read_table(path, "")
    assert caught.value.filename == str(path)
