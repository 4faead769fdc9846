"""Cohort counts, LABELS tables, and LABELS files."""

from datetime import datetime, timedelta

import meds
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chartscan.cohort import absent, excluded, label_subjects
from chartscan.cohort.labelling import Outcome, Tally
from chartscan.errors import DataError
from chartscan.find import find, names
from chartscan.labels.files import read_labels, write_labels
from chartscan.notes import Notes
from chartscan.schema import LABELS, QUESTIONS, TIME, Counts

T0 = datetime(2150, 1, 1)
DAY = timedelta(days=1)
CODES = ["ICD10CM//I10", "ICD10CM//E871", "ICD10CM//E785", "ICD10CM//J18"]
NEVER_ENDING = {"rule": "export_time", "time": "2190-01-01"}


def subject(subject_id, rng):
    """A subject with one to four stays of one to twenty days, an outpatient code, perhaps a death."""
    rows, now = [], T0 + int(rng.integers(1000)) * DAY
    for number in range(rng.integers(1, 5)):
        end = now + rng.uniform(0.2, 20) * DAY
        rows.append((now, "HOSPITAL_ADMISSION//EW", "admission", f"{number}"))
        disposition = "EXPIRED" if rng.random() < 0.05 else "HOME"
        rows.append((end, f"HOSPITAL_DISCHARGE//{disposition}", "discharge", f"{number}"))
        rows.append((end, CODES[rng.integers(len(CODES))], "diagnosis", None))
        now = end + rng.uniform(1, 120) * DAY
    if rng.random() < 0.3:
        rows.append((now, "MEDS_DEATH", "death", None))
    columns = zip(*rows, strict=True)
    types = [TIME, pa.string(), pa.string(), pa.string()]
    arrays = [pa.array(c, t) for c, t in zip(columns, types, strict=True)]
    ids = pa.array([subject_id] * len(rows), pa.int64())
    names = ["subject_id", "time", "code", "event_type", "encounter_id", "available_time"]
    return subject_id, pa.table([ids, *arrays, arrays[0]], names=names)


@pytest.fixture(scope="module")
def labelled():
    rng = np.random.default_rng(1)
    tasks = {name: find("tasks", name) for name in names("tasks")}
    return label_subjects([subject(i, rng) for i in range(200)], tasks, NEVER_ENDING)


def test_counts_add_up_and_agree_with_the_labels(labelled):
    for table, counts in labelled.values():
        assert counts.positive == sum(table["boolean_value"].to_pylist()) > 0
        assert counts.positive + counts.negative == table.num_rows
        assert counts.index_stays == table.num_rows + sum(counts.excluded.values()) + sum(
            counts.absent.values()
        )
        assert counts.subjects_labelled == len(set(table["subject_id"].to_pylist()))
        assert counts.subjects == 200
        assert counts.settings["follow_up"]["rule"] == "export_time"


def test_counts_that_do_not_add_up_are_refused():
    with pytest.raises(ValueError, match="add up"):
        Counts(subjects=1, index_stays=2, eligible=1, positive=1)
    with pytest.raises(ValueError, match="add up"):
        Counts(subjects=1, index_stays=1, eligible=1)
    with pytest.raises(ValueError, match="add up"):
        Counts(subjects=1, subjects_labelled=1)


def test_every_outcome_is_counted_with_its_reason():
    tally = Tally()
    tally.add(
        [Outcome(T0, True), Outcome(T0, False, flags=("odd",)), absent(T0, "why"), excluded(None, "no")], 2
    )
    tally.add([])
    counts = tally.counts({})
    assert (counts.index_stays, counts.eligible, counts.positive, counts.negative) == (4, 3, 1, 1)
    assert (counts.absent, counts.excluded) == ({"why": 1}, {"no": 1})
    assert counts.flags == {"odd": 1, "encounter end without a start": 2}
    assert (counts.subjects, counts.subjects_with_stay, counts.subjects_labelled) == (2, 1, 1)


