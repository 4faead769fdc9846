"""PREDICTIONS files: what is written is what is read, by us and by the MEDS evaluation package."""

import json
import subprocess
import sys

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chartscan.errors import DataError
from chartscan.evaluation import read_predictions, write_predictions
from chartscan.evaluation.predictions import read_given
from chartscan.metrics.calibration import brier
from chartscan.metrics.discrimination import auroc, average_precision
from chartscan.notes import Notes
from chartscan.schema import COHORT_KEY, LABELS, PREDICTIONS

COLUMN = "predicted_boolean_probability"


@pytest.fixture
def written(tmp_path, make_models):
    (model, _), _ = make_models(n=300)
    path = tmp_path / "p.parquet"
    write_predictions(path, model.table, model.task, model.model, model.run)
    return model, path


def with_probabilities(table, values, kind=None):
    k = table.schema.get_field_index(COLUMN)
    kind = kind or pa.float32()
    return table.set_column(k, pa.field(COLUMN, kind), pa.array(values, kind))


def test_what_is_written_is_read(written):
    model, path = written
    found = read_predictions(path)
    assert found.table.equals(model.table)
    assert (found.task, found.model, found.run) == (model.task, model.model, model.run)


def test_cohort_counts_travel_with_the_labels_they_came_with(tmp_path, make_models):
    (model, _), _ = make_models(n=63)
    table = model.table.replace_schema_metadata({COHORT_KEY: json.dumps({"eligible": 63}).encode()})
    write_predictions(tmp_path / "p.parquet", table, "t", "m")
    found = read_predictions(tmp_path / "p.parquet")
    assert found.cohort == {"eligible": 63}
    assert found.run == {}


def test_both_predicted_columns_are_always_written(tmp_path, make_models):
    (model, _), _ = make_models(n=63)
    table = model.table.drop_columns(["predicted_boolean_value"])
    write_predictions(tmp_path / "p.parquet", table, "t", "m")
    assert pq.read_schema(tmp_path / "p.parquet").equals(PREDICTIONS)


def test_the_meds_prediction_schema_accepts_the_file(written, tmp_path, make_models):
    schema = pytest.importorskip("meds_evaluation.schema").PredictionSchema
    model, path = written
    schema.validate(pq.read_table(path))
    write_predictions(tmp_path / "q.parquet", model.table.drop_columns(["predicted_boolean_value"]), "t", "m")
    schema.validate(pq.read_table(tmp_path / "q.parquet"))


def test_the_command_of_meds_evaluation_finds_our_numbers(written, tmp_path):
    pytest.importorskip("meds_evaluation")
    model, path = written
    out = tmp_path / "out.json"
    command = [sys.executable, "-m", "meds_evaluation", f"predictions_path={path}", f"output_file={out}"]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, timeout=120)
    theirs = json.loads(out.read_text())["samples_equally_weighted"]
    labels, scores = model.table["boolean_value"].to_numpy(), model.table[COLUMN].to_numpy()
    assert auroc(labels, scores) == pytest.approx(theirs["roc_auc_score"], abs=1e-9)
    assert average_precision(labels, scores) == pytest.approx(theirs["average_precision_score"], abs=1e-9)
    assert brier(labels, scores) == pytest.approx(theirs["brier_score"], abs=1e-6)  # they sum in float32


def test_a_file_of_another_tool_is_called_as_its_file_and_folder(tmp_path, make_models):
    (model, _), _ = make_models(n=63)
    path = tmp_path / "gpt" / "readmission_30d.parquet"
    path.parent.mkdir()
    table = pl.from_arrow(model.table).drop("predicted_boolean_value")
    table.with_columns(
        logit=pl.lit(0.5), prediction_time=pl.col("prediction_time").dt.cast_time_unit("ns")
    ).write_parquet(path)
    notes = Notes()
    found = read_predictions(path, notes)
    assert (found.task, found.model) == ("readmission_30d", "gpt")
    assert found.table["predicted_boolean_value"].null_count == 63
    assert found.table["prediction_time"].equals(model.table["prediction_time"])
    assert [note.code for note in notes] == ["unused_columns"]


@pytest.mark.parametrize("layout", ["{}.parquet", "held_out/{}.parquet", "part-0000{}.parquet"])
def test_shards_are_one_set_of_predictions(layout, tmp_path, make_models):
    (model, _), _ = make_models(n=63)
    for k in range(3):
        path = tmp_path / "gpt" / "readmission_30d" / layout.format(k)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(model.table.slice(21 * k, 21), path)
    (one,) = read_given([tmp_path / "gpt"])
    assert one.predictions.table.equals(model.table)
    assert (one.predictions.task, one.predictions.model) == ("readmission_30d", "gpt")


