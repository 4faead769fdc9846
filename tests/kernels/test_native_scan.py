"""The native scan equals the float64 loop, in every build, whatever is absent, cut, padded or beside it."""

from functools import lru_cache

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chartscan.errors import ConfigError
from chartscan.kernels import native, selective_scan
from chartscan.kernels.native.scan import ScanTensors
from scan_inputs import largest_relative_error, outputs_and_gradients, part, reads, scan_inputs

pytestmark = pytest.mark.skipif(not native.available(), reason=f"no native kernels: {native.why_not()}")
BUILDS = native.builds()


@pytest.fixture(params=BUILDS)
def build(request):
    """The kernels as built for one instruction set."""
    with native.build(request.param):
        yield request.param


@lru_cache
def exact(**shape):
    """Outputs and gradients of the loop in float64: the same for every build."""
    shape = dict(shape)
    lengths = shape.pop("lengths", None)
    inputs = scan_inputs(dtype=torch.float64, **shape)
    read = None if "read" in shape.get("without", ()) else reads(inputs["x"].shape[0], inputs["x"].shape[1])
    return outputs_and_gradients(inputs, read, "reference", lengths)


def assert_close(found, expected, names, least=1e-3):
    """Outputs within 1e-5 of the largest, gradients within 1e-4; of `least` where all are smaller."""
    for a, b in zip(found[0], expected[0], strict=True):
        assert largest_relative_error(a, b, least) < 1e-5
    for name, a, b in zip(names, found[1], expected[1], strict=True):
        assert largest_relative_error(a, b, least) < 1e-4, name


@pytest.mark.parametrize("without", [(), ("state",)])
@pytest.mark.parametrize("states", [1, 8, 16, 64])
@pytest.mark.parametrize("length", [1, 63, 64, 1000, 8193])
def test_it_equals_the_float64_loop_with_all_gradients(build, length, states, without):
    shape = {"rows": 2, "length": length, "channels": 5, "states": states, "without": without}
    inputs = scan_inputs(**shape)
    found = outputs_and_gradients(inputs, reads(2, length), "native")
    assert_close(found, exact(**shape), inputs)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 4),
    length=st.integers(1, 100),
    channels=st.integers(1, 70),
    states=st.integers(1, 40),
    without=st.sets(st.sampled_from(["D", "z", "dt_bias", "state"])),
    data=st.data(),
)
def test_it_equals_the_loop_for_any_shape_with_anything_absent(
    build, rows, length, channels, states, without, data
):
    sizes = {"rows": rows, "length": length, "channels": channels, "states": states, "without": without}
    ends = data.draw(st.none() | st.lists(st.integers(0, length), min_size=rows, max_size=rows))
    lengths = None if ends is None else torch.tensor(ends)
    asked = [(r, p) for r in range(rows) for p in (0, length - 1, length // 2) if ends is None or p < ends[r]]
    read = (torch.tensor([r for r, _ in asked]).long(), torch.tensor([p for _, p in asked]).long())
    inputs, doubles = scan_inputs(**sizes), scan_inputs(**sizes, dtype=torch.float64)
    found = outputs_and_gradients(inputs, read, "native", lengths)
    expected = outputs_and_gradients(doubles, read, "reference", lengths)
    assert_close(found, expected, inputs, least=1)  # a single element may be what large terms leave


@pytest.mark.parametrize("used", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
def test_any_of_the_results_may_go_unused(build, used):
    inputs, doubles = scan_inputs(length=70), scan_inputs(length=70, dtype=torch.float64)
    found = outputs_and_gradients(inputs, reads(2, 70), "native", used=used)
    assert_close(found, outputs_and_gradients(doubles, reads(2, 70), "reference", used=used), inputs)


@pytest.mark.parametrize(
    ("rates", "step"),
    [((-1e6, -0.1), 10.0), ((-16.0, -1e-5), 1e5), ((-1e-3, 0.0), 1e6), ((-100.0, -1.0), 1e15)],
)
def test_a_slow_state_beside_a_fast_one_is_right_after_large_steps(build, rates, step):
    inputs = scan_inputs(rows=1, length=6, channels=1, states=2, without=("state", "dt_bias"))
    inputs |= {"A": torch.tensor([rates]), "dt": torch.full((1, 6, 1), step)}
    inputs = {k: v.detach().requires_grad_() for k, v in inputs.items()}
    doubles = {k: v.detach().double().requires_grad_() for k, v in inputs.items()}
    expected = outputs_and_gradients(doubles, None, "reference")
    assert_close(outputs_and_gradients(inputs, None, "native"), expected, inputs)


@pytest.mark.parametrize("channels", [5, 24, 40])
def test_memory_that_held_other_things_changes_nothing(build, channels):
    inputs = scan_inputs(rows=2, length=70, channels=channels)
    lengths = torch.tensor([20, 70])
    expected = outputs_and_gradients(inputs, None, "native", lengths)
    torch.use_deterministic_algorithms(True)  # fills new tensors with NaN
    try:
        found = outputs_and_gradients(inputs, None, "native", lengths)
    finally:
        torch.use_deterministic_algorithms(False)
    for a, b in zip((*found[0], *found[1]), (*expected[0], *expected[1]), strict=True):
        assert torch.equal(a, b)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 150), max_size=4).map(sorted), states=st.sampled_from([1, 5, 16, 24]))
