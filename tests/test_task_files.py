"""Which files of a folder are shards of one task, and which are tasks of their own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chartscan.errors import DataError
from chartscan.task_files import LONGEST_NAME, checked_name, task_files


def made(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def found(path):
    return {one.task: [str(f.relative_to(path)) for f in one.files] for one in task_files(path)}


LAYOUTS = {
    "one file a task": (["readmission.parquet", "sepsis.pq"], ["readmission", "sepsis"]),
    "folders of shards": (["a/0.parquet", "a/1.parquet", "b/0.parquet"], ["a", "b"]),
    "splits": (["a/train/0.parquet", "a/tuning/0.parquet", "a/held_out/0.parquet", "b.parquet"], ["a", "b"]),
    "splits as files": (["a/train.parquet", "a/test.parquet"], ["a"]),
    "nested tasks": (["death/icu/24h/train/0.parquet", "los/7d/0.parquet"], ["death.icu.24h", "los.7d"]),
    "Hive": (["task=a/split=train/0.parquet", "task=b/0.parquet"], ["a", "b"]),
    "Spark": (["a/part-00000-1b2c3d4e-aaaa-c000.snappy.parquet", "a/_SUCCESS", "a/.part.crc"], ["a"]),
    "Hugging Face": (["a/train-00000-of-00002.parquet", "a/train-00001-of-00002.parquet"], ["a"]),
    "a plain word in a folder": (["a/labels.parquet", "b/labels.parquet"], ["a", "b"]),
    "a number in a task's name": (["death_30.parquet", "death_90.parquet"], ["death_30", "death_90"]),
}  # fmt: skip


@pytest.mark.parametrize(("names", "tasks"), LAYOUTS.values(), ids=LAYOUTS)
def test_tasks_are_told_from_shards_and_no_file_is_left_out(names, tasks, tmp_path):
    by_task = found(made(tmp_path, *names, "readme.txt"))
    assert sorted(by_task) == tasks
    parquet = [n for n in names if n.endswith((".parquet", ".pq"))]
    assert sorted(f for files in by_task.values() for f in files) == sorted(parquet)


def test_a_folder_of_shards_given_itself_is_the_task_and_shards_are_in_the_order_of_their_numbers(tmp_path):
    root = made(tmp_path / "my task", *(f"{n}.parquet" for n in (10, 9, 0)))
    assert found(root) == {"my task": ["0.parquet", "9.parquet", "10.parquet"]}
    assert found(made(tmp_path / "other", "train/0.parquet", "held_out/0.parquet")).keys() == {"other"}


def test_a_shard_or_split_given_alone_is_called_as_its_task(tmp_path):
    made(tmp_path, "sepsis/held_out/0.parquet", "labels.parquet")
    for part in ("sepsis/held_out/0.parquet", "sepsis/held_out", "sepsis"):
        assert [one.task for one in task_files(tmp_path / part)] == ["sepsis"]
    assert [one.task for one in task_files(tmp_path / "labels.parquet")] == ["labels"]


def test_shards_beside_a_task_are_refused_as_nobody_can_tell_what_they_are_of(tmp_path):
    made(tmp_path, "0.parquet", "readmission.parquet")
    with pytest.raises(DataError, match=r"0\.parquet, a shard .* beside readmission\.parquet"):
        task_files(tmp_path)


def test_links_are_followed_and_a_circle_of_links_ends(tmp_path):
    made(tmp_path / "elsewhere", "train/0.parquet")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a").symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path / "labels") == {"a": ["a/train/0.parquet"]}
    (tmp_path / "labels" / "circle").symlink_to(tmp_path / "labels")
    with pytest.raises(DataError, match="deep"):
        task_files(tmp_path / "labels")


def test_nothing_there_is_no_task(tmp_path):
    assert task_files(tmp_path) == task_files(tmp_path / "none") == []


@pytest.mark.parametrize(
    "name",
    ["../../x", "/etc/x", "a/b", "a\\b", "C:x", "..", ".", "", " ", ".hidden", "x.", "a\nb", "a\x1b[2Jb",
     "nul", "COM1.x", "a\u202eb", "x" * (LONGEST_NAME + 1), "a\0b", "x?", "\ud800"],
)  # fmt: skip
def test_a_name_that_no_file_can_safely_have_is_refused_without_repeating_it(name, tmp_path):
    with pytest.raises(DataError, match=r"f\.parquet: its task has a name that no file can have") as caught:
        checked_name(name, tmp_path / "f.parquet")
    assert not name.strip(" .") or name not in str(caught.value).partition("f.parquet")[2] or len(name) < 5


@pytest.mark.parametrize(
    "name", ["in_hospital_mortality", "Tod im Spital (30 d)", "Übergang", "a [x]", "los.7d"]
)
def test_other_names_are_taken_as_they_are(name, tmp_path):
    assert checked_name(name, tmp_path) == name


@given(st.text(max_size=30))
def test_every_name_that_is_taken_stays_in_its_folder(tmp_path_factory, name):
    root = tmp_path_factory.getbasetemp()
    try:
        checked = checked_name(name, root)
    except DataError:
        return
    place = (root / f"{checked}.parquet").resolve()
    assert place.parent == root.resolve()
    place.touch()
    place.unlink()