def test_labels_are_valid_meds_and_come_back_as_written(labelled, tmp_path):
    for task, (table, counts) in labelled.items():
        meds.LabelSchema.validate(table.replace_schema_metadata(None))
        path = tmp_path / "labels" / f"{task}.parquet"
        write_labels(path, table, task, counts)
        meds.LabelSchema.validate(pq.read_table(path).replace_schema_metadata(None))
        back, name, stored = read_labels(path)
        assert (back, name, stored) == (table, task, counts)


def test_no_labels_is_a_valid_file(tmp_path):
    write_labels(tmp_path / "none.parquet", LABELS.empty_table(), "none", Counts())
    assert read_labels(tmp_path / "none.parquet") == (LABELS.empty_table(), "none", Counts())


def test_a_failed_write_leaves_the_old_file(labelled, tmp_path):
    path = tmp_path / "t.parquet"
    table, counts = labelled["readmission_30d"]
    write_labels(path, table, "readmission_30d", counts)
    before = path.read_bytes()
    with pytest.raises(DataError):
        write_labels(path, table.drop_columns("boolean_value"), "readmission_30d", counts)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture(scope="module")
def followed_briefly():
    """Labels and questions of subjects of whom little is known after the last discharge."""
    rng = np.random.default_rng(1)
    tasks, rule = {n: find("tasks", n) for n in names("tasks")}, {"rule": "days_after_last_event", "days": 0}
    subjects = [subject(i, rng) for i in range(60)]
    return label_subjects(subjects, tasks, rule), label_subjects(subjects, tasks, rule, questions=True)


def test_questions_are_every_eligible_stay_and_labels_those_whose_answer_is_known(followed_briefly):
    absent_somewhere = 0
    for task, (labels, counts) in followed_briefly[0].items():
        questions, same_counts = followed_briefly[1][task]
        assert same_counts == counts
        assert questions.schema == QUESTIONS
        assert questions.num_rows == counts.eligible
        keys = [(r["subject_id"], r["prediction_time"]) for r in questions.to_pylist()]
        known = [(r["subject_id"], r["prediction_time"]) for r in labels.to_pylist()]
        assert set(known) <= set(keys)
        assert [k for k in keys if k in set(known)] == known
        absent_somewhere += len(keys) - len(known)
    assert absent_somewhere > 0


def test_questions_come_back_as_written_where_they_are_welcome_and_are_refused_elsewhere(
    followed_briefly, tmp_path
):
    questions, counts = followed_briefly[1]["readmission_30d"]
    path = tmp_path / "q.parquet"
    write_labels(path, questions, "readmission_30d", counts, questions=True)
    assert read_labels(path, questions=True) == (questions, "readmission_30d", counts)
    with pytest.raises(
        DataError, match=r"q\.parquet: missing columns \['boolean_value'\].*without --questions"
    ):
        read_labels(path)
    with pytest.raises(DataError):  # answers are never written among questions
        write_labels(
            path, followed_briefly[0]["readmission_30d"][0], "readmission_30d", counts, questions=True
        )


def test_labels_stay_labels_where_questions_are_welcome(labelled, tmp_path):
    table, counts = labelled["readmission_30d"]
    write_labels(tmp_path / "l.parquet", table, "readmission_30d", counts)
    assert read_labels(tmp_path / "l.parquet", questions=True) == (table, "readmission_30d", counts)


def test_labels_that_are_null_throughout_are_questions_where_those_are_welcome(tmp_path):
    pq.write_table(foreign([None, None]), tmp_path / "0.parquet")
    assert read_labels(tmp_path, questions=True)[0].schema == QUESTIONS
    pq.write_table(foreign([None], first=2), tmp_path / "1.parquet")
    assert read_labels(tmp_path, questions=True)[0].num_rows == 3


