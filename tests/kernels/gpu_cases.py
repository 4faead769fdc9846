"""The Triton kernels against the written recurrence in float64, on a GPU or in Triton's interpreter.

Not collected by itself: `test_gpu_scan` runs this file in a process of its own, since Triton decides when
it is imported whether it interprets. The interpreter is slow: all cases are for a GPU or `make soak`.
"""

import importlib
import os

import pytest
import torch

from chartscan.errors import ConfigError
from chartscan.kernels import gpu, selective_scan
from chartscan.kernels.gpu import self_check
from chartscan.kernels.gpu.operator import gpu_scan
from scan_inputs import SEQUENCES, largest_relative_error, reads, scan_inputs

soak = pytest.mark.soak
DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"


def results(scan, inputs, read, lengths):
    """y, last state, states read, and the gradient of every input by one random combination of the three."""
    outputs = scan(**inputs, read=read, lengths=lengths)
    generator = torch.Generator().manual_seed(1)
    total = sum(
        (o * torch.randn(o.shape, generator=generator, dtype=torch.float64).to(o.device)).sum()
        for o in outputs
    )
    names = ("y", "last", "states", *(f"d{name}" for name in inputs))
    return dict(zip(names, (*outputs, *torch.autograd.grad(total, list(inputs.values()))), strict=True))


def exact(inputs, read, lengths):
    inputs = {k: v.detach().double().requires_grad_() for k, v in inputs.items()}
    return results(lambda **k: selective_scan(**k, backend="reference"), inputs, read, lengths)


def on_gpu(inputs, read, lengths, **settings):
    def there(tensor):
        return None if tensor is None else tensor.to(DEVICE)

    inputs = {k: v.detach().to(DEVICE).requires_grad_() for k, v in inputs.items()}
    read = None if read is None else tuple(there(v) for v in read)
    found = results(lambda **k: gpu.scan(**k, **settings), inputs, read, there(lengths))
    return {k: v.cpu() for k, v in found.items()}


def errors(found, expected):
    return {name: largest_relative_error(found[name], expected[name]) for name in expected}


CASES = {
    "one step": {"length": 1, "states": 16},
    "a checkpoint and one step": {"length": 33, "states": 8},
    "one state": {"length": 63, "states": 1, "rows": 1},
    "three states": {"length": 5, "states": 3, "channels": 40, "rows": 1},
    "many steps": {"length": 67, "states": 16, "channels": 9, "rows": 1},
    "many states": {"length": 5, "states": 33, "channels": 9, "rows": 1},
    "no state": {"length": 9, "states": 3, "without": ("state",)},
    "no gate": {"length": 9, "states": 3, "without": ("z",)},
    "bare": {"length": 10, "states": 3, "without": ("state", "z", "D", "dt_bias")},
}


SAMPLE = ("one step", "a checkpoint and one step", "three states", "bare")


@pytest.mark.parametrize("case", [c if c in SAMPLE else pytest.param(c, marks=soak) for c in CASES])
def test_outputs_and_gradients_equal_the_float64_loop(case):
    inputs = scan_inputs(**CASES[case])
    rows, length, _ = inputs["x"].shape
    read = reads(rows, length)
    assert max(errors(on_gpu(inputs, read, None), exact(inputs, read, None)).values()) < 1e-5


LENGTHS = (33, 0, 41, 32)
READ = ((2, 0, 2, 3, 0, 2), (40, 32, 31, 0, 32, 32))


