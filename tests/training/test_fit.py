"""Early stopping, averaging, precision, and what a run reports."""

import itertools
import math
import sys
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from chartscan.errors import ConfigError, MissingExtra
from chartscan.training import StepRecord, TrainConfig, fit
from chartscan.training.plan import uses_bf16
from chartscan.training.record import smoothed, tensorboard
from toy_training import CONFIG, ToyBatches, toy_evaluation, toy_fit, toy_model

ONE_EACH = TrainConfig(
    learning_rate=0.05, epochs=8, evaluate_every=None, patience=3, checkpoint_every_seconds=None
)


def scripted(values: list[float], seen: list[list[torch.Tensor]]):
    """An evaluation that gives `values` in turn and keeps the weights it saw."""
    turn = itertools.count()

    def evaluate(module: nn.Module) -> dict[str, float]:
        assert not module.training
        assert not torch.is_grad_enabled()
        seen.append([tensor.clone() for tensor in module.state_dict().values()])
        return {"auroc": values[next(turn)], "loss": -1.0}

    return evaluate


@pytest.mark.parametrize(
    ("direction", "values"),
    [
        ("max", [0.5, 0.4, 0.7, 0.6, 0.7, math.nan, 0.9]),  # an equal value is no improvement, NaN neither
        ("min", [0.5, 0.6, 0.3, 0.6, 0.3, 0.4, 0.1]),
    ],
)
def test_training_stops_after_patience_and_keeps_the_best_weights(tmp_path, direction, values):
    seen: list[list[torch.Tensor]] = []
    config = msgspec.structs.replace(ONE_EACH, metric="auroc", direction=direction)
    module = toy_model()
    result = fit(module, ToyBatches(4), config, folder=tmp_path, evaluate=scripted(values, seen))
    assert len(seen) == 6  # patience begins anew with each improvement
    assert result.stopped_early
    assert (result.best_step, result.metrics["auroc"]) == (13, values[2])  # epochs of 4 and 5 steps
    assert not module.training
    assert all(torch.equal(a, b) for a, b in zip(module.state_dict().values(), seen[2], strict=True))
    assert not torch.equal(seen[2][0], seen[5][0])


def test_without_patience_all_epochs_run_and_the_best_weights_still_win(tmp_path):
    seen: list[list[torch.Tensor]] = []
    config = msgspec.structs.replace(ONE_EACH, patience=None)
    module = toy_model()
    result = fit(module, ToyBatches(3), config, folder=tmp_path, evaluate=scripted([0.0] * 8, seen))
    assert (len(seen), result.stopped_early, result.best_step) == (8, False, 3)
    assert torch.equal(module[0].weight, seen[0][0])


def test_an_evaluation_without_the_chosen_metric_is_an_error_that_names_what_there_is(tmp_path):
    config = msgspec.structs.replace(ONE_EACH, metric="aurok")
    with pytest.raises(ConfigError, match=r"no 'aurok'\. Known: loss, tokens"):
        toy_fit(tmp_path, config=config)


def test_evaluating_more_often_does_not_change_the_training(tmp_path):
    losses = []
    for every in (1, 7):
        config = msgspec.structs.replace(CONFIG, evaluate_every=every, patience=None, average_decay=None)
        toy_fit(tmp_path / str(every), config=config)
        rows = (tmp_path / str(every) / "losses.jsonl").read_bytes().splitlines()
        losses.append([msgspec.json.decode(row)["loss"] for row in rows])
    assert losses[0] == losses[1]


def test_the_average_is_what_the_recurrence_says(tmp_path):
    config = msgspec.structs.replace(
        ONE_EACH, epochs=1, average_decay=0.6, checkpoint_every_steps=1, keep_checkpoints=99, patience=None
    )
    module = toy_model()
    fit(module, ToyBatches(9), config, folder=tmp_path)
    expected = None
    for step, path in enumerate(sorted((tmp_path / "checkpoints").glob("step-*"))):
        weight = load_file(path / "tensors.safetensors")["module.0.weight"].double()
        decay = min(0.6, (1 + step) / (10 + step))
        expected = weight if expected is None else decay * expected + (1 - decay) * weight
    torch.testing.assert_close(module[0].weight.double(), expected, rtol=1e-5, atol=1e-6)


