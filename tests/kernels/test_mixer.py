"""The mixer of every backend equals the plain composition in float64, with all gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from chartscan.errors import ConfigError
from chartscan.kernels import mixer, native, selective_scan
from mixer_inputs import mixer_inputs
from scan_inputs import largest_relative_error, reads, scan_inputs

RUNNABLE = ["chunked", "reference", *(["native"] if native.available() else [])]


def written_out(xz, w, window, state, lengths, read):
    """The block's inside step by step, with PyTorch's own convolution and the reference scan."""
    x, z = xz.chunk(2, 2)
    joined = torch.cat([window, x], 1).transpose(1, 2)
    u = F.silu(F.conv1d(joined, w.conv_weight.unsqueeze(1), w.conv_bias, groups=len(w.D)).transpose(1, 2))
    rank, n = w.dt_proj.shape[1], w.A.shape[1]
    low, B, C = (u @ w.x_proj.t()).split([rank, n, n], 2)
    dt = low @ w.dt_proj.t()
    return selective_scan(u, dt, w.A, B, C, w.D, z, w.dt_bias, state, lengths, read, "reference")


def differentiated(outputs, inputs):
    g = torch.Generator().manual_seed(1)
    total = sum(
        (o * torch.randn(o.shape, generator=g, dtype=torch.float64).to(o.dtype)).sum() for o in outputs
    )
    return torch.autograd.grad(total, inputs)


@pytest.mark.parametrize("backend", RUNNABLE)
@pytest.mark.parametrize("length", [1, 2, 35, 100])
@pytest.mark.parametrize("taps", [1, 4])
def test_it_equals_the_plain_composition_with_all_gradients(backend, length, taps):
    shape = {"length": length, "taps": taps, "channels": 20}
    lengths, read = torch.tensor([length, max(1, length // 2)]), reads(2, max(1, length // 2))
    xz, w, window, state = mixer_inputs(**shape, dtype=torch.float64)
    expected = written_out(xz, w, window, state, lengths, read)
    expected_gradients = differentiated(expected, [xz, *w, window, state])
    xz, w, window, state = mixer_inputs(**shape)
    found = mixer(xz, w, window, state, lengths, read, backend)
    gradients = differentiated(found, [xz, *w, window, state])
    for a, b in zip(found, expected, strict=True):
        assert largest_relative_error(a, b) < 1e-5
    for name, a, b in zip(("xz", *w._fields, "window", "state"), gradients, expected_gradients, strict=True):
        assert largest_relative_error(a, b) < 1e-4, name


@pytest.mark.parametrize("backend", RUNNABLE)
def test_in_bf16_it_is_near_and_its_state_stays_float32(backend):
    xz, w, *_ = mixer_inputs(length=60, channels=32)
    expected, last, _ = mixer(xz, w, backend=backend)
    found, state, _ = mixer(xz.bfloat16(), w, backend=backend)
    assert found.dtype == torch.bfloat16
    assert state.dtype == torch.float32
    assert largest_relative_error(found, expected) < 0.03
    assert largest_relative_error(state, last) < 0.03


@pytest.mark.parametrize("backend", RUNNABLE)
def test_it_can_be_computed_anew_for_the_gradient_where_memory_is_short(backend):
    xz, w, window, state = inputs = mixer_inputs()
    expected = differentiated(mixer(xz, w, window, state, backend=backend), [xz, *w, window, state])
    again = checkpoint(mixer, *inputs, backend=backend, use_reentrant=False)
    for a, b in zip(differentiated(again, [xz, *w, window, state]), expected, strict=True):
        assert torch.equal(a, b)


def test_an_unknown_or_unusable_backend_is_refused_with_the_remedy():
    inputs = scan_inputs()
    with pytest.raises(ConfigError, match="no such backend"):
        selective_scan(**inputs, backend="cuda")
    with pytest.raises(ConfigError, match=r"'cuda'.*backend='auto'"):
        selective_scan(**inputs, backend="triton")
    doubles = {k: v.double() for k, v in inputs.items()}
    with pytest.raises(ConfigError, match="float64"):
        selective_scan(**doubles, backend="native")
    assert selective_scan(**doubles)[0].dtype == torch.float64


@pytest.mark.parametrize("backend", RUNNABLE)
def test_autocast_changes_nothing_inside(backend):
    xz, w, *_ = mixer_inputs()
    expected = mixer(xz, w, backend=backend)[0]
    with torch.autocast("cpu", torch.bfloat16):
        found = mixer(xz, w, backend=backend)[0]
        differentiated([found], [xz, *w])
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
