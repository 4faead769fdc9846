"""The native kernels as PyTorch operators: opcheck, compiled whole, exported, and inside autocast."""

import shutil

import pytest
import torch

from chartscan.kernels import MixerWeights, causal_conv, mixer, native, selective_scan
from chartscan.kernels.native.mixer import causal_conv as conv_operator
from chartscan.kernels.native.mixer import mixer as mixer_operator
from chartscan.kernels.native.scan import selective_scan as scan_operator
from mixer_inputs import mixer_inputs
from scan_inputs import reads, scan_inputs

pytestmark = pytest.mark.skipif(not native.available(), reason=f"no native kernels: {native.why_not()}")
ORDER = ("x", "dt", "A", "B", "C", "D", "z", "dt_bias", "state")


@pytest.mark.parametrize("without", [(), ("D", "z", "dt_bias", "state")])
def test_the_scan_passes_opcheck(without):
    inputs = scan_inputs(length=35, without=without)
    arguments = [inputs.get(name) for name in ORDER]
    read = reads(2, 20) if not without else (None, None)
    torch.library.opcheck(scan_operator, (*arguments, torch.tensor([35, 20]), *read, True))


@pytest.mark.parametrize("silu", [True, False])
def test_the_convolution_passes_opcheck(silu):
    x, weight, bias = (torch.randn(s).requires_grad_() for s in ((2, 9, 6), (6, 4), (6,)))
    window = torch.randn(2, 3, 6).requires_grad_()
    torch.library.opcheck(conv_operator, (x, weight, bias, None, silu))
    torch.library.opcheck(conv_operator, (x, weight, bias, window, silu))


def test_the_mixer_passes_opcheck():
    xz, weights, window, state = mixer_inputs(length=35)
    rest = (torch.tensor([35, 20]), *reads(2, 20), True)
    torch.library.opcheck(mixer_operator, (xz, *weights, window, state, *rest))


def loss_of(xz, weights):
    y, last, _ = mixer(xz, MixerWeights(*weights))
    return y.square().sum() + last.sum()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch by itself, when it compiles
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.soak)])
def test_it_compiles_without_a_graph_break_with_equal_gradients(backend):
    if backend == "inductor" and not shutil.which("g++"):
        pytest.skip("the inductor needs a C++ compiler")
    xz, weights, *_ = mixer_inputs(length=35)
    inputs = [xz, *weights]
    expected = torch.autograd.grad(loss_of(xz, weights), inputs)
    compiled = torch.compile(loss_of, fullgraph=True, backend=backend)
    found = torch.autograd.grad(compiled(xz, weights), inputs)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


class Scans(torch.nn.Module):
    def forward(self, x, dt, A, B, C):
        return selective_scan(causal_conv(x, A[:, :4], A[:, 0]), dt, A, B, C)[0]


def test_it_is_exported_as_one_operator():
    inputs = tuple(scan_inputs(length=35)[name].detach() for name in ("x", "dt", "A", "B", "C"))
    with torch.no_grad():
        exported = torch.export.export(Scans(), inputs)
    called = {str(node.target) for node in exported.graph.nodes}
    assert "chartscan.selective_scan.default" in called
    assert "chartscan.causal_conv.default" in called
    torch.testing.assert_close(exported.module()(*inputs), Scans()(*inputs))
