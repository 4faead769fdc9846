"""Fusion attention equals a loop over events, gives padding no weight, and can be summed as events arrive."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chartscan.layers.attention import Fusion

WIDTH = 8
CLOSE = {"rtol": 0, "atol": 1e-5}


def fusion(seed=0, sharpness=1.0):
    torch.manual_seed(seed)
    module = Fusion(WIDTH)
    with torch.no_grad():
        module.query *= sharpness
    return module


def events(lengths, seed=0):
    x = torch.randn(len(lengths), max(lengths), WIDTH, generator=torch.Generator().manual_seed(seed))
    return x, torch.tensor(lengths)


def by_loop(module, row):
    """Weights and z of one stay, as the paper writes them, in Python's floats."""
    scores = []
    for c in row.tolist():
        hidden = [
            math.tanh(sum(w * x for w, x in zip(weights, c, strict=True)) + b)
            for weights, b in zip(module.project.weight.tolist(), module.project.bias.tolist(), strict=True)
        ]
        scores.append(sum(u * h for u, h in zip(module.query.tolist(), hidden, strict=True)))
    total = sum(math.exp(s) for s in scores)
    weights = torch.tensor([math.exp(s) / total for s in scores])
    return weights, (weights.unsqueeze(1) * row).sum(0)


def test_weights_and_sum_equal_a_loop():
    module, (x, lengths) = fusion(), events((63, 1, 12))
    weights, fused = module.weights(x, lengths), module(x, lengths)
    for row, length in enumerate(lengths.tolist()):
        expected_weights, expected = by_loop(module, x[row, :length])
        torch.testing.assert_close(weights[row, :length], expected_weights, **CLOSE)
        torch.testing.assert_close(fused[row], expected, **CLOSE)
        assert not weights[row, length:].any()


def test_a_stay_without_events_is_zero_and_sends_no_gradient():
    module, (x, _) = fusion(), events((12, 7))
    x.requires_grad_()
    lengths = torch.tensor([12, 0])
    fused = module(x, lengths)
    fused.sum().backward()
    assert not fused[1].any()
    assert not module.weights(x, lengths)[1].any()
    assert x.grad.isfinite().all()
    assert not x.grad[1].any()
    assert all(p.grad.isfinite().all() for p in module.parameters())


def test_a_batch_of_stays_without_events_has_finite_gradients():
    module, (x, _) = fusion(), events((1, 1))
    module(x, torch.tensor([0, 0])).sum().backward()
    assert all(not p.grad.any() for p in module.parameters())


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 63), st.sampled_from([1.0, 100.0, -100.0]), st.integers(0, 2**31))
def test_the_running_form_equals_the_whole_after_every_event(length, sharpness, seed):
    module, (x, _) = fusion(sharpness=sharpness), events((length, length), seed)
    state = module.init_state(2)
    for i in range(length):
        found, state = module.step(x[:, i], state)
        torch.testing.assert_close(found, module(x[:, : i + 1], torch.tensor([i + 1, i + 1])), **CLOSE)
