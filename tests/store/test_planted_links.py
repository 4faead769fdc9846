"""Names that someone else planted in a folder that many may write in: none is followed, none is destroyed."""

import os

import pytest

from chartscan import files
from chartscan.errors import ConfigError
from chartscan.lock import OutputLock
from chartscan.store import folder as publish
from chartscan.store.quarantine import KEY, Quarantine, hand_on_key, keep_quarantine, remove_quarantine


@pytest.fixture
def victim(tmp_path):
    path = tmp_path / "victim.txt"
    path.write_text("precious")
    return path


@pytest.mark.parametrize("kind", ["symlink", "hard link", "dangling", "folder", "fifo", "other file"])
def test_a_lock_never_touches_a_file_that_is_no_lock(tmp_path, victim, kind):
    path = tmp_path / "out.lock"
    {
        "symlink": lambda: path.symlink_to(victim),
        "hard link": lambda: os.link(victim, path),
        "dangling": lambda: path.symlink_to(tmp_path / "nowhere"),
        "folder": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
        "other file": lambda: path.write_text('[[package]]\nname = "numpy"\n'),
    }[kind]()
    with pytest.raises(ConfigError, match=r"out\.lock is in the way of the lock"):
        OutputLock(tmp_path / "out").acquire()
    assert victim.read_text() == "precious"
    assert os.path.lexists(path)
    assert not (tmp_path / "nowhere").exists()


def test_a_lock_that_a_dead_process_left_is_taken(tmp_path):
    (tmp_path / "out.lock").write_text("1 on elsewhere.example")
    with OutputLock(tmp_path / "out"):
        assert (tmp_path / "out.lock").read_text().startswith(f"{os.getpid()} on ")


def test_a_quarantine_that_is_a_link_is_refused_and_what_it_leads_to_stays(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "records-main.jsonl").write_text("precious")
    (elsewhere / KEY).write_bytes(b"k" * 32)
    link = tmp_path / "out.quarantine"
    link.symlink_to(elsewhere)
    run = tmp_path / "run"
    quarantine = Quarantine(run)
    quarantine.put("reason", "file", 1, 0, b"line")
    quarantine.close()
    for step in (
        lambda: hand_on_key(link, tmp_path / "new"),
        lambda: keep_quarantine(run, link),
        lambda: remove_quarantine(link),
    ):
        with pytest.raises(ConfigError, match="is a symbolic link; it is not used"):
            step()
    assert (elsewhere / "records-main.jsonl").read_text() == "precious"


def test_a_planted_key_is_not_read(tmp_path, victim):
    (tmp_path / "out.quarantine").mkdir()
    (tmp_path / "out.quarantine" / KEY).symlink_to(victim)
    with pytest.raises(ConfigError, match="is a symbolic link"):
        hand_on_key(tmp_path / "out.quarantine", tmp_path / "run")


@pytest.mark.parametrize("name", ["out.previous", "out.staging-7"])
def test_a_planted_dataset_never_becomes_the_published_one(tmp_path, name):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / name).symlink_to(elsewhere)
    with pytest.raises(ConfigError, match="is a symbolic link"):
        publish.recover(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert elsewhere.is_dir()


def test_a_file_is_put_in_the_place_of_a_link_not_through_it(tmp_path, victim):
    (tmp_path / "p.parquet").symlink_to(victim)
    files.write_bytes(tmp_path / "p.parquet", b"new")
    assert victim.read_text() == "precious"
    assert (tmp_path / "p.parquet").read_bytes() == b"new"


def test_an_output_may_be_a_link_of_ones_own_but_not_of_another_user(tmp_path, monkeypatch):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    assert files.own_place(tmp_path / "out") == (tmp_path / "disk").resolve()
    monkeypatch.setattr(os, "geteuid", lambda: (tmp_path / "out").lstat().st_uid + 1)
    if (tmp_path / "out").lstat().st_uid:  # root may plant what it likes
        with pytest.raises(ConfigError, match="belongs to another user"):
            files.own_place(tmp_path / "out")
    with pytest.raises(ConfigError, match="belongs to another user"):
        files.check_own(tmp_path / "disk")
