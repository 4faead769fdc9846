"""A killed and resumed training equals an unbroken one to the last bit, wherever it is killed."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import pytest
import torch

from chartscan import files
from chartscan.errors import ConfigError, DataError
from chartscan.training import checkpoint as identity
from chartscan.training import fit
from toy_training import CONFIG, ToyBatches, toy_evaluation, toy_fit, toy_model, trace

HERE = Path(__file__).parent


@pytest.fixture
def unbroken(tmp_path):
    toy_fit(tmp_path / "unbroken")
    return trace(tmp_path / "unbroken")


def test_sigkill_anywhere_changes_no_bit_of_what_follows(tmp_path):
    script = HERE / "kill_and_resume.py"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", script, tmp_path], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    counts = Counter(row["kind"] for row in rows)
    assert counts["batch"] == 10
    assert counts["call"] >= 40
    assert [row for row in rows if not all(row[k] for k in ("killed", "resumed", "same", "whole"))] == []


def test_the_toy_run_stops_early_and_its_trace_sees_a_different_seed(tmp_path, unbroken):
    assert 0 < len(unbroken["losses"]) < 24  # of 24 steps
    toy_fit(tmp_path / "other", config=msgspec.structs.replace(CONFIG, seed=1))
    assert trace(tmp_path / "other")["losses"] != unbroken["losses"]


class SignallingBatches(ToyBatches):
    """Sends a signal to its own process when a batch is asked for."""

    def __init__(self, number: int, epoch: int, index: int):
        super().__init__()
        self.number, self.at = number, (epoch, index)

    def batch(self, epoch: int, index: int) -> torch.Tensor:
        if (epoch, index) == self.at:
            os.kill(os.getpid(), self.number)
        return super().batch(epoch, index)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_after_the_step_and_the_run_goes_on_as_if_nothing_had_been(tmp_path, unbroken, number):
    handler = signal.getsignal(number)
    result = toy_fit(tmp_path / "run", data=SignallingBatches(number, 1, 1))
    assert (result.interrupted, result.step, result.stopped_early) == (True, 5, False)
    assert signal.getsignal(number) is handler
    assert not toy_fit(tmp_path / "run", resume=True).interrupted
    assert trace(tmp_path / "run") == unbroken


def test_a_signal_breaks_an_evaluation_off_and_it_is_done_again(tmp_path, unbroken):
    evaluations = []

    def slow(module: torch.nn.Module) -> dict[str, float]:
        evaluations.append(module.training)
        if len(evaluations) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("the evaluation went on after the signal")
        return toy_evaluation(module)

    result = toy_fit(tmp_path / "run", evaluate=slow)
    assert (result.interrupted, result.step, evaluations) == (True, 6, [False, False])
    toy_fit(tmp_path / "run", resume=True)
    assert trace(tmp_path / "run") == unbroken


def test_resuming_a_finished_run_changes_nothing(tmp_path, unbroken):
    before = {path: path.read_bytes() for path in (tmp_path / "unbroken").rglob("*") if path.is_file()}
    result = toy_fit(tmp_path / "unbroken", resume=True)
    assert result.stopped_early
    assert trace(tmp_path / "unbroken") == unbroken

    assert {path: path.read_bytes() for path in before} == before


def test_resuming_where_nothing_is_starts_a_run(tmp_path, unbroken):
    toy_fit(tmp_path / "new", resume=True)
    assert trace(tmp_path / "new") == unbroken


def interrupted_run(folder: Path) -> None:
    assert toy_fit(folder, data=SignallingBatches(signal.SIGTERM, 2, 1)).step == 9


def newest(folder: Path) -> Path:
    return max((folder / "checkpoints").glob("step-*"))


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("harm", ["flipped", "cut", "gone"])
def test_a_damaged_checkpoint_is_skipped_with_a_warning(tmp_path, unbroken, name, harm):
    interrupted_run(tmp_path / "run")
    path = newest(tmp_path / "run") / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(content if harm == "flipped" else content[: len(content) // 2])
    with pytest.warns(UserWarning, match="Checkpoint skipped"):
        toy_fit(tmp_path / "run", resume=True)
    assert trace(tmp_path / "run") == unbroken


def test_a_run_whose_checkpoints_are_all_damaged_is_not_started_anew(tmp_path):
    interrupted_run(tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").glob("step-*/state.json"):
        path.write_bytes(b"{}")
    losses = (tmp_path / "run" / "losses.jsonl").read_bytes()
    with (
        pytest.warns(UserWarning, match="Checkpoint skipped"),
        pytest.raises(DataError, match="every checkpoint is damaged"),
    ):
        toy_fit(tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "losses.jsonl").read_bytes() == losses


def test_a_half_written_line_of_the_log_is_dropped(tmp_path, unbroken):
    interrupted_run(tmp_path / "run")
    with (tmp_path / "run" / "losses.jsonl").open("ab") as log:
        log.write(b'{"step":10,"loss":1.0}\n{"step":11,"lo')
    toy_fit(tmp_path / "run", resume=True)
    assert trace(tmp_path / "run") == unbroken


def test_a_run_is_not_overwritten_without_resume(tmp_path):
    interrupted_run(tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.json*")}
    with pytest.raises(ConfigError, match="holds a run already"):
        toy_fit(tmp_path / "run")
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"config": msgspec.structs.replace(CONFIG, learning_rate=0.1, seed=4)},
            "learning_rate was 0.3, is 0.1",
        ),
        ({"data": ToyBatches(12)}, "batches of each epoch was"),
        ({"fingerprint": "other data"}, "data was , is other data"),
        ({"module": torch.nn.Sequential(*toy_model(), torch.nn.Linear(20, 20))}, "parameters was"),
        ({"evaluate": None}, "evaluated was True, is False"),
    ],
)
def test_resuming_something_else_is_refused_and_named(tmp_path, changed, words):
    interrupted_run(tmp_path / "run")
    with pytest.raises(ConfigError, match=words):
        toy_fit(tmp_path / "run", resume=True, **changed)


def test_how_often_to_save_may_change_on_resume(tmp_path, unbroken):
    interrupted_run(tmp_path / "run")
    often = msgspec.structs.replace(
        CONFIG, checkpoint_every_steps=1, keep_checkpoints=3, checkpoint_every_seconds=0.0
    )
    toy_fit(tmp_path / "run", resume=True, config=often)
    assert trace(tmp_path / "run") == unbroken


def test_another_number_of_threads_is_warned_of(tmp_path):
    interrupted_run(tmp_path / "run")
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        with pytest.warns(UserWarning, match="threads was"):
            toy_fit(tmp_path / "run", resume=True)
    finally:
        torch.set_num_threads(threads)


def test_another_library_for_matrix_products_is_warned_of(tmp_path, monkeypatch):
    interrupted_run(tmp_path / "run")
    monkeypatch.setattr(identity, "described", lambda: {"matrix products": "another"})
    with pytest.warns(UserWarning, match="matrix products was"):
        toy_fit(tmp_path / "run", resume=True)


def test_two_trainings_in_one_folder_conflict(tmp_path):
    class Nested(ToyBatches):
        def batch(self, epoch, index):
            with pytest.raises(ConfigError, match=f"in use by another run .process {os.getpid()} on "):
                fit(toy_model(), ToyBatches(), CONFIG, folder=tmp_path, resume=True)
            return super().batch(epoch, index)

    short = msgspec.structs.replace(CONFIG, max_steps=1)
    assert toy_fit(tmp_path, data=Nested(), config=short).step == 1


def test_only_the_kept_checkpoints_remain(tmp_path):
    config = msgspec.structs.replace(CONFIG, checkpoint_every_steps=1, keep_checkpoints=3, patience=None)
    toy_fit(tmp_path, config=config)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == [f"step-{step:08d}" for step in (22, 23, 24)]
    assert all(files.verify(tmp_path / "checkpoints" / name) for name in names)
