"""Predicting a set without outcomes: ingest with --splits, label --set, train, label --questions, predict."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from chartscan.commands.evaluate import ReportPlan, run_evaluate
from chartscan.commands.ingest import IngestPlan, run_ingest
from chartscan.commands.predict import run_predict
from chartscan.commands.train import run_train
from chartscan.errors import ConfigError, DataError
from chartscan.evaluation import evaluate, read_predictions
from chartscan.labels.files import save_labels, write_labels
from chartscan.labels.making import make_labels
from chartscan.notes import notes_in
from chartscan.schema import PREDICTIONS, TIME
from chartscan.store.dataset import Dataset
from icu import Silent

TASK = "in_hospital_mortality"


def write_sets(folder):
    """120 stays with outcomes in set a, 20 without in set b; the heart rate tells them."""
    rng = np.random.default_rng(0)
    rows = ["RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death"]
    for number in range(140):
        died, name = int(rng.random() < 0.4), "a" if number < 120 else "b"
        lines = ["Time,Parameter,Value", f"00:00,RecordID,{number}", "00:00,Age,50"]
        lines += [f"{h:02}:30,HR,{rng.normal(70 + 40 * died, 20):.0f}" for h in range(0, 48, 6)]
        (folder / f"set-{name}").mkdir(parents=True, exist_ok=True)
        (folder / f"set-{name}" / f"{number}.txt").write_text("\n".join(lines))
        rows += [f"{number},1,1,1,1,{died}"] if name == "a" else []
    (folder / "Outcomes-a.txt").write_text("\n".join(rows))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with the dataset, labels and questions at 48 hours, and a model trained on set a."""
    root = tmp_path_factory.mktemp("questions")
    write_sets(root / "sets")
    splits = "train=a:0.6,tuning=a:0.4,held_out=b"
    plan = IngestPlan("physionet2012", root / "sets", root / "data", [], [], splits=splits)
    dataset, _ = run_ingest(plan, Silent())
    for name, questions in (("labels", False), ("questions", True)):
        found = make_labels(dataset, [TASK], Silent(), ["hours=48"], questions)
        save_labels(found, root / f"{name}.parquet", as_folder=False, questions=questions)
    run_train("logistic", root / "data", root / "model", root / "labels.parquet", [], Silent())
    return root


def predictions(made, labels, split):
    out = made / f"{labels}-{split}.parquet"
    list(run_predict(made / "model", made / "data", made / f"{labels}.parquet", out, split, 1, Silent()))
    return out


def test_settings_of_a_task_move_the_prediction_and_are_noted(made):
    labels = pq.read_table(made / "labels.parquet")
    assert {str(t) for t in labels["prediction_time"].to_pylist()} == {"2012-01-03 00:00:00"}
    assert labels.num_rows == 120
    assert b'"hours":48' in labels.schema.metadata[b"chartscan.cohort"]


def test_settings_of_a_task_need_one_task_and_a_right_name(made):
    from chartscan.store.dataset import Dataset

    dataset = Dataset.open(made / "data")
    with pytest.raises(ConfigError, match="Name one task, not 'all'"):
        make_labels(dataset, None, Silent(), ["hours=48"])
    with pytest.raises(ConfigError, match="Did you mean 'hours'"):
        make_labels(dataset, [TASK], Silent(), ["hour=48"])


def test_stays_without_outcomes_are_predicted(made):
    table = pq.read_table(predictions(made, "questions", "held_out"))
    assert table.schema.remove_metadata() == PREDICTIONS
    assert table["subject_id"].to_pylist() == list(range(120, 140))
    assert table["boolean_value"].null_count == 20
    assert table["predicted_boolean_probability"].null_count == 0
    assert len(set(table["predicted_boolean_probability"].to_pylist())) > 1


def test_the_answers_do_not_depend_on_knowing_the_outcome(made):
    asked = pq.read_table(predictions(made, "questions", "tuning"))
    known = pq.read_table(predictions(made, "labels", "tuning"))
    columns = [name for name in PREDICTIONS.names if name != "boolean_value"]
    assert asked.select(columns).equals(known.select(columns))
    assert known["boolean_value"].null_count == 0