def test_rows_without_a_value_are_unknown_left_out_and_noted_in_whichever_shard_they_stand(tmp_path):
    pq.write_table(foreign([None, None]), tmp_path / "0.parquet")
    pq.write_table(foreign([True, None], first=2), tmp_path / "1.parquet")
    pq.write_table(foreign([False], first=4).drop_columns("boolean_value"), tmp_path / "2.parquet")
    for questions in (False, True):
        notes = Notes()
        table, task, _ = read_labels(tmp_path, questions, notes)
        assert table.to_pylist() == [{"subject_id": 2, "prediction_time": T0, "boolean_value": True}]
        assert [(note.code, note.where) for note in notes] == [("label_unknown", task)]
        assert "4 of 5 rows" in next(iter(notes)).text


def foreign(values, first=0, **columns):
    """A label table as es-aces writes it: every value column, the unused ones null throughout."""
    n = len(values)
    table = {
        "subject_id": pa.array(range(first, first + n), pa.int64()),
        "prediction_time": pa.array([T0] * n, TIME),
        "boolean_value": pa.array(values, pa.bool_()),
        "integer_value": pa.nulls(n, pa.int64()),
        "float_value": pa.nulls(n, pa.float64()),
        "categorical_value": pa.nulls(n, pa.string()),
    }
    return pa.table(table | columns)


def test_null_columns_of_other_tools_are_dropped_and_a_folder_is_read_whole(tmp_path):
    folder = tmp_path / "my_task" / "train"
    folder.mkdir(parents=True)
    pq.write_table(foreign([True, False]), folder / "0.parquet")
    pq.write_table(foreign([True], first=2), folder / "1.parquet")
    table, task, counts = read_labels(tmp_path / "my_task")
    assert table["boolean_value"].to_pylist() == [True, False, True]
    assert table.schema == LABELS
    assert (task, counts) == ("my_task", None)


NO_BOOLEAN = foreign([None, None])


def numbers(*values, name="boolean_value", kind=None):
    """Labels in which the column `name` holds `values`."""
    return foreign([None] * len(values)).drop_columns(name).append_column(name, pa.array(values, kind))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (NO_BOOLEAN, "null throughout"),
        (foreign([True]).drop_columns("boolean_value"), "missing columns"),
        (numbers(0, 1, 2), "boolean_value: 1 of 3 values are neither true nor false"),
        (numbers(0.0, 0.5, None), "boolean_value: 1 of 3 values"),
        (numbers(0.0, float("nan")), "boolean_value: 1 of 2 values"),
        (numbers(1, -1, name="integer_value"), "integer_value: 1 of 2 values"),
        (numbers("true", "false"), "boolean_value: 2 of 2 values"),
        (numbers("a", None, name="categorical_value"), "categorical_value: 1 of 2 values"),
        (foreign([True]).drop_columns("subject_id"), r"missing columns \['subject_id'\]"),
        (foreign([True]).append_column("subject_id", pa.array([1])), "given twice"),
        (foreign([True], subject_id=pa.array(["12"])), "expected whole numbers"),
        (foreign([True], subject_id=pa.array([1.5])), "expected whole numbers"),
        (foreign([True], subject_id=pa.array([2**63], pa.uint64())), "expected whole numbers"),
        (foreign([True, True], subject_id=pa.array([1, None], pa.int64())), "1 null values"),
        (foreign([True, True], prediction_time=pa.array([T0, None], TIME)), "1 null values"),
        (foreign([True], prediction_time=pa.array([T0.date()])), "expected a timestamp, found date32"),
        (foreign([True], prediction_time=pa.array([10**15])), "expected a timestamp, found int64"),
        (foreign([True], prediction_time=pa.array(["2150-01-01"])), "expected a timestamp, found string"),
        (foreign([True], prediction_time=pa.array([10**15], pa.timestamp("s"))), "out of range"),
    ],
)
def test_what_is_no_boolean_label_of_a_subject_at_an_instant_is_refused_by_file(table, message, tmp_path):
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(DataError, match=rf"x\.parquet.*{message}"):
        read_labels(tmp_path / "x.parquet")