def test_scanning_in_pieces_equals_scanning_whole(build, cuts, states):
    inputs = scan_inputs(length=150, channels=20, states=states)
    whole, last, _ = selective_scan(**inputs, backend="native")
    state, pieces = inputs["state"], []
    for start, end in zip([0, *cuts], [*cuts, 150], strict=True):
        piece, state, _ = selective_scan(**(part(inputs, start, end) | {"state": state}), backend="native")
        pieces.append(piece)
    assert torch.equal(torch.cat(pieces, 1), whole)
    assert torch.equal(state, last)


@pytest.mark.parametrize("threads", [2, 3])
def test_the_number_of_threads_changes_no_bit(build, threads):
    inputs = scan_inputs(rows=3, length=200, channels=200, states=16)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = outputs_and_gradients(inputs, reads(3, 200), "native")
        torch.set_num_threads(threads)
        together = outputs_and_gradients(inputs, reads(3, 200), "native")
    finally:
        torch.set_num_threads(before)
    for a, b in zip((*alone[0], *alone[1]), (*together[0], *together[1]), strict=True):
        assert torch.equal(a, b)


def test_batch_mates_and_padding_change_no_bit(build):
    inputs = scan_inputs(rows=3, length=100, channels=37, without=("state",))
    lengths = torch.tensor([70, 100, 0])
    y, last, _ = selective_scan(**inputs, lengths=lengths, backend="native")
    first = {k: v[:1] if v.dim() == 3 else v for k, v in part(inputs, 0, 70).items()}
    alone, state, _ = selective_scan(**first, backend="native")
    assert torch.equal(y[:1, :70], alone)
    assert torch.equal(last[:1], state)
    assert not y[0, 70:].any()
    assert not y[2].any()
    assert not last[2].any()