def test_predictions_without_outcomes_cannot_be_evaluated(made):
    file = predictions(made, "questions", "held_out")
    says = r"in_hospital_mortality, .*: 20 of 20 predictions have no outcome"
    with pytest.raises(DataError, match=says):
        evaluate([read_predictions(file)])
    with pytest.raises(DataError, match=says):
        run_evaluate(ReportPlan([file], made / "report", data=made / "data"), Silent())
    assert not (made / "report").exists()


def test_labels_without_any_row_are_refused_with_what_their_counts_tell(made, tmp_path):
    path = tmp_path / "labels.parquet"
    table, counts = next(iter(make_labels(Dataset.open(made / "data"), [TASK], Silent()).values()))
    write_labels(path, table.slice(0, 0), TASK, counts)
    told = rf"labels\.parquet: contains no rows.*{counts.index_stays:,} stays.*chartscan label"
    with pytest.raises(DataError, match=told):
        list(run_predict(made / "model", made / "data", path, tmp_path / "p", "held_out", 1, Silent()))
    with pytest.raises(DataError, match=told):
        run_train("logistic", made / "data", tmp_path / "run", path, [], Silent())
    pq.write_table(table.slice(0, 0), path)  # of another tool
    with pytest.raises(
        DataError, match=r"labels\.parquet: contains no rows, so nothing can be predicted\. Name"
    ):
        list(run_predict(made / "model", made / "data", path, tmp_path / "p", "held_out", 1, Silent()))
    assert [one.name for one in tmp_path.iterdir()] == ["labels.parquet"]


def test_a_model_cannot_be_trained_on_questions(made):
    with pytest.raises(DataError, match="Questions without answers can be predicted"):
        run_train("logistic", made / "data", made / "none", made / "questions.parquet", [], Silent())


def test_a_task_asked_with_other_settings_than_it_was_learned_with_is_told(made):
    from chartscan.store.dataset import Dataset

    asked = made / "questions-24.parquet"
    found = make_labels(Dataset.open(made / "data"), [TASK], Silent(), ["hours=24"], questions=True)
    save_labels(found, asked, as_folder=False, questions=True)
    out = made / "other.parquet"
    notes = notes_of(made, asked, out)
    assert "Asked with hours=24.0 (learned: 48.0)" in notes["other_settings"]
    assert (
        "20 of 20 questions are not asked when the model learned to answer, 48 hours after admission"
        in (notes["other_moments"])
    )
    assert "20 are too early (in the median by 24.0 hours)" in notes["other_moments"]
    same = notes_of(made, made / "questions.parquet", out)
    assert not {"other_settings", "other_moments"} & set(same)


def notes_of(made, asked, out):
    """The notes of predictions, by code: in their metadata, and as they were shown."""
    watcher = Silent()
    list(run_predict(made / "model", made / "data", asked, out, "held_out", 1, watcher))
    found = notes_in(read_predictions(out).run)
    assert watcher.said == [str(note) for note in found]
    return {note.code: note.text for note in found}


def test_questions_of_another_tool_are_compared_with_the_learned_time(made):
    table = pq.read_table(made / "questions.parquet").replace_schema_metadata()
    early = pc.subtract(table["prediction_time"], pa.scalar(timedelta(hours=47.5), pa.duration("us")))
    moved = table.set_column(1, table.schema.field(1), early.cast(TIME))
    mixed = pa.concat_tables([table.slice(0, 130), moved.slice(130)])
    folder = made / "other tool"
    folder.mkdir()
    pq.write_table(mixed, folder / f"{TASK}.parquet")
    notes = notes_of(made, folder / f"{TASK}.parquet", made / "other-tool.parquet")
    assert notes["other_moments"].startswith("10 of 20 questions are not asked when")
    assert "10 are too early (in the median by 47.5 hours)" in notes["other_moments"]