@pytest.mark.parametrize(
    ("table", "code"),
    [
        (numbers(0, 1, None), "label_numbers"),
        (numbers(0.0, 1.0, None, name="float_value"), "label_numbers"),
        (numbers(0, 1, None, name="integer_value", kind=pa.int8()), "label_numbers"),
        (foreign([False, True, None], integer_value=pa.array([3, 4, 5])), "unused_columns"),
        (foreign([False, True, None], window_end=pa.array([T0] * 3)), "unused_columns"),
        (foreign([False, True, None], note=pa.array(["\x1b[2J"] * 3)), "unused_columns"),
        (foreign([False, True, None], subject_id=pa.array([0, 1, 2], pa.int32())), None),
        (foreign([False, True, None], subject_id=pa.array([0.0, 1.0, 2.0])), None),
    ],
)
def test_labels_of_other_tools_are_taken_and_what_is_read_otherwise_is_noted(table, code, tmp_path):
    pq.write_table(table, tmp_path / "x.parquet")
    notes = Notes()
    found = read_labels(tmp_path / "x.parquet", notes=notes)[0]
    assert found.schema == LABELS
    assert found["boolean_value"].to_pylist() == [False, True]
    assert {note.code for note in notes} == {code, "label_unknown"} - {None}


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Vienna", "+05:30"])
def test_every_resolution_and_zone_of_a_timestamp_gives_the_same_utc_instant(unit, zone, tmp_path):
    instants = [datetime(1969, 7, 20, 20, 17, 40), datetime(2150, 1, 1, 12)]
    times = pa.array(instants, pa.timestamp(unit)).cast(pa.timestamp(unit, zone))
    pq.write_table(foreign([True, False], prediction_time=times), tmp_path / "x.parquet")
    assert read_labels(tmp_path / "x.parquet")[0]["prediction_time"].to_pylist() == instants


def test_nanoseconds_are_rounded_down_before_1970_too(tmp_path):
    times = pa.array([-1500, -1, 999, 1001], pa.timestamp("ns"))
    pq.write_table(foreign([True] * 4, prediction_time=times), tmp_path / "x.parquet")
    found = read_labels(tmp_path / "x.parquet")[0]["prediction_time"]
    assert found.cast(pa.int64()).to_pylist() == [-2, -1, 0, 1]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([True, True], "1 of 2 questions .* more than once, 0 of them with both answers"),
        ([True, False], "1 of 2 questions .* more than once, 1 of them with both answers"),
        ([None, None], "1 of 2 questions"),
    ],
)
@pytest.mark.parametrize("shards", [1, 2])
def test_one_question_that_stands_there_twice_is_refused_with_counts(values, says, shards, tmp_path):
    tables = [foreign([values[0], True]), foreign([values[1]])]
    if None in values:
        tables = [table.drop_columns("boolean_value") for table in tables]
    if shards == 1:
        tables = [pa.concat_tables(tables)]
    for number, table in enumerate(tables):
        pq.write_table(table, tmp_path / f"{number}.parquet")
    with pytest.raises(DataError, match=says):
        read_labels(tmp_path, questions=True)


def test_the_name_of_a_task_never_leads_out_of_its_folder(labelled, tmp_path):
    table, counts = labelled["readmission_30d"]
    for name in ("../../x", "/tmp/x", "a\\b", "x\n"):
        write_labels(tmp_path / "l.parquet", table, name, counts)
        with pytest.raises(DataError, match=r"l\.parquet: its task has a name that no file can have"):
            read_labels(tmp_path / "l.parquet")


def test_files_of_several_tasks_and_no_files_and_no_parquet_are_refused(labelled, tmp_path):
    with pytest.raises(DataError, match="no labels found"):
        read_labels(tmp_path)
    for task in ("readmission_30d", "long_stay_7d"):
        write_labels(tmp_path / f"{task}.parquet", *labelled[task][:1], task, labelled[task][1])
    with pytest.raises(DataError, match="several tasks"):
        read_labels(tmp_path)
    (tmp_path / "text.parquet").write_text("subject_id,time")
    with pytest.raises(DataError, match="cannot be read"):
        read_labels(tmp_path / "text.parquet")
