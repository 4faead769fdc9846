"""Labels are checked against the dataset that they are used with, wherever they are read."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chartscan.commands.evaluate import ReportPlan, run_evaluate
from chartscan.commands.predict import run_predict
from chartscan.commands.train import run_train
from chartscan.errors import ConfigError, DataError
from chartscan.labels.belonging import check_rows
from chartscan.notes import Notes
from chartscan.schema import EVENTS, LABELS
from chartscan.store.config import DaysAfterLastEvent, StoreConfig
from chartscan.store.dataset import Dataset
from chartscan.store.writer import DatasetWriter
from icu import ADMITTED, TASK, Silent, labels, make_icu

HOUR = timedelta(hours=1)


def event(subject, hour, event_type, code="X", known=None):
    row = dict.fromkeys(EVENTS.names) | {"subject_id": subject, "code": code, "event_type": event_type}
    time = None if hour is None else ADMITTED + hour * HOUR
    return row | {"time": time, "available_time": time if known is None else ADMITTED + known * HOUR}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Subjects 1 to 3 are watched until hour 100; 2 dies at hour 50; of 3 a laboratory result comes late."""
    rows = [event(n, -10_000, "birth", "MEDS_BIRTH") for n in (1, 2, 3)]
    rows += [
        event(1, 0, "admission"),
        event(1, 100, "vital"),
        event(2, 0, "admission"),
        event(2, 100, "vital"),
    ]
    rows += [event(2, 50, "death", "MEDS_DEATH"), event(3, 0, "lab", known=30), event(3, 100, "vital")]
    rows += [event(3, 200, "outcome"), event(4, None, "static")]
    out = tmp_path_factory.mktemp("plausible") / "data"
    config = StoreConfig(follow_up=DaysAfterLastEvent(days=1))
    with DatasetWriter(out, source="test", config=config) as writer:
        writer.write(pa.Table.from_pylist(rows, schema=EVENTS))
    return Dataset.open(out)


def asked(*rows):
    subjects, hours = zip(*rows, strict=True)
    times = [ADMITTED + hour * HOUR for hour in hours]
    return pa.Table.from_pydict(
        {"subject_id": subjects, "prediction_time": times, "boolean_value": [True] * len(rows)}, schema=LABELS
    )


def noted(dataset, *rows):
    notes = Notes()
    check_rows({"t": asked(*rows)}, dataset, notes)
    return {note.code: note.text for note in notes}


def test_rows_that_fit_are_not_noted(dataset):
    assert noted(dataset, (1, 0), (1, 124), (2, 50), (3, 30)) == {}


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ((99, 0), "labels_of_strangers"),
        ((1, -1), "labels_before_first_event"),
        ((1, -9_000), "labels_before_first_event"),  # a birth is no history
        ((3, 29), "labels_before_first_event"),  # its result was not known yet
        ((4, 0), "labels_before_first_event"),  # nothing but facts without a time
        ((2, 51), "labels_after_death"),
        ((1, 125), "labels_after_follow_up"),
        ((3, 199), "labels_after_follow_up"),  # the time of an outcome is nominal
    ],
)
def test_each_kind_of_row_that_does_not_fit_is_counted(dataset, row, code):
    found = noted(dataset, (1, 24), row)
    assert list(found) == [code]
    assert found[code].startswith("1 of 2 rows")


def test_a_task_without_any_history_is_refused_and_empty_labels_are_not(dataset):
    says = r"t: all 3 histories are empty: 1 rows are of subjects that are not in .*, and 2 are before"
    with pytest.raises(DataError, match=says):
        noted(dataset, (99, 0), (1, -1), (4, 0))
    check_rows({"t": asked((1, 0)).slice(0, 0)}, dataset, Notes())
    with pytest.raises(DataError, match="u: all 1 histories"):
        check_rows({"t": asked((1, 0)), "u": asked((99, 0))}, dataset, Notes())


@pytest.fixture(scope="module")
def icu(tmp_path_factory):
    """A dataset, labels as another tool writes them (shards, a row of a stranger), and a model of them."""
    root = tmp_path_factory.mktemp("icu")
    dataset = make_icu(root / "data")
    table = labels()[TASK][0]
    stranger = table.slice(0, 1).set_column(0, "subject_id", pa.array([9999], pa.int64())).cast(LABELS)
    whole = pa.concat_tables([table, stranger]).append_column("note", pa.array(["x"] * (len(table) + 1)))
    (root / TASK / "train").mkdir(parents=True)
    pq.write_table(whole.slice(0, 100), root / TASK / "train" / "0.parquet")
    pq.write_table(whole.slice(100), root / TASK / "train" / "1.parquet")
    watcher = Silent()
    run_train("xgboost-summary", dataset.path, root / "model", root / TASK, [], watcher)
    return root, watcher.said


def test_labels_of_another_tool_teach_a_model_and_what_does_not_fit_is_said(icu):
    _, said = icu
    assert any("1 of 161 rows are of subjects that are not" in line for line in said)
    assert any("'note'" in line for line in said)


@pytest.mark.parametrize("split", ["held_out", "all"])
def test_strangers_are_noted_and_not_predicted(icu, split, tmp_path):
    root, _ = icu
    watcher, out = Silent(), tmp_path / "p.parquet"
    list(run_predict(root / "model", root / "data", root / TASK / "train", tmp_path / "p", split, 1, watcher))
    found = sorted(tmp_path.rglob("*.parquet"))
    assert [f.name for f in found] == [f"{TASK}.parquet"]
    assert 9999 not in pq.read_table(found[0])["subject_id"].to_pylist()
    assert any("not in the dataset" in line for line in watcher.said)
    assert not out.exists()
    watcher = Silent()
    run_evaluate(ReportPlan([found[0]], tmp_path / "r", data=root / "data", bootstrap=2), watcher)
    assert not any("rows" in line for line in watcher.said)


def test_labels_with_times_of_another_unit_are_refused_before_any_training(icu, tmp_path):
    root, _ = icu
    table = labels()[TASK][0]
    wrong = (table["prediction_time"].cast(pa.int64()).to_numpy() // 1000).astype(np.int64)
    wrong = pa.array(wrong).cast(pa.timestamp("us"))
    pq.write_table(table.set_column(1, "prediction_time", wrong), tmp_path / "l.parquet")
    for split in ("held_out", "all"):
        with pytest.raises(DataError, match="all 160 histories are empty"):
            list(run_predict(root / "model", root / "data", tmp_path / "l.parquet", tmp_path / "p.parquet",
                             split, 1, Silent()))  # fmt: skip
    with pytest.raises((DataError, ConfigError), match="all 160 histories are empty"):
        run_train("xgboost-summary", root / "data", tmp_path / "m", tmp_path / "l.parquet", [], Silent())
    assert not (tmp_path / "m").exists()
    assert not (tmp_path / "m.work").exists()
