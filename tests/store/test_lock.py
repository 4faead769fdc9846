import os
import subprocess
import sys
import time

import pytest

from chartscan.errors import ConfigError
from chartscan.lock import OutputLock
from chartscan.store.dataset import Dataset
from hospital import random_events, write

HOLD = """
import sys, time
from pathlib import Path
from chartscan.lock import OutputLock
OutputLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_run_fails_at_once_and_names_the_first_until_that_dies(tmp_path):
    out = tmp_path / "out"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        begin = time.monotonic()
        with pytest.raises(ConfigError, match=f"process {holder.pid}"):
            write(out, random_events(10, 2))
        assert time.monotonic() - begin < 5
    finally:
        holder.kill()
        holder.communicate()
    assert (tmp_path / "out.lock").exists()  # stale: its holder is dead
    write(out, random_events(10, 2))
    Dataset.open(out).verify()
    assert not (tmp_path / "out.lock").exists()


def test_the_lock_of_one_output_leaves_others_free(tmp_path):
    lock = OutputLock(tmp_path / "a")
    lock.acquire()
    write(tmp_path / "b", random_events(10, 2))
    lock.release()
    write(tmp_path / "a", random_events(10, 2))


def test_a_lock_file_removed_between_open_and_lock_is_not_taken_for_the_lock(tmp_path, monkeypatch):
    first, second, third = (OutputLock(tmp_path / "out") for _ in range(3))
    first.acquire()
    opened = os.open

    def open_while_the_first_ends(*arguments):
        handle = opened(*arguments)
        monkeypatch.undo()
        first.release()
        return handle

    monkeypatch.setattr(os, "open", open_while_the_first_ends)
    second.acquire()
    with pytest.raises(ConfigError, match=f"process {os.getpid()}"):
        third.acquire()
    second.release()