def test_shards_of_different_runs_and_one_question_answered_twice_are_refused(tmp_path, make_models):
    (model, _), _ = make_models(n=63)
    for k in range(2):
        write_predictions(tmp_path / "t" / f"{k}.parquet", model.table, "t", "m", {"seed": k})
    with pytest.raises(DataError, match="different tasks, models or runs"):
        read_predictions(tmp_path / "t")
    write_predictions(tmp_path / "t" / "1.parquet", model.table, "t", "m", {"seed": 0})
    with pytest.raises(DataError, match=r"63 of 63 questions .* more than once, 0 of them with both"):
        read_predictions(tmp_path / "t")


@pytest.mark.parametrize("name", ["../../x", "a/b", "x\x1b[2J"])
def test_a_task_that_would_lead_out_of_a_folder_is_refused(name, tmp_path, make_models):
    (model, _), _ = make_models(n=63)
    write_predictions(tmp_path / "p.parquet", model.table, name, "m")
    with pytest.raises(DataError, match=r"p\.parquet: its task has a name that no file can have"):
        read_predictions(tmp_path / "p.parquet")


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        ("predicted_boolean_value", [2] + [1] * 62, "1 of 63 values are neither true nor false"),
        ("boolean_value", [0.5] + [1] * 62, "1 of 63 values are neither true nor false"),
        (COLUMN, ["0.5"] * 63, "expected numbers, found string"),
        (COLUMN, [True] * 63, "expected numbers, found bool"),
    ],
)
def test_what_is_neither_a_decision_nor_a_probability_is_refused_with_counts(
    column, values, says, tmp_path, make_models
):
    (model, _), _ = make_models(n=63)
    k = model.table.schema.get_field_index(column)
    pq.write_table(model.table.set_column(k, column, pa.array(values)), tmp_path / "p.parquet")
    with pytest.raises(DataError, match=says):
        read_predictions(tmp_path / "p.parquet")


def test_a_row_without_a_probability_is_refused(tmp_path, make_models):
    (model, _), _ = make_models(n=63)
    values = model.table[COLUMN].to_pylist()
    values[3] = None
    write_predictions(tmp_path / "p.parquet", with_probabilities(model.table, values), "t", "m")
    with pytest.raises(DataError, match=rf"{COLUMN}: 1 of 63 rows have none"):
        read_predictions(tmp_path / "p.parquet")


@pytest.mark.parametrize("bad", [-0.1, 1.5, float("nan"), float("inf")])
def test_what_is_no_probability_is_refused(tmp_path, make_models, bad):
    (model, _), _ = make_models(n=63)
    values = np.append(model.table[COLUMN].to_numpy()[:-1], bad)
    write_predictions(tmp_path / "p.parquet", with_probabilities(model.table, values), "t", "m")
    with pytest.raises(DataError, match="not between 0 and 1"):
        read_predictions(tmp_path / "p.parquet")


def test_some_decisions_and_some_none_are_refused(tmp_path, make_models):
    (model, _), _ = make_models(n=63)
    values = pa.array([None, *[True] * 62], pa.bool_())
    k = model.table.schema.get_field_index("predicted_boolean_value")
    table = model.table.set_column(k, PREDICTIONS.field(k), values)
    write_predictions(tmp_path / "p.parquet", table, "t", "m")
    with pytest.raises(DataError, match="null in 1 of 63"):
        read_predictions(tmp_path / "p.parquet")


def test_labels_without_predictions_and_broken_files_are_refused(tmp_path, make_models):
    (model, _), _ = make_models(n=63)
    pq.write_table(model.table.select(LABELS.names), tmp_path / "labels.parquet")
    with pytest.raises(DataError, match="63 of 63 rows have none"):
        read_predictions(tmp_path / "labels.parquet")
    (tmp_path / "text.parquet").write_text("subject_id,probability\n")
    with pytest.raises(DataError, match="parquet"):
        read_predictions(tmp_path / "text.parquet")
    with pytest.raises(DataError, match="parquet"):
        read_predictions(tmp_path / "absent.parquet")


def test_a_failed_write_leaves_the_older_file(written):
    model, path = written
    before = path.read_bytes()
    with pytest.raises(DataError):
        write_predictions(path, model.table.drop_columns(["prediction_time"]), "t", "m")
    with pytest.raises(TypeError):
        write_predictions(path, model.table, "t", "m", {"not json": object()})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