def test_records_tell_step_rate_and_time_left(tmp_path):
    records: list[StepRecord] = []
    config = msgspec.structs.replace(CONFIG, patience=None)
    toy_fit(tmp_path, config=config, report=records.append)
    train = [r for r in records if r.phase == "train"]
    assert [r.step for r in train] == list(range(1, 25))
    assert {r.total_steps for r in train} == {24}
    assert [r.epoch for r in train] == [step // 4 for step in range(24)]
    assert all(r.tokens_per_second > 0 for r in train)
    assert train[-1].eta_seconds == 0
    assert train[0].eta_seconds > 0
    evaluations = [r for r in records if r.phase == "evaluate"]
    assert [r.step for r in evaluations] == list(range(3, 25, 3))
    assert all(set(r.metrics) == {"loss", "tokens"} for r in evaluations)


def test_the_shown_loss_is_the_mean_at_first():
    values, shown = [4.0, 2.0, 9.0, 1.0], None
    for step, value in enumerate(values, 1):
        shown = smoothed(shown, value, step)
    assert shown == pytest.approx(sum(values) / 4)
    assert smoothed(shown, None, 5) == shown


def test_bf16_runs_the_forward_pass_in_bfloat16_and_keeps_float32_weights(tmp_path):
    dtypes = set()

    module = toy_model()
    module[3].register_forward_hook(lambda m, i, output: dtypes.add(output.dtype))
    config = TrainConfig(epochs=1, max_steps=3, precision="bf16", learning_rate=0.01)
    result = fit(module, ToyBatches(), config, folder=tmp_path)
    assert dtypes == {torch.bfloat16}
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert result.loss == pytest.approx(3.0, abs=0.5)


def test_precision_is_chosen_by_the_machine_only_when_asked():
    cpu = torch.device("cpu")
    assert not uses_bf16(TrainConfig(), cpu)
    assert uses_bf16(TrainConfig(precision="bf16"), cpu)
    flags = Path("/proc/cpuinfo").read_text() if sys.platform.startswith("linux") else ""
    assert uses_bf16(TrainConfig(precision="auto"), cpu) == ("avx512_bf16" in flags or "amx_bf16" in flags)


def test_tensorboard_gets_every_step_and_evaluation(tmp_path):
    pytest.importorskip("tensorboard")
    with tensorboard(tmp_path / "curves") as report:
        toy_fit(tmp_path / "run", report=report, config=msgspec.structs.replace(CONFIG, patience=None))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "curves"))
    events.Reload()
    assert [e.step for e in events.Scalars("train/loss")] == list(range(1, 25))
    assert [e.step for e in events.Scalars("evaluate/loss")] == list(range(3, 25, 3))


def test_without_tensorboard_the_install_command_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtra, match=r"pip install 'chartscan\[track\]'"), tensorboard(tmp_path):
        pass


def test_batches_that_know_how_are_moved_to_the_device(tmp_path):
    moves = []

    class Movable:
        def __init__(self, tokens):
            self.tokens = tokens

        def to(self, device):
            moves.append(device)
            return self.tokens

    class Data(ToyBatches):
        def batch(self, epoch, index):
            return Movable(super().batch(epoch, index))

    fit(toy_model(), Data(2), TrainConfig(), folder=tmp_path, evaluate=toy_evaluation)
    assert moves == [torch.device("cpu")] * 2


def test_a_module_wrapped_for_several_processes_trains_as_it_does_alone(tmp_path):
    """One process of torch's DistributedDataParallel: every loss goes through the wrapper's forward."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(toy_model())
        config = msgspec.structs.replace(CONFIG, epochs=2, accumulate=1)
        fit(wrapped, ToyBatches(), config, folder=tmp_path / "wrapped")
    finally:
        torch.distributed.destroy_process_group()
    alone = toy_model()
    fit(alone, ToyBatches(), config, folder=tmp_path / "alone")
    for ours, theirs in zip(wrapped.module.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
