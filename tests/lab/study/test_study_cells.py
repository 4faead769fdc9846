"""Cells: who is in them, that none is done twice, and that what was cut short goes on."""

import shutil

import numpy as np
import pytest
from fake_trainer import ZERO, FakeDataset, FakeTrainer, Quiet, labels_of

from chartscan.errors import ConfigError, DataError
from chartscan.evaluation import read_predictions
from chartscan_lab.study._cells import Pace, Place, StudyData, cells_of, finished, run_cells
from chartscan_lab.study._rows import Row, chosen, subjects_of
from chartscan_lab.study._time_zero import asked_at, time_zeros

ROWS = [Row(name="trees", recipe="trees"), Row(name="net", recipe="net", settings=("skill=2",))]


def place_at(folder, trainer=None, **changes):
    labels = {"death": labels_of(FakeDataset().subject_ids())}
    data = StudyData(FakeDataset(), labels, trainer or FakeTrainer())
    return Place(out=folder, watcher=Quiet(), seeds=2, data=data, **changes)


def moved_to(labels, hours):
    return asked_at(labels, time_zeros(FakeDataset(), labels), hours)


def test_a_finished_cell_is_never_done_again(tmp_path):
    place = place_at(tmp_path)
    cells = cells_of(ROWS, place)
    run_cells(cells, place)
    assert len(place.data.trainer.trained) == 4
    before = [(cell.answers / "death.parquet").read_bytes() for cell in cells]
    again = place_at(tmp_path)
    run_cells(cells_of(ROWS, again), again)
    assert not again.data.trainer.trained
    assert not again.data.trainer.asked
    assert [(cell.answers / "death.parquet").read_bytes() for cell in cells] == before
    assert again.watcher.said == ["4 of 4 cells are finished already"]


def test_an_interrupted_study_goes_on_where_it_was(tmp_path):
    broken = place_at(tmp_path, FakeTrainer(stop_at=2))
    with pytest.raises(KeyboardInterrupt):
        run_cells(cells_of(ROWS, broken), broken)
    place = place_at(tmp_path, resume=True)
    run_cells(cells_of(ROWS, place), place)
    assert place.data.trainer.resumed == [True, False]
    assert len(finished(cells_of(ROWS, place), "death")) == 4


def test_a_cell_that_was_trained_but_not_asked_is_only_asked(tmp_path):
    place = place_at(tmp_path)
    cells = cells_of(ROWS, place)
    run_cells(cells, place)
    shutil.rmtree(cells[1].answers)
    again = place_at(tmp_path)
    run_cells(cells_of(ROWS, again), again)
    assert not again.data.trainer.trained
    assert again.data.trainer.asked == 1


def test_rows_of_one_training_share_it(tmp_path):
    rows = [Row(name=f"{h} h", recipe="net", hours=h) for h in (6, 24, 48)]
    place = place_at(tmp_path)
    cells = cells_of(rows, place)
    run_cells(cells, place)
    assert len(place.data.trainer.trained) == 2
    assert place.data.trainer.asked == 6
    assert len({cell.answers for cell in cells}) == 6


SHARING = [
    Row(name=name, recipe=name, settings=("family=bird",), shared_pretraining=True)
    for name in ("bigbird", "multibird")
]


def test_rows_that_share_their_pretraining_are_pretrained_once_a_seed(tmp_path):
    place = place_at(tmp_path)
    cells = cells_of(SHARING, place)
    run_cells(cells, place)
    trainer = place.data.trainer
    bodies = [one.recipe.seed for one in trainer.trained if one.recipe.name == "bird body"]
    assert bodies == [0, 1]
    starts = [start for start in trainer.starts if start]
    assert len(starts) == 4
    assert starts[0] == starts[1] != starts[2] == starts[3]
    run = read_predictions(cells[1].answers / "death.parquet").run
    assert run["seconds_per_epoch"] == {"pretraining": 2.0, "fine-tuning": 2.0}
    alone = cells_of([Row(name="own", recipe="bigbird", settings=("family=bird",))], place)[0]
    assert alone.training.body is None
    assert alone.artifact != cells[0].artifact


def test_a_pretraining_that_was_cut_short_goes_on_and_is_shared_all_the_same(tmp_path):
    broken = place_at(tmp_path, FakeTrainer(stop_at=0))
    with pytest.raises(KeyboardInterrupt):
        run_cells(cells_of(SHARING, broken), broken)
    place = place_at(tmp_path, resume=True)
    run_cells(cells_of(SHARING, place), place)
    assert place.data.trainer.resumed == [True, *[False] * 5]
    assert [one.recipe.name for one in place.data.trainer.trained[:3]] == [
        "bird body",
        "bigbird",
        "multibird",
    ]


def test_other_labels_give_another_body_and_another_cell(tmp_path):
    place = place_at(tmp_path)
    labels = {"death": labels_of(FakeDataset().subject_ids(), seed=1)}
    other = Place(tmp_path, Quiet(), 2, data=StudyData(FakeDataset(), labels, FakeTrainer()))
    renamed = Place(
        tmp_path, Quiet(), 2, data=StudyData(FakeDataset(), {"x": labels["death"]}, FakeTrainer())
    )
    assert len({cells_of(SHARING, one)[0].artifact for one in (place, other, renamed)}) == 3