def test_padding_may_hold_anything(build):
    inputs = scan_inputs(rows=2, length=40)
    lengths = torch.tensor([25, 40])
    expected = outputs_and_gradients(inputs, None, "native", lengths)
    spoilt = {k: v.detach().clone() for k, v in inputs.items()}
    for name in ("x", "dt", "B", "C", "z"):
        spoilt[name][0, 25:] = float("nan")
    found = outputs_and_gradients({k: v.requires_grad_() for k, v in spoilt.items()}, None, "native", lengths)
    for a, b in zip((*found[0], *found[1]), (*expected[0], *expected[1]), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("bias", [-20.0, 0.0, 20.0])
def test_very_small_and_very_large_steps_stay_finite_and_right(build, bias):
    inputs = scan_inputs(length=63) | {"dt_bias": torch.full((5,), bias).requires_grad_()}
    doubles = {k: v.detach().double().requires_grad_() for k, v in inputs.items()}
    expected = outputs_and_gradients(doubles, None, "reference")
    found = outputs_and_gradients(inputs, None, "native")
    assert all(torch.isfinite(t).all() for t in (*found[0], *found[1]))
    assert_close(found, expected, inputs)


def test_a_long_memory_does_not_drift(build):
    """Decays of 1 - 1e-5 over 20,000 steps: an exponential wrong by 1e-7 near 0 would be off by 2e-3."""
    length = 20_000
    inputs = scan_inputs(rows=1, length=length, channels=16, states=4)
    slow = {"dt": torch.full_like(inputs["dt"], -11.5), "dt_bias": torch.zeros(16), "A": -torch.ones(16, 4)}
    inputs |= {k: v.requires_grad_() for k, v in slow.items()}
    doubles = {k: v.detach().double() for k, v in inputs.items()}
    with torch.no_grad():
        _, expected, _ = selective_scan(**doubles, backend="chunked")
        _, found, _ = selective_scan(**inputs, backend="native")
    assert largest_relative_error(found, expected) < 1e-4


def test_bf16_in_and_out_equals_the_loop_on_the_same_rounded_numbers(build):
    inputs = scan_inputs(rows=2, length=130, channels=40)
    low = {
        k: (v.detach().bfloat16() if v.dim() == 3 and k != "state" else v.detach()) for k, v in inputs.items()
    }
    low = {k: v.requires_grad_() for k, v in low.items()}
    doubles = {k: v.detach().double().requires_grad_() for k, v in low.items()}
    expected = outputs_and_gradients(doubles, reads(2, 130), "reference")
    found = outputs_and_gradients(low, reads(2, 130), "native")
    assert found[0][0].dtype == torch.bfloat16
    assert found[0][1].dtype == torch.float32
    assert largest_relative_error(found[0][1], expected[0][1]) < 1e-5  # the state never was bf16
    for name, a, b in zip(inputs, found[1], expected[1], strict=True):
        assert a.dtype == low[name].dtype
        assert largest_relative_error(a, b) < 2**-7, name


def test_slices_of_larger_tensors_are_read_in_place(build):
    inputs = scan_inputs(rows=2, length=33, channels=24)
    joint = torch.cat([inputs["x"], inputs["z"]], 2).detach()
    narrow = torch.cat([inputs["B"], inputs["C"]], 2).detach()
    x, z = joint.chunk(2, 2)
    B, C = narrow.chunk(2, 2)
    expected = selective_scan(**inputs, backend="native")
    found = selective_scan(**(inputs | {"x": x, "z": z, "B": B, "C": C}), backend="native")
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


def test_arguments_are_not_changed(build):
    inputs = scan_inputs()
    before = {k: v.detach().clone() for k, v in inputs.items()}
    outputs_and_gradients(inputs, reads(2, 63), "native")
    assert all(torch.equal(before[k], v) for k, v in inputs.items())


@pytest.mark.parametrize(("rows", "length", "channels"), [(0, 5, 3), (2, 0, 3)])
def test_nothing_in_gives_nothing_out(build, rows, length, channels):
    inputs = scan_inputs(rows, length, channels)
    y, last, _ = selective_scan(**inputs, backend="native")
    assert y.shape == (rows, length, channels)
    assert torch.equal(last, inputs["state"])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": torch.zeros(2, 63, 4)}, ValueError, "dt"),
        ({"B": torch.zeros(2, 63, 15)}, ValueError, "B has the shape"),
        ({"C": torch.zeros(2, 62, 16)}, ValueError, "C has the shape"),
        ({"D": torch.zeros(6)}, ValueError, "D has the shape"),
        ({"state": torch.zeros(2, 5, 8)}, ValueError, "state has the shape"),
        ({"lengths": torch.tensor([63, 64])}, ValueError, "lengths"),
        ({"lengths": torch.tensor([63.0, 3.0])}, TypeError, "lengths"),
        ({"read": (torch.tensor([2]), torch.tensor([0]))}, IndexError, "row"),
        ({"read": (torch.tensor([1]), torch.tensor([63]))}, IndexError, "position"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_pointer_is_read(change, error, message):
    with pytest.raises(error, match=message):
        selective_scan(**(scan_inputs() | change), backend="native")


@pytest.mark.parametrize("name", ["x", "dt", "A", "D", "state"])
def test_a_tensor_elsewhere_is_refused_before_a_pointer_is_read(name):
    inputs = {k: v.detach() for k, v in scan_inputs().items()}
    others = inputs | {name: inputs[name].to("meta")}
    with pytest.raises(ValueError, match="meta"):
        ScanTensors(**others, lengths=None, rows=None, positions=None)
    with pytest.raises((ValueError, ConfigError), match="meta"):
        selective_scan(**others, backend="native")


def test_a_planted_error_is_seen():
    """The comparison fails when the last step is not scanned."""
    shape = {"rows": 2, "length": 63, "channels": 5, "states": 16, "without": ()}
    inputs = scan_inputs(**shape)
    found = outputs_and_gradients(inputs, reads(2, 63), "native")
    assert_close(found, exact(**shape), inputs)
    short = outputs_and_gradients(inputs, None, "native", torch.tensor([62, 63]))
    with pytest.raises(AssertionError):
        assert_close((short[0][:2], short[1]), (exact(**shape)[0][:2], exact(**shape)[1]), inputs)
