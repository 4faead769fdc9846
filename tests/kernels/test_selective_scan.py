"""The scans in PyTorch equal the written recurrence in float64: outputs, states, every input's gradient."""

import pytest
import torch

from chartscan.kernels import selective_scan
from scan_inputs import largest_relative_error, outputs_and_gradients, part, reads, scan_inputs


@pytest.mark.parametrize("length", [1, 63, 64, 1000])
@pytest.mark.parametrize("states", [1, 8, 16])
def test_chunked_equals_the_float64_loop_with_all_gradients(length, states):
    read = reads(2, length)
    exact = scan_inputs(length=length, states=states, dtype=torch.float64)
    single = scan_inputs(length=length, states=states)
    expected, expected_gradients = outputs_and_gradients(exact, read, "reference")
    found, gradients = outputs_and_gradients(single, read, "chunked")
    for a, b in zip(found, expected, strict=True):
        assert largest_relative_error(a, b) < 1e-5
    for name, a, b in zip(exact, gradients, expected_gradients, strict=True):
        assert largest_relative_error(a, b) < 1e-5, name


@pytest.mark.parametrize(("rows", "channels"), [(1, 5000), (7, 1100), (130, 40)])
def test_tiles_of_every_shape_equal_the_loop(rows, channels):
    length = 35  # with these rows and channels: tiles cut short at the right, at the bottom, and at neither
    exact = scan_inputs(rows, length, channels, states=2, dtype=torch.float64)
    expected, expected_gradients = outputs_and_gradients(exact, reads(rows, length), "reference")
    found, gradients = outputs_and_gradients(exact, reads(rows, length), "chunked")
    for a, b in zip((*found, *gradients), (*expected, *expected_gradients), strict=True):
        assert largest_relative_error(a, b) < 1e-12


@pytest.mark.parametrize("backend", ["chunked", "reference"])
def test_gradients_agree_with_finite_differences(backend):
    inputs = scan_inputs(rows=2, length=5, channels=2, states=3, dtype=torch.float64)

    def scan(*tensors):
        return selective_scan(*tensors, read=reads(2, 5), backend=backend)

    assert torch.autograd.gradcheck(scan, tuple(inputs.values()))


def test_scanning_in_pieces_equals_scanning_whole():
    inputs = scan_inputs(length=150)
    whole, last, _ = selective_scan(**inputs)
    state, pieces = inputs["state"], []
    for start, end in ((0, 1), (1, 64), (64, 150)):
        piece, state, _ = selective_scan(**(part(inputs, start, end) | {"state": state}))
        pieces.append(piece)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(state, last, rtol=1e-5, atol=1e-5)


def test_a_state_read_is_the_last_state_of_the_sequence_cut_there():
    inputs = scan_inputs(length=70)
    _, _, states = selective_scan(**inputs, read=(torch.tensor([1]), torch.tensor([40])))
    last = selective_scan(**part(inputs, 0, 41))[1]
    torch.testing.assert_close(states[0], last[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [-20.0, 0.0, 20.0])
def test_very_small_and_very_large_steps_stay_finite_and_right(bias):
    inputs = scan_inputs(length=63) | {"dt_bias": torch.full((5,), bias).requires_grad_()}
    exact = {k: v.detach().double().requires_grad_() for k, v in inputs.items()}
    expected, expected_gradients = outputs_and_gradients(exact, None, "reference")
    found, gradients = outputs_and_gradients(inputs, None, "chunked")
    for a, b in zip((*found[:2], *gradients), (*expected[:2], *expected_gradients), strict=True):
        assert torch.isfinite(a).all()
        assert largest_relative_error(a, b) < 3e-5


def test_optional_inputs_may_be_absent():
    inputs = scan_inputs()
    few = {k: inputs[k] for k in ("x", "dt", "A", "B", "C")}
    neutral = few | {"D": torch.zeros(5), "dt_bias": torch.zeros(5), "state": torch.zeros(2, 5, 16)}
    torch.testing.assert_close(selective_scan(**few)[0], selective_scan(**neutral)[0])


def test_without_gradients_the_result_is_the_same():
    inputs = scan_inputs()
    with torch.no_grad():
        without = selective_scan(**inputs, read=reads(2, 63))
    for a, b in zip(without, selective_scan(**inputs, read=reads(2, 63)), strict=True):
        assert torch.equal(a, b)


def test_the_scan_computes_in_float32_under_autocast():
    inputs = scan_inputs()
    expected = selective_scan(**inputs)[0]
    with torch.autocast("cpu", torch.bfloat16):
        found = selective_scan(**inputs)[0]
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_arguments_are_not_changed():
    inputs = scan_inputs()
    before = {k: v.detach().clone() for k, v in inputs.items()}
    outputs_and_gradients(inputs, reads(2, 63), "chunked")
    assert all(torch.equal(before[k], v) for k, v in inputs.items())
