"""Cells of different code in one study: told before training, and under the tables, by row."""

import shutil

import pytest
from fake_trainer import FakeDataset, FakeTrainer, Quiet, labels_of

from chartscan.runs.record import source_hash
from chartscan_lab.study import _made_with
from chartscan_lab.study._cells import Place, StudyData
from chartscan_lab.study._made_with import Code, distinct, not_one_code
from chartscan_lab.study._rows import Row
from chartscan_lab.study._trained import TrainedStudy

OLD, NEW = Code("0.1.0", "aaaa", "1111"), Code("0.1.0", "bbbb+", "2222")


class Two(TrainedStudy, frozen=True):
    TITLE, ABOUT, BASELINE = "Two", "rows", "trees"

    def rows(self, facts):
        return [Row(name="trees", recipe="trees"), Row(name="net", recipe="net")]


class Recorded(FakeTrainer):
    """Its artifacts say which code trained them, as run records do."""

    def train(self, training, out, resume, start):
        super().train(training, out, resume, start)
        (out / "code").write_text(_made_with.current().source)

    def run_record(self, artifact):
        code = OLD if (artifact / "code").read_text() == OLD.source else NEW
        return super().run_record(artifact) | {"versions": _versions(code)}


def _versions(code):
    return {"chartscan": code.chartscan, "commit": code.commit, "source": code.source, "torch": "2"}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the study with some code; gives the Markdown, the rows as JSON has them, and what was said."""

    def call(code, trainer=None, seeds=1, only=()):
        monkeypatch.setattr(_made_with, "versions", lambda: _versions(code))
        labels = {"death": labels_of(FakeDataset().subject_ids())}
        data = StudyData(FakeDataset(), labels, trainer or FakeTrainer())
        place = Place(tmp_path, Quiet(), seeds, only=[*only], replicates=20, data=data)
        report = Two().run(place)
        return report.markdown, report.values["rows"], place.watcher.said

    return call


def test_a_study_of_one_code_says_nothing_of_it(run):
    for _ in range(2):
        text, rows, said = run(NEW)
        assert "one code" not in text
        assert not any("one code" in line for line in said)
        assert [[one["source"] for one in row["made_with"]] for row in rows] == [["2222"], ["2222"]]


def test_rows_of_other_code_are_named_before_training_and_under_the_table(run):
    run(OLD, only=["trees"])
    text, rows, said = run(NEW)
    told = (
        "chartscan 0.1.0, commit aaaa, source 1111: 'trees'; "
        "chartscan 0.1.0, commit bbbb+, source 2222: 'net'."
    )
    assert told in text
    assert told in said[0]
    assert not said[0].startswith("cell ")
    assert [[one["source"] for one in row["made_with"]] for row in rows] == [["1111"], ["2222"]]


def test_rows_of_other_code_are_told_when_nothing_is_left_to_train(run):
    run(OLD, only=["trees"])
    run(NEW)
    text, _, said = run(NEW)
    assert "source 1111: 'trees'" in text
    assert "source 1111: 'trees'" in said[0]


def test_other_code_that_only_makes_the_tables_is_not_told(run):
    run(OLD)
    text, _, said = run(NEW)
    assert "one code" not in text
    assert not any("one code" in line for line in said)


def test_rows_that_are_not_made_now_are_of_no_code(run):
    run(OLD, only=["trees"])
    text, _, said = run(NEW, only=["trees"])
    assert "one code" not in text
    assert not any("one code" in line for line in said)


def test_a_row_whose_seeds_are_of_different_code_stands_under_both(run):
    run(OLD)
    text, rows, _ = run(NEW, seeds=2)
    assert "source 1111: 'trees', 'net'; " in text
    assert "source 2222: 'trees', 'net'." in text
    assert [one["source"] for one in rows[0]["made_with"]] == ["1111", "2222"]


def test_a_cell_trained_by_one_code_and_asked_by_another_is_of_both(run, tmp_path):
    run(OLD, trainer=Recorded())
    shutil.rmtree(next((tmp_path / "answers").glob("net-*")))
    trainer = Recorded()
    text, rows, _ = run(NEW, trainer=trainer)
    assert not trainer.trained
    assert [one["source"] for one in rows[1]["made_with"]] == ["1111", "2222"]
    assert "source 2222: 'net'." in text


def test_code_is_told_apart_by_its_source_and_by_its_commit_where_no_source_was_recorded():
    renamed = Code("0.1.0", "cccc", "1111")
    assert distinct([OLD, renamed, NEW]) == [OLD, NEW]
    assert not_one_code([("a", [OLD]), ("b", [renamed])]) is None
    before = Code("0.1.0", "aaaa")
    assert not_one_code([("a", [before]), ("b", [Code("0.1.0", "aaaa")])]) is None
    assert "commit aaaa, source not recorded: 'a'" in not_one_code([("a", [before]), ("b", [OLD])])
    assert not_one_code([]) is None
    assert "; code that was not recorded: 'b'" in not_one_code([("a", [OLD]), ("b", [Code()])])


def test_code_of_the_lab_counts_where_it_measured_and_not_where_it_trained():
    trained, asked = OLD, Code("0.1.0", "aaaa", "1111", "l1")
    asked_anew = Code("0.1.0", "aaaa", "1111", "l2")
    assert distinct([trained, asked]) == [asked]
    assert not_one_code([("a", [trained, asked]), ("b", [asked])]) is None
    text = not_one_code([("a", [asked]), ("b", [asked_anew])])
    assert "source 1111, lab l1: 'a'; " in text
    assert "source 1111, lab l2: 'b'." in text
    assert len(_made_with.current().lab) == 12


def test_the_hash_of_the_source_is_the_same_elsewhere_and_another_after_any_change(tmp_path):
    folders = [tmp_path / name for name in ("here", "there", "changed", "moved", "built")]
    for folder in folders:
        (folder / "models").mkdir(parents=True)
        (folder / "models" / "net.py").write_text("width = 1\n")
        (folder / "notes.txt").write_text(folder.name)
    (folders[2] / "models" / "net.py").write_text("width = 2\n")
    (folders[3] / "models" / "net.py").rename(folders[3] / "net.py")
    (folders[4] / "_native.abi3.so").write_bytes(b"kernels")
    here, there, *others = map(source_hash, folders)
    assert here == there
    assert len({here, *others}) == 4
