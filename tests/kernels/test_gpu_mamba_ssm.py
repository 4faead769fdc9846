"""The adapter of mamba_ssm, with a stand-in that has the documented layout of its `selective_scan_fn`."""

import importlib.machinery
import sys
import types

import pytest
import torch
import torch.nn.functional as F

from chartscan.kernels import reference, selective_scan
from chartscan.kernels.gpu import dispatch, mamba_ssm
from scan_inputs import largest_relative_error, reads, scan_inputs

WHOLE = ("x", "dt", "A", "B", "C", "D", "z", "dt_bias")


def stand_in(
    u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False, return_last_state=False
):
    """u, delta, z (B, E, L); B, C (B, N, L); D, delta_bias (E,) -> (B, E, L), last state (B, E, N)."""
    assert all(v is None or v.is_contiguous() for v in (u, delta, B, C, z))
    delta = delta if delta_bias is None else delta + delta_bias.unsqueeze(1)
    delta = F.softplus(delta) if delta_softplus else delta
    none = torch.empty(0, dtype=torch.int64)
    first = u.new_zeros(len(u), *A.shape)
    moved = (v.transpose(1, 2) for v in (u, delta))
    y, last, _ = reference.scan_reference(*moved, A, B.transpose(1, 2), C.transpose(1, 2), first, none, none)
    y = y.transpose(1, 2)
    y = y if D is None else y + D.unsqueeze(1) * u
    y = y if z is None else y * F.silu(z)
    return (y, last) if return_last_state else y


@pytest.fixture
def installed(monkeypatch):
    for name in ("mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.selective_scan_interface"):
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        module.selective_scan_fn = stand_in
        monkeypatch.setitem(sys.modules, name, module)
    mamba_ssm.installed.cache_clear()
    yield
    mamba_ssm.installed.cache_clear()


@pytest.mark.parametrize("without", [(), ("D", "z", "dt_bias")])
@pytest.mark.usefixtures("installed")
def test_outputs_and_gradients_equal_the_reference(without):
    inputs = {k: v for k, v in scan_inputs(length=9, without=without).items() if k in WHOLE}
    optional = dict.fromkeys(("D", "z", "dt_bias"))
    y, last, states = mamba_ssm.scan(**(optional | inputs))
    expected, expected_last, _ = selective_scan(**inputs, backend="reference")
    assert largest_relative_error(y, expected) < 1e-5
    assert largest_relative_error(last, expected_last) < 1e-5
    assert states.shape == (0, 5, 16)
    found, wanted = (torch.autograd.grad(v.square().sum(), list(inputs.values())) for v in (y, expected))
    assert all(largest_relative_error(a, b) < 1e-5 for a, b in zip(found, wanted, strict=True))


@pytest.mark.usefixtures("installed")
def test_a_gradient_through_the_last_state_is_an_error_not_zero():
    inputs = {k: v for k, v in scan_inputs(length=3).items() if k in WHOLE}
    y, last, _ = mamba_ssm.scan(**inputs)
    with pytest.raises(RuntimeError, match="no gradient through the last state"):
        (y.sum() + last.sum()).backward()


@pytest.mark.usefixtures("installed")
def test_it_says_what_it_cannot_do():
    A = torch.zeros(5, 16)
    x = types.SimpleNamespace(device=torch.device("cuda"), numel=lambda: 10)
    assert mamba_ssm.usable(x, A, None, None, None)
    assert "state" in mamba_ssm.why_not(x, A, torch.zeros(1), None, None)
    assert "lengths" in mamba_ssm.why_not(x, A, None, torch.zeros(1), None)
    assert "states read" in mamba_ssm.why_not(x, A, None, None, reads(2, 5))
    assert "256 states" in mamba_ssm.why_not(x, torch.zeros(5, 257), None, None, None)
    assert "CUDA" in mamba_ssm.why_not(torch.zeros(1), A, None, None, None)


def test_not_installed_is_a_reason():
    mamba_ssm.installed.cache_clear()
    if mamba_ssm.installed():
        pytest.skip("mamba_ssm is installed")
    assert "not installed" in mamba_ssm.why_not(torch.zeros(1), torch.zeros(5, 16), None, None, None)


def test_the_faster_is_taken_and_each_shape_is_timed_once(monkeypatch):
    timed = []

    def seconds(scan, x, with_gradient):
        timed.append((scan.__name__, len(x), with_gradient))
        return {"slow": 2.0, "fast": 1.0}[scan.__name__]

    monkeypatch.setattr(dispatch, "_seconds", seconds)
    monkeypatch.setattr(dispatch, "_first_is_faster", {})

    def slow():
        raise AssertionError

    def fast():
        raise AssertionError

    A, x = torch.zeros(5, 16), torch.zeros(2, 9, 5)
    assert dispatch.faster(slow, fast, x, A) is fast
    assert dispatch.faster(slow, fast, x + 1, A) is fast
    assert len(timed) == 2
    assert dispatch.faster(fast, slow, x[:1].requires_grad_(), A) is fast
    assert timed[2:] == [("fast", 1, True), ("slow", 1, True)]
