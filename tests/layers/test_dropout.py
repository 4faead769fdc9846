"""Dropout by bytes drops as often as it says, independently, and keeps the mean."""

import pytest
import torch

from chartscan.layers.attention import Dropout

N = 2**18


def dropped(p, seed=0):
    torch.manual_seed(seed)
    return Dropout(p)(torch.ones(N, dtype=torch.float64))


@pytest.mark.parametrize("p", [0.002, 0.1, 0.2, 0.5, 0.9, 0.999])
def test_as_many_are_dropped_as_asked_to_a_256th_and_the_mean_stays(p):
    found, share = dropped(p), min(round(p * 256), 255) / 256
    kept = found != 0
    deviation = (share * (1 - share) / N) ** 0.5
    assert abs(float((~kept).double().mean()) - share) <= 5 * deviation
    assert abs(share - p) <= 0.5 / 256 or p > 255 / 256
    torch.testing.assert_close(found[kept], torch.full_like(found[kept], 1 / (1 - share)))


def test_each_of_the_bytes_of_a_word_is_drawn_anew():
    kept = (dropped(0.5) != 0).double().view(-1, 8)
    correlation = torch.corrcoef(kept.T) - torch.eye(8)
    assert correlation.abs().max() < 5 / (N / 8) ** 0.5
    assert (kept.mean(0) - 0.5).abs().max() < 5 * 0.5 / (N / 8) ** 0.5


def test_the_gradient_is_that_of_the_kept_numbers():
    x = torch.randn(3, 5, 7, requires_grad=True)
    y = Dropout(0.3)(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad * x, y)


def test_a_seed_decides_and_another_decides_otherwise():
    assert torch.equal(dropped(0.2), dropped(0.2))
    assert not torch.equal(dropped(0.2), dropped(0.2, seed=1))


@pytest.mark.parametrize("shape", [(0,), (1,), (63,), (2, 0, 3), ()])
def test_any_number_of_numbers_is_taken(shape):
    assert Dropout(0.5)(torch.ones(shape)).shape == shape


def test_nothing_is_dropped_in_evaluation_or_at_rate_zero():
    x = torch.randn(63)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
