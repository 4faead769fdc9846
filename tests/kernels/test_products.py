"""Matrix products by oneDNN: equal to those of PyTorch, gradients too, and left to PyTorch elsewhere."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from chartscan.kernels import products as module
from chartscan.kernels.products import by_input, by_weight, linear

needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN")


@pytest.fixture
def onednn(monkeypatch):
    """As on a processor where oneDNN is faster, for products of any size."""
    monkeypatch.setattr(module, "_onednn_is_faster", lambda: True)
    monkeypatch.setattr(module, "_LEAST", 1)


def matrices(*shapes):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def close(found, expected):
    """To float32's precision of sums like these."""
    largest = float(expected.detach().abs().max())
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5 * largest)


@needs_onednn
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("x_shape", [(1, 7), (63, 7), (2, 3, 70), (0, 5), (1000, 33)])
@pytest.mark.parametrize("width", [1, 16, 130])
def test_results_and_gradients_are_those_of_pytorch_in_double_precision(onednn, x_shape, width, biased):
    given = matrices(x_shape, (width, x_shape[-1]), (width,))[: 2 + biased]
    (weights,) = matrices((*x_shape[:-1], width))
    wide = [v.detach().double().requires_grad_() for v in given]
    found, expected = linear(*given), F.linear(*wide)
    assert found.shape == expected.shape
    gradients = torch.autograd.grad((found * weights).sum(), given)
    theirs = torch.autograd.grad((expected * weights.double()).sum(), wide)
    for a, b in zip((found, *gradients), (expected, *theirs), strict=True):
        if b.numel():
            close(a, b)


@needs_onednn
def test_strides_do_not_matter(onednn):
    x, weight = (v.detach() for v in matrices((9, 12, 40), (30, 60)))
    views = [(x[:, 1:-1, 3:23], weight[:, 7:27]), (x.transpose(0, 1), weight.t()[5:45, :].t()[:, :40])]
    for part, columns in views:
        part, columns = part.requires_grad_(), columns.requires_grad_()
        found = linear(part, columns)
        close(found, F.linear(part.double(), columns.double()))
        for a, b in zip(
            torch.autograd.grad(found.sum(), (part, columns)),  # a gradient with strides of 0
            torch.autograd.grad(F.linear(part.double(), columns.double()).sum(), (part, columns)),
            strict=True,
        ):
            close(a, b.double())


@needs_onednn
@pytest.mark.parametrize(("inputs", "outputs"), [(3, 50), (50, 3)])
def test_the_gradients_are_those_of_pytorch_one_by_one_too(onednn, inputs, outputs):
    x, dy, weight = matrices((4, 50, inputs), (4, 50, outputs), (outputs, inputs))
    close(by_input(dy, weight), dy.double() @ weight.double())
    close(by_weight(dy, x), dy.double().flatten(0, 1).t() @ x.double().flatten(0, 1))
    assert not by_input(dy, weight).requires_grad
    assert not by_weight(dy, x).requires_grad


@needs_onednn
def test_only_wanted_gradients_are_computed(onednn):
    x, weight, bias = matrices((8, 5), (6, 5), (6,))
    linear(x.detach(), weight, bias).sum().backward()
    linear(x, weight.detach()).sum().backward()
    assert all(v.grad is not None for v in (x, weight, bias))


@needs_onednn
def test_the_number_of_threads_changes_no_bit(onednn):
    x, weight = matrices((700, 96), (300, 96))
    found, before = [], torch.get_num_threads()
    for threads in (1, 2, 3, 1):
        torch.set_num_threads(threads)
        y = linear(x, weight)
        found.append((y, *torch.autograd.grad(y.square().sum(), (x, weight))))
    torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@needs_onednn
def test_double_precision_autocast_and_small_products_stay_with_pytorch(onednn, monkeypatch):
    def refuse(*_):
        raise AssertionError("by oneDNN")

    monkeypatch.setattr(module, "_onednn", refuse)
    x, weight = (v.detach() for v in matrices((8, 5), (6, 5)))
    with pytest.raises(AssertionError):
        linear(x, weight)
    assert linear(x.double(), weight.double()).dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, weight).dtype == torch.bfloat16
    monkeypatch.setattr(module, "_LEAST", 8 * 5 * 6 + 1)
    torch.testing.assert_close(linear(x, weight), F.linear(x, weight))


@needs_onednn
def test_an_exported_model_holds_pytorchs_own_operation(onednn):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(6, 5))

        def forward(self, x):
            return linear(x, self.weight)

    text = str(torch.export.export(Model(), (torch.ones(8, 5),)).graph)
    assert "aten.linear" in text
    assert "mkldnn" not in text


@pytest.mark.parametrize("error", [AttributeError, RuntimeError, TypeError])
def test_a_pytorch_without_the_operation_computes_as_it_always_did(monkeypatch, error):
    def missing(*_):
        raise error

    monkeypatch.setattr(module, "_onednn", missing)
    monkeypatch.setattr(module, "is_amd", lambda: True)
    monkeypatch.setattr(module, "has_avx512", lambda: True)
    module._onednn_is_faster.cache_clear()
    try:
        assert module.product_library() == "BLAS"
        x, weight = matrices((1024, 64), (64, 64))
        assert torch.equal(linear(x, weight), F.linear(x, weight))
    finally:
        module._onednn_is_faster.cache_clear()


@pytest.mark.parametrize(
    ("text", "amd", "bf16"),
    [
        ("processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t: fpu avx512_bf16\n\nprocessor: 1\n", True, True),
        ("processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu amx_bf16\n\n", False, True),
        ("processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu avx512f\n\n", False, False),
        ("processor\t: 0\nFeatures\t: fp asimd bf16\nCPU implementer\t: 0x41\n", False, False),
    ],
)
def test_the_processor_is_read_from_what_linux_says(monkeypatch, tmp_path, text, amd, bf16):
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(module, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(module.sys, "platform", "linux")
    monkeypatch.setattr(module.platform, "processor", lambda: "")
    assert module.is_amd.__wrapped__() == amd
    assert module.has_bf16.__wrapped__() == bf16
