"""The convolution equals PyTorch's own, with all gradients."""

import pytest
import torch
import torch.nn.functional as F

from chartscan.kernels import causal_conv


def conv1d(x, weight, bias):
    padded = F.pad(x.transpose(1, 2), (weight.shape[1] - 1, 0))
    return F.conv1d(padded, weight.unsqueeze(1), bias, groups=len(weight)).transpose(1, 2)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 63])
@pytest.mark.parametrize("width", [1, 4])
def test_it_equals_conv1d_with_all_gradients(length, width):
    g = torch.Generator().manual_seed(0)
    shapes = ((3, length, 5), (5, width), (5,), (3, length, 5))
    x, weight, bias, dy = (torch.randn(s, generator=g, dtype=torch.float64) for s in shapes)
    inputs = [t.requires_grad_() for t in (x, weight, bias)]
    found, expected = causal_conv(*inputs), conv1d(*inputs)
    torch.testing.assert_close(found, expected)
    gradients = torch.autograd.grad(found, inputs, dy), torch.autograd.grad(expected, inputs, dy)
    torch.testing.assert_close(*gradients)
