"""Mamba-2's scan by chunks equals the written recurrence: outputs, states, every input's gradient."""

import sys

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from chartscan.kernels import selective_scan, ssd, ssd_step
from chartscan.kernels.reference import ssd_reference
from scan_inputs import largest_relative_error, reads
from ssd_inputs import SEQUENCES, outputs_and_gradients, ssd_inputs

MODULE = sys.modules[ssd.__module__]  # which the function of its name hides


def errors(inputs, exact, lengths=None, **settings):
    """Largest relative error of each output and gradient."""
    rows, length = exact["x"].shape[:2]
    common = {"read": reads(rows, length), "lengths": lengths}
    real = None if lengths is None else torch.arange(length) < lengths.unsqueeze(1)
    expected, expected_gradients = outputs_and_gradients(ssd_reference, exact, real, **common)
    found, gradients = outputs_and_gradients(ssd, inputs, real, **common, **settings)
    pairs = zip((*found, *gradients), (*expected, *expected_gradients), strict=True)
    return [largest_relative_error(a, b) for a, b in pairs]


@pytest.mark.parametrize("length", [1, 63, 64, 65, 1000])
def test_chunks_equal_the_float64_loop_with_all_gradients(length):
    exact = ssd_inputs(length=length, dtype=torch.float64)
    assert max(errors(exact, exact, chunk=64)) < 1e-12
    assert max(errors(ssd_inputs(length=length), exact, chunk=64)) < 5e-5


@pytest.mark.parametrize("chunk", [1, 2, 7, 35, 256])
@pytest.mark.parametrize(
    ("rows", "heads", "channels", "states"), [(1, 1, 1, 1), (3, 4, 2, 16), (2, 1, 64, 3)]
)
def test_chunks_of_every_size_equal_the_loop(chunk, rows, heads, channels, states):
    exact = ssd_inputs(rows, 35, heads, channels, states, torch.float64)
    assert max(errors(exact, exact, chunk=chunk)) < 1e-12


def test_rows_that_end_early_keep_the_state_of_their_end():
    exact, lengths = ssd_inputs(rows=3, length=70, dtype=torch.float64), torch.tensor([70, 33, 0])
    assert max(errors(exact, exact, lengths, chunk=16)) < 1e-12
    _, last, _ = ssd(**exact, chunk=16, lengths=lengths)
    assert torch.equal(last[2], exact["state"][2])


def test_matrices_made_a_few_chunks_at_a_time_give_the_same(monkeypatch):
    monkeypatch.setattr(MODULE, "_CPU_ELEMENTS", 3 * 4 * 4 * 2)  # two chunks of four steps
    exact = ssd_inputs(length=35, dtype=torch.float64)
    assert max(errors(exact, exact, chunk=4)) < 1e-12


def test_a_dropped_border_between_chunks_is_seen(monkeypatch):
    right = MODULE._states

    def forgetful(chunks, state):
        before, last = right(chunks, state)
        return torch.cat([before[:, :1], torch.zeros_like(before[:, 1:])], 1), last

    monkeypatch.setattr(MODULE, "_states", forgetful)
    exact = ssd_inputs(length=35, dtype=torch.float64)
    assert max(errors(exact, exact, chunk=35)) < 1e-12  # one chunk has no border
    assert max(errors(exact, exact, chunk=34)) > 1e-2


def test_gradients_agree_with_finite_differences():
    inputs = ssd_inputs(rows=2, length=5, heads=2, channels=2, states=2, dtype=torch.float64)

    def scan(x, dt, A, B, C, D, dt_bias, state):
        return ssd(x, dt, A, B, C, D, dt_bias, 2, state, read=reads(2, 5))

    assert torch.autograd.gradcheck(scan, tuple(inputs.values()))


