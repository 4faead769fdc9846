"""What is written the way Windows allows: no open file is renamed or removed, no folder is opened."""

import pytest

from chartscan import files, lock, site_key
from chartscan.errors import ConfigError
from chartscan.lock import OutputLock
from chartscan.store import folder
from chartscan.store.dataset import Dataset
from hospital import random_events, write


def test_files_and_datasets_are_written_the_way_windows_allows(tmp_path, monkeypatch):
    for module in (files, lock, folder, site_key):
        monkeypatch.setattr(module, "WINDOWS", True)
    left = tmp_path / f".file.{'0' * 16}"  # of a writer that was killed
    left.write_bytes(b"half")
    files.write_bytes(tmp_path / "file", b"one")
    files.write_all({tmp_path / "file": b"two", tmp_path / "other": b"three"})
    assert (tmp_path / "file").read_bytes() == b"two"
    with files.sealed(tmp_path / "folder") as staging:
        files.write_bytes(staging / "file", b"one")
    assert files.verify(tmp_path / "folder") == ["file"]
    (tmp_path / "out").mkdir()
    for seed in (1, 2):
        write(tmp_path / "out", random_events(10, 2, seed=seed), overwrite=True)
        Dataset.open(tmp_path / "out").verify()
    with OutputLock(tmp_path / "out"), pytest.raises(ConfigError, match="in use by another run"):
        OutputLock(tmp_path / "out").acquire()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "other", "out"]