def test_several_tasks_are_answered_by_one_training_and_kept_apart(tmp_path):
    ids = FakeDataset().subject_ids()
    labels = {"death": labels_of(ids), "stay": labels_of(ids, hours=24, seed=1)}
    data = StudyData(FakeDataset(), labels, FakeTrainer(unlearned=("stay",)))
    place = Place(tmp_path, Quiet(), 1, data=data)
    cells = cells_of(ROWS, place)
    run_cells(cells, place)
    assert len(finished(cells, "death")) == 2
    assert finished(cells, "stay") == []  # not learned: no answer, and not asked again
    run_cells(cells, place)
    assert place.data.trainer.asked == 2


def test_the_facts_of_a_training_travel_with_its_answers(tmp_path):
    place = place_at(tmp_path)
    cells = cells_of(ROWS, place)
    run_cells(cells, place)
    run = read_predictions(cells[2].answers / "death.parquet").run
    assert run["parameters"] == 1000
    assert run["seconds_per_epoch"] == {"fine-tuning": 3.0}
    assert run["training_seconds"] >= 0
    assert run["seed"] == 1


def test_everyone_is_asked_about_held_out_and_taught_by_others(tmp_path):
    place = place_at(tmp_path)
    rows = [
        Row(name="own", recipe="net"),
        Row(name="few", recipe="net", train_subjects=30),
        Row(name="pooled", recipe="net", pooled=True),
    ]
    for cell in cells_of(rows, place):
        teach = np.concatenate([cell.training.subjects[split] for split in ("train", "tuning")])
        asked = cell.asked["death"]["subject_id"].to_numpy()
        assert len(asked)
        assert not np.isin(asked, teach).any()
        assert len(teach) == len(np.unique(teach))


def test_smaller_sets_of_subjects_are_part_of_larger_ones_and_differ_by_seed():
    dataset = FakeDataset()
    few, more, other = (
        subjects_of(dataset, Row(name="r", recipe="net", train_subjects=n), seed)
        for n, seed in ((15, 0), (30, 0), (15, 1))
    )
    assert np.isin(few["train"], more["train"]).all()
    assert len(few["train"]) == 15
    assert len(few["tuning"]) == 5
    assert not np.array_equal(few["train"], other["train"])
    assert np.array_equal(few["held_out"], dataset.subject_ids("held_out"))


def test_a_pooled_split_is_of_everybody_and_the_same_for_every_row():
    dataset = FakeDataset()
    rows = [Row(name=name, recipe=name, pooled=True) for name in ("a", "b")]
    one, other = (subjects_of(dataset, row, 3) for row in rows)
    assert all(np.array_equal(one[split], other[split]) for split in one)
    assert np.array_equal(np.sort(np.concatenate(list(one.values()))), dataset.subject_ids())
    assert [len(one[split]) for split in ("train", "tuning", "held_out")] == [90, 22, 28]


def test_a_new_cut_of_train_and_tuning_leaves_held_out_as_it_is_and_differs_by_seed():
    dataset, row = FakeDataset(), Row(name="r", recipe="net", tuning_share=0.1)
    own = {split: dataset.subject_ids(split) for split in ("train", "tuning", "held_out")}
    pool = np.sort(np.concatenate([own["train"], own["tuning"]]))
    cuts = [subjects_of(dataset, row, seed) for seed in (0, 0, 1)]
    for cut in cuts:
        assert np.array_equal(np.sort(np.concatenate([cut["train"], cut["tuning"]])), pool)
        assert np.array_equal(cut["held_out"], own["held_out"])
        assert len(cut["tuning"]) == round(0.1 * len(pool))
    assert np.array_equal(cuts[0]["tuning"], cuts[1]["tuning"])
    assert not np.array_equal(cuts[0]["tuning"], cuts[2]["tuning"])


def test_more_subjects_than_there_are_is_refused():
    with pytest.raises(DataError, match="wants 61 train subjects and the split has 60"):
        subjects_of(FakeDataset(), Row(name="r", recipe="net", train_subjects=61), 0)


def test_only_names_rows_and_a_wrong_name_is_answered_with_the_nearest():
    assert [row.name for row in chosen(ROWS, ["net"])] == ["net"]
    assert chosen(ROWS, []) == ROWS
    with pytest.raises(ConfigError, match="Did you mean 'trees'"):
        chosen(ROWS, ["tress"])


def test_other_hours_move_the_prediction_and_nothing_else():
    labels = labels_of(range(180, 190), hours=48)
    moved = moved_to(labels, 6)
    assert {(time - ZERO).total_seconds() for time in moved["prediction_time"].to_pylist()} == {6 * 3600}
    assert moved["subject_id"].equals(labels["subject_id"])
    assert moved["boolean_value"].equals(labels["boolean_value"])
    assert moved_to(labels, 48).equals(labels)


def test_an_hour_after_the_prediction_time_is_refused():
    with pytest.raises(DataError, match="behind the prediction time of 10 of 10"):
        moved_to(labels_of(range(180, 190), hours=24), 30)


def test_time_zero_is_the_latest_admission_or_else_the_first_event():
    labels = labels_of(range(180, 183), hours=-0.5)  # before the admission: the first event is an hour before
    moved = moved_to(labels, 0.25)
    assert {(time - ZERO).total_seconds() for time in moved["prediction_time"].to_pylist()} == {-0.75 * 3600}


def test_the_time_left_goes_by_recipe(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("chartscan_lab.study._cells.time.monotonic", lambda: now[0])
    pace = Pace(["net", "trees", "net", "trees"])
    for recipe, seconds in (("net", 100.0), ("trees", 2.0)):
        with pace.timed(recipe):
            now[0] += seconds
    assert pace.time_left() == ", about 2 min left"
    with pace.timed("net"):
        now[0] += 100
    assert pace.time_left() == ", about 2 s left"
    with pace.timed("trees"):
        now[0] += 2
    assert pace.time_left() == ""