@pytest.mark.parametrize(
    ("lengths", "rows", "positions"),
    [
        pytest.param(LENGTHS, *READ, marks=soak, id="four rows"),
        pytest.param((33, 0, 9), (2, 0, 2, 0), (8, 32, 0, 31), id="three rows"),
    ],
)
def test_padding_gives_nothing_and_states_are_read_in_any_order(lengths, rows, positions):
    inputs = scan_inputs(rows=len(lengths), length=max(lengths), channels=5, states=4)
    read, lengths = (torch.tensor(rows), torch.tensor(positions)), torch.tensor(lengths)
    found, expected = on_gpu(inputs, read, lengths), exact(inputs, read, lengths)
    assert max(errors(found, expected).values()) < 1e-5
    for row, length in enumerate(lengths):
        for name in ("y", "dx", "ddt", "dB", "dC", "dz"):
            assert not found[name][row, length:].any(), name
    assert torch.equal(found["last"][1], inputs["state"][1])


@pytest.mark.parametrize("length", [9, pytest.param(33, marks=soak)])
def test_bfloat16_stays_within_its_precision(length):
    inputs = scan_inputs(rows=1, length=length, channels=9, states=5)
    inputs |= {k: inputs[k].detach().bfloat16() for k in SEQUENCES}
    read = reads(1, length)
    found, expected = on_gpu(inputs, read, None), exact(inputs, read, None)
    assert {found[k].dtype for k in ("y", "dx", "dB", "dz")} == {torch.bfloat16}
    assert {found[k].dtype for k in ("last", "states", "dA", "dstate")} == {torch.float32}
    assert max(errors(found, expected).values()) < 1e-2


@pytest.mark.parametrize("bias", [-20.0, pytest.param(0.0, marks=soak), 20.0])
def test_very_small_and_very_large_steps_stay_finite_and_right(bias):
    inputs = scan_inputs(length=9, states=3) | {"dt_bias": torch.full((5,), bias)}
    found, expected = on_gpu(inputs, None, None), exact(inputs, None, None)
    assert all(torch.isfinite(v).all() for v in found.values())
    assert max(errors(found, expected).values()) < 3e-5


@pytest.mark.parametrize("length", [5, pytest.param(33, marks=soak)])
def test_batch_mates_and_padding_change_no_bit(length):
    inputs = scan_inputs(rows=3, length=length + 1, states=3, without=("state",))
    alone = {k: v[:1, :length] if v.ndim == 3 else v for k, v in inputs.items()}
    weights = torch.randn(3, length + 1, 5)
    y, found = y_and_gradients(inputs, torch.tensor([length, length + 1, 2]), weights)
    y_alone, found_alone = y_and_gradients(alone, None, weights[:1, :length])
    assert torch.equal(y[:1, :length], y_alone)
    for name in SEQUENCES:
        assert torch.equal(found[name][:1, :length], found_alone[name]), name


def y_and_gradients(inputs, lengths, weights):
    inputs = {k: v.detach().to(DEVICE).requires_grad_() for k, v in inputs.items()}
    y, _, _ = gpu.scan(**inputs, lengths=None if lengths is None else lengths.to(DEVICE))
    found = torch.autograd.grad((y * weights.to(DEVICE)).sum(), list(inputs.values()))
    return y, dict(zip(inputs, found, strict=True))


