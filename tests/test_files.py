"""What writers leave behind when they are killed, and what a fault of the disk says."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chartscan import files
from chartscan.errors import DataError

WRITER = """
import os, signal, sys
from pathlib import Path
from chartscan import files
out = Path(sys.argv[2])
os.replace = os.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "file":
    files.write_bytes(out, b"a record", private=True)
else:
    with files.sealed(out) as staging:
        (staging / "x").write_bytes(b"a record")
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_writer_left_is_gone_at_the_next_start(tmp_path, kind):
    for out in (tmp_path / "alone", tmp_path / "within" / "a.parquet"):
        out.parent.mkdir(exist_ok=True)
        done = subprocess.run([sys.executable, "-c", WRITER, kind, str(out)], check=False)
        assert done.returncode == -signal.SIGKILL
    drafts = list(tmp_path.rglob(".*"))
    assert len(drafts) == 2
    files.sweep(tmp_path / "alone")
    files.sweep(tmp_path / "within")  # a command is given the folder
    assert list(tmp_path.rglob(".*")) == []


def test_a_draft_that_is_being_written_and_hidden_files_of_others_stay(tmp_path):
    other = tmp_path / ".out.notes"
    other.write_text("mine")
    with files.sealed(tmp_path / "out") as staging:
        (staging / "x").write_bytes(b"1")
        files.sweep(tmp_path / "out")
        assert staging.is_dir()
    files.sweep(tmp_path / "out")
    assert other.exists()
    assert files.verify(tmp_path / "out") == ["x"]


FAULTS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS)


@pytest.mark.parametrize("code", FAULTS)
@pytest.mark.parametrize("call", ["open", "fsync", "replace", "rename", "mkdir"])
def test_a_fault_at_any_step_of_writing_names_the_file_and_leaves_nothing(tmp_path, monkeypatch, call, code):
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    raised = []
    for write, name in ((_one_file, "file"), (_sealed_with_one_file, "folder")):
        if (call, name) in (("replace", "folder"), ("rename", "file"), ("mkdir", "file")):
            continue  # not on its way
        with pytest.raises(OSError, match=os.strerror(code)) as caught:
            write(tmp_path / name)
        raised.append(
            caught.value.errno == code and Path(caught.value.filename).is_relative_to(tmp_path / name)
        )
    assert raised
    assert all(raised)
    monkeypatch.undo()
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())


def _one_file(out: Path) -> None:
    files.write_bytes(out, b"x")


def _sealed_with_one_file(out: Path) -> None:
    with files.sealed(out) as staging:
        (staging / "x").touch()


@pytest.mark.parametrize("code", FAULTS)
def test_a_fault_in_reading_names_the_file(tmp_path, monkeypatch, code):
    path = tmp_path / "x.json"
    path.write_bytes(b"{}")

    def fail(*_: object) -> bytes:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(OSError, match=os.strerror(code)) as caught:
        files.read_json(path, dict, "anything")
    assert caught.value.filename == str(path)


def test_a_json_file_that_is_too_large_is_refused_unread(tmp_path):
    path = tmp_path / "x.json"
    with path.open("wb") as file:
        file.truncate(files.MOST_JSON_BYTES + 1)
    with pytest.raises(DataError, match=r"x\.json has 536,870,913 bytes"):
        files.read_json(path, dict, "anything")


def test_a_pipe_planted_as_a_draft_does_not_stop_a_writer(tmp_path):
    os.mkfifo(tmp_path / f".out.{'0' * 16}")
    files.write_bytes(tmp_path / "out", b"x")
    assert (tmp_path / "out").read_bytes() == b"x"


@pytest.mark.parametrize("digests", [[], "abc", None, 5])
def test_a_manifest_that_is_no_mapping_is_refused(tmp_path, digests):
    files.write_json(tmp_path / files.MANIFEST, {"sha256": digests})
    with pytest.raises(DataError, match=r"manifest.json is damaged"):
        files.verify(tmp_path)
