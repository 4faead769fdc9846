"""The native convolution equals PyTorch's in float64, in every build, whatever the stride, type or window."""

import pytest
import torch
import torch.nn.functional as F

from chartscan.kernels import native
from chartscan.kernels.native import mixer

pytestmark = pytest.mark.skipif(not native.available(), reason=f"no native kernels: {native.why_not()}")
SHAPES = [(1, 1, 1), (1, 5, 4), (2, 16, 4), (3, 17, 4), (63, 5, 2), (64, 64, 4), (65, 130, 3), (200, 33, 4)]
SHAPES += [(130, 7, 8), (10, 20, 70), (150, 3, 70)]  # length, channels, taps
NAMES = ("dx", "dweight", "dbias", "dwindow")


@pytest.fixture(params=native.builds())
def build(request):
    """The kernels as built for one instruction set."""
    with native.build(request.param):
        yield request.param


def inputs(rows=2, length=63, channels=5, taps=4, window=True, seed=0):
    """x, weight, bias, window or None, and the gradient of y, in float32."""
    g = torch.Generator().manual_seed(seed)
    shapes = ((rows, length, channels), (channels, taps), (channels,), (rows, taps - 1, channels))
    x, weight, bias, before = (torch.randn(shape, generator=g) for shape in shapes)
    return x, weight, bias, before if window else None, torch.randn(x.shape, generator=g)


def expected(x, weight, bias, window, dy, silu):
    """y and all gradients by `F.conv1d` in float64."""
    leaves = [None if t is None else t.double().requires_grad_() for t in (x, weight, bias, window)]
    x, weight, bias, window = leaves
    zeros = x.new_zeros(x.shape[0], weight.shape[1] - 1, x.shape[2])
    padded = torch.cat([zeros if window is None else window, x], 1).transpose(1, 2)
    y = F.conv1d(padded, weight.unsqueeze(1), bias, groups=len(weight)).transpose(1, 2)
    y = F.silu(y) if silu else y
    return y, torch.autograd.grad(y, [leaf for leaf in leaves if leaf is not None], dy.double())


def found(x, weight, bias, window, dy, silu, dx=None):
    tensors = mixer.ConvTensors(x, weight, bias, window, silu)
    g = mixer.ConvGradients(tensors, dx)
    y = mixer.conv_forward(tensors)
    mixer.conv_backward(tensors, g, dy)
    return y, [gradient for gradient in (g.dx, g.dweight, g.dbias, g.dwindow) if gradient is not None]


def assert_equal(ours, theirs, tolerance=1e-5):
    """Each within `tolerance` of the largest element."""
    for name, a, b in zip(("y", *NAMES), (ours[0], *ours[1]), (theirs[0], *theirs[1]), strict=False):
        assert a.shape == b.shape, name
        if b.numel():
            assert (a.double() - b).abs().max() <= tolerance * (b.abs().max() + 1e-30), name


@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize("window", [True, False])
@pytest.mark.parametrize(("length", "channels", "taps"), SHAPES)
def test_it_equals_conv1d_with_all_gradients(build, length, channels, taps, window, silu):
    case = (*inputs(2, length, channels, taps, window), silu)
    assert_equal(found(*case), expected(*case))


@pytest.mark.parametrize("silu", [True, False])
def test_bfloat16_in_and_out_computes_in_float32(build, silu):
    x, weight, bias, window, dy = inputs(length=70, channels=21)
    case = (x.bfloat16(), weight, bias, window, dy.bfloat16(), silu)
    y, gradients = found(*case)
    assert y.dtype == gradients[0].dtype == torch.bfloat16
    exact = expected(*case)
    assert_equal((y, gradients), exact, tolerance=2**-8)  # half a unit in the last of 8 bits
    torch.testing.assert_close(gradients[1:], [g.float() for g in exact[1][1:]], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_x_may_be_half_of_a_joint_tensor_and_dx_half_of_its_gradient(build, dtype):
    x, weight, bias, window, dy = inputs(length=70, channels=21)
    joint = torch.randn(2, 70, 42).to(dtype)
    djoint = torch.full_like(joint, 7)
    joint[..., :21] = x.to(dtype)
    case = (weight, bias, window, dy.to(dtype), True)
    ours = found(joint[..., :21], *case, dx=djoint[..., :21])
    whole = found(x.to(dtype), *case)
    assert torch.equal(ours[0], whole[0])
    assert all(torch.equal(a, b) for a, b in zip(ours[1], whole[1], strict=True))
    assert (djoint[..., 21:] == 7).all()


def test_results_are_bitwise_the_same_for_every_number_of_threads(build):
    case = (*inputs(3, 200, 70), True)
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 7):
            torch.set_num_threads(threads)
            results.append(found(*case))
    finally:
        torch.set_num_threads(before)
    for y, gradients in results[1:]:
        assert torch.equal(y, results[0][0])
        assert all(torch.equal(a, b) for a, b in zip(gradients, results[0][1], strict=True))


def test_batch_mates_and_later_steps_do_not_change_a_row(build):
    x, weight, bias, window, dy = inputs(3, 200, 70)
    dy[1, 130:] = 0
    together = found(x, weight, bias, window, dy, True)
    alone = found(x[1:2, :130], weight, bias, window[1:2], dy[1:2, :130], True)
    assert torch.equal(together[0][1, :130], alone[0][0])
    assert torch.equal(together[1][0][1, :130], alone[1][0][0])
    assert torch.equal(together[1][3][1], alone[1][3][0])


def test_a_sequence_cut_in_two_and_joined_by_the_window_is_the_whole(build):
    x, weight, bias, window, dy = inputs(2, 100, 9)
    tensors = [mixer.ConvTensors(x[:, :41], weight, bias, window, True)]
    tensors.append(mixer.ConvTensors(x[:, 41:], weight, bias, x[:, 38:41], True))
    pieces = torch.cat([mixer.conv_forward(t) for t in tensors], 1)
    torch.testing.assert_close(pieces, found(x, weight, bias, window, dy, True)[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("rows", "length"), [(0, 5), (2, 0)])
def test_nothing_in_gives_nothing_out_and_zero_gradients_of_the_weights(build, rows, length):
    y, gradients = found(*inputs(rows, length), True)
    assert y.numel() == 0
    assert all((gradient == 0).all() for gradient in gradients)