@torch.no_grad()
def test_single_steps_one_after_another_equal_the_whole_scan():
    inputs = {k: v.detach().to(DEVICE) for k, v in scan_inputs(length=5, states=3).items()}
    whole, last, _ = gpu.scan(**inputs)
    state, ys = inputs["state"], []
    for t in range(5):
        now = {k: v[:, t : t + 1] if k in SEQUENCES else v for k, v in inputs.items()}
        y, state, _ = gpu.scan(**(now | {"state": state}))
        ys.append(y)
    torch.testing.assert_close(torch.cat(ys, 1), whole, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(state, last, rtol=1e-5, atol=1e-6)


def test_slices_of_larger_tensors_are_read_in_place_or_copied():
    inputs = {k: v.detach().to(DEVICE) for k, v in scan_inputs(length=9, states=3).items()}
    x, z = torch.cat([inputs["x"], inputs["z"]], 2).chunk(2, dim=2)
    B = inputs["B"].transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(gpu.scan(**(inputs | {"x": x, "z": z, "B": B}))[0], gpu.scan(**inputs)[0])


@soak  # NumPy gives the same bits in any case
def test_the_same_call_gives_the_same_bits():
    length = 33 if DEVICE == "cuda" else 3
    inputs = scan_inputs(length=length, states=8, channels=40)
    first, second = (on_gpu(inputs, reads(2, length), None) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_empty_batches_and_sequences_are_no_error():
    for rows, length in ((0, 5), (2, 0)):
        inputs = {k: v.to(DEVICE) for k, v in scan_inputs(rows, length, states=3).items()}
        y, last, _ = gpu.scan(**inputs)
        assert y.shape == (rows, length, 5)
        assert torch.equal(last, inputs["state"])
        (y.sum() + last.sum()).backward()


def test_wrong_arguments_are_refused_before_a_kernel_runs():
    inputs = {k: v.detach().to(DEVICE) for k, v in scan_inputs(length=9).items()}
    with pytest.raises(ValueError, match=r"B has the shape \(2, 9, 3\); expected \(2, 9, 16\)"):
        gpu.scan(**(inputs | {"B": inputs["B"][:, :, :3]}))
    with pytest.raises(TypeError, match="A is torch"):
        gpu.scan(**(inputs | {"A": inputs["A"].double()}))
    with pytest.raises(IndexError, match="outside its row"):
        gpu.scan(
            **inputs,
            read=(torch.tensor([0], device=DEVICE), torch.tensor([8], device=DEVICE)),
            lengths=torch.tensor([8, 9], device=DEVICE),
        )
    with pytest.raises(ConfigError, match="mamba_ssm"):
        gpu.scan(**inputs, backend="mamba_ssm")


def test_the_operator_keeps_pytorchs_rules():
    inputs = {k: v.detach().to(DEVICE).requires_grad_() for k, v in scan_inputs(length=2, states=2).items()}
    read = (torch.tensor([0, 1], device=DEVICE), torch.tensor([1, 0], device=DEVICE))
    lengths = torch.tensor([2, 1], device=DEVICE)
    torch.library.opcheck(gpu_scan, (*inputs.values(), lengths, *read, True))


@pytest.mark.skipif(DEVICE == "cuda", reason="a compiled kernel cannot be changed")
@pytest.mark.parametrize("kernel", ["forward", "backward"])
def test_a_planted_mistake_is_found(monkeypatch, kernel):
    """Step sizes in the wrong order, in one of the kernels."""
    module = importlib.import_module(f"chartscan.kernels.gpu.{kernel}")
    right = module.step_sizes
    inputs = scan_inputs(length=10, states=2)
    monkeypatch.setitem(module._kernel.fn.__globals__, "step_sizes", lambda *given: right(*given)[::-1])
    assert max(errors(on_gpu(inputs, None, None), exact(inputs, None, None)).values()) > 1e-2


def test_the_check_before_first_use_passes_and_sees_a_wrong_gradient(monkeypatch):
    if DEVICE == "cpu":  # the interpreter takes a minute for the check's own size
        monkeypatch.setattr(self_check, "STEPS", 9)
        monkeypatch.setattr(self_check, "CHANNELS", 5)
    with torch.inference_mode():
        assert self_check.problem.__wrapped__(DEVICE) is None
    right = gpu_scan

    def wrong(*inputs):
        y, last, *rest = right(*inputs)
        return (2 * y - y.detach(), last, *rest)  # the right values, twice the gradient

    monkeypatch.setattr(self_check, "gpu_scan", wrong)
    with pytest.warns(RuntimeWarning, match="are off by"):
        assert "are off by" in self_check.problem.__wrapped__(DEVICE)
    monkeypatch.setattr(self_check, "gpu_scan", lambda *inputs: 1 / 0)
    with pytest.warns(RuntimeWarning, match="do not run"):
        assert "ZeroDivisionError" in self_check.problem.__wrapped__(DEVICE)