def test_it_is_the_selective_scan_where_the_channels_of_a_head_share_step_and_decay():
    inputs = {name: t.detach() for name, t in ssd_inputs(heads=3, channels=4, dtype=torch.float64).items()}
    y, last, _ = ssd(**inputs, chunk=16)
    each = {name: inputs[name].repeat_interleave(4, -1) for name in ("dt", "A", "D", "dt_bias")}
    whole = each | {"A": each["A"].unsqueeze(1).expand(-1, 7), "B": inputs["B"], "C": inputs["C"]}
    flat = {"x": inputs["x"].flatten(2), "state": inputs["state"].flatten(1, 2)}
    expected, after, _ = selective_scan(**flat, **whole, backend="reference")
    torch.testing.assert_close(y.flatten(2), expected)
    torch.testing.assert_close(last.flatten(1, 2), after)


def test_scanning_in_pieces_equals_scanning_whole():
    inputs = ssd_inputs(length=150)
    whole, last, _ = ssd(**inputs, chunk=32)
    state, pieces = inputs["state"], []
    for start, end in ((0, 1), (1, 64), (64, 64), (64, 150)):
        cut = {k: v[:, start:end] if k in SEQUENCES else v for k, v in inputs.items()}
        piece, state, _ = ssd(**(cut | {"state": state}), chunk=32)
        pieces.append(piece)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(state, last, rtol=1e-5, atol=1e-5)


def test_folding_the_step_equals_the_scan():
    inputs = ssd_inputs(length=40, dtype=torch.float64)
    state, ys = inputs["state"], []
    whole = {name: inputs[name] for name in ("A", "D", "dt_bias")}
    for step in range(40):
        here = {name: inputs[name][:, step] for name in SEQUENCES}
        y, state = ssd_step(**here, **whole, state=state)
        ys.append(y)
    expected, last, _ = ssd(**inputs, chunk=16)
    torch.testing.assert_close(torch.stack(ys, 1), expected)
    torch.testing.assert_close(state, last)


@pytest.mark.parametrize("bias", [-20.0, 0.0, 20.0])
def test_very_small_and_very_large_steps_stay_finite_and_right(bias):
    inputs = ssd_inputs() | {"dt_bias": torch.full((3,), bias).requires_grad_()}
    exact = {k: v.detach().double().requires_grad_() for k, v in inputs.items()}
    found = errors(inputs, exact, chunk=64)
    assert max(found) < 1e-4  # NaN would not be below


def test_what_is_kept_for_the_gradient_grows_with_length_and_not_with_the_chunk():
    def kept(length, chunk):
        sizes = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: sizes.update({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()}) or t,
            lambda t: t,
        ):
            _outputs = ssd(**ssd_inputs(length=length, heads=8, channels=2), chunk=chunk)
            return sum(sizes.values())

    assert kept(1024, 64) < 2.05 * kept(512, 64)
    assert kept(1024, 256) < 1.05 * kept(1024, 64)


def test_the_scan_computes_in_float32_under_autocast():
    inputs = ssd_inputs()
    expected = ssd(**inputs, chunk=16)[0]
    with torch.autocast("cpu", torch.bfloat16):
        found = ssd(**inputs, chunk=16)[0]
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_bf16_inputs_give_bf16_outputs_and_float32_states():
    inputs = ssd_inputs(length=40)
    half = {k: v.bfloat16() if k in SEQUENCES else v for k, v in inputs.items()}
    y, last, states = ssd(**half, chunk=16, read=reads(2, 40))
    assert (y.dtype, last.dtype, states.dtype) == (torch.bfloat16, torch.float32, torch.float32)
    torch.testing.assert_close(y.float(), ssd(**inputs, chunk=16)[0], rtol=0.05, atol=0.1)


def test_it_can_be_computed_anew_for_the_gradient_where_memory_is_short():
    def anew(**arguments):
        return checkpoint(ssd, **arguments, use_reentrant=False)

    inputs, read = ssd_inputs(), reads(2, 40)
    (_, expected), (_, found) = (
        outputs_and_gradients(scan, inputs, chunk=16, read=read) for scan in (ssd, anew)
    )
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


def test_arguments_are_not_changed():
    inputs = ssd_inputs()
    before = {k: v.detach().clone() for k, v in inputs.items()}
    outputs_and_gradients(ssd, inputs, chunk=16, read=reads(2, 63))
    assert all(torch.equal(before[k], v) for k, v in inputs.items())
