"""Self-attention equals a loop over positions and PyTorch's own, sees what it may, and can be stepped."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chartscan.errors import ConfigError
from chartscan.layers.attention import SelfAttention

WIDTH, HEADS = 16, 4
KINDS = [(False, None), (True, None), (True, 1), (True, 5), (True, 11), (True, 12), (True, 63)]
CLOSE = {"rtol": 0, "atol": 1e-5}


def layer(causal=False, window=None, dropout=0.0, seed=0):
    torch.manual_seed(seed)
    return SelfAttention(WIDTH, HEADS, dropout, causal, window)


def stays(lengths=(12, 1, 7), seed=0):
    x = torch.randn(len(lengths), max(lengths), WIDTH, generator=torch.Generator().manual_seed(seed))
    return x, torch.tensor(lengths)


def seen_by(position, length, causal, window):
    if not causal:
        return range(length)
    return range(max(0, position + 1 - (window or length)), position + 1)


def by_loop(module, x, length, causal, window):
    """One row, position by position and head by head."""
    projected = torch.nn.functional.linear(module.norm(x), module.in_proj.weight, module.in_proj.bias)
    query, key, value = (part.view(-1, HEADS, WIDTH // HEADS) for part in projected.split(WIDTH, 1))
    rows = []
    for i in range(length):
        seen = list(seen_by(i, length, causal, window))
        heads = []
        for h in range(HEADS):
            scores = torch.stack([query[i, h] @ key[j, h] for j in seen]) / (WIDTH // HEADS) ** 0.5
            weights = scores.exp() / scores.exp().sum()
            heads.append(sum(w * value[j, h] for w, j in zip(weights, seen, strict=True)))
        attended = x[i] + module.out_proj(torch.cat(heads))
        inner = module.expand(module.ffn_norm(attended))
        rows.append(attended + module.contract(inner.clamp(min=0)))
    return torch.stack(rows)


@pytest.mark.parametrize(("causal", "window"), KINDS)
def test_it_equals_a_loop_over_positions(causal, window):
    module, (x, lengths) = layer(causal, window), stays()
    found = module(x, lengths)
    for row, length in enumerate(lengths.tolist()):
        expected = by_loop(module, x[row], length, causal, window)
        torch.testing.assert_close(found[row, :length], expected, **CLOSE)


@pytest.mark.parametrize("causal", [False, True])
def test_outputs_and_gradients_equal_those_of_pytorchs_attention_of_the_same_weights(causal):
    module, (x, lengths) = layer(causal).double(), stays((63, 20, 1))
    x = x.double()
    other = torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, dtype=torch.float64)
    other.load_state_dict(
        {
            "in_proj_weight": module.in_proj.weight,
            "in_proj_bias": module.in_proj.bias,
            "out_proj.weight": module.out_proj.weight,
            "out_proj.bias": module.out_proj.bias,
        }
    )
    padding = torch.arange(63) >= lengths.unsqueeze(1)
    later = torch.ones(63, 63, dtype=torch.bool).triu(1) if causal else None
    normed = module.norm(x)
    attended = x + other(normed, normed, normed, padding, need_weights=False, attn_mask=later)[0]
    inner = torch.relu(module.expand(module.ffn_norm(attended)))
    expected = (attended + module.contract(inner))[~padding]
    found = module(x, lengths)[~padding]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    ours = torch.autograd.grad(found.square().sum(), [module.in_proj.weight, module.out_proj.weight])
    theirs = torch.autograd.grad(expected.square().sum(), [other.in_proj_weight, other.out_proj.weight])
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(1, 45), st.integers(0, 2**31))
def test_a_window_equals_full_causal_attention_of_the_events_in_it(length, window, seed):
    module, (x, lengths) = layer(True, window), stays((length,), seed)
    full = layer(True)
    found = module(x, lengths)[0, -1]
    latest = x[:, -window:]
    torch.testing.assert_close(found, full(latest, torch.tensor([latest.shape[1]]))[0, -1], **CLOSE)


@pytest.mark.parametrize(("causal", "window"), KINDS)
def test_padding_changes_nothing_whatever_stands_in_it(causal, window):
    module, (x, lengths) = layer(causal, window), stays()
    padded = torch.cat([x, 100 + torch.zeros(3, 70, WIDTH)], 1)
    real = torch.arange(12) < lengths.unsqueeze(1)
    torch.testing.assert_close(module(padded, lengths)[:, :12][real], module(x, lengths)[real], **CLOSE)


@pytest.mark.parametrize("window", [None, 1, 5, 63])
def test_folding_step_equals_forward(window):
    module, (x, lengths) = layer(True, window), stays((12, 12))
    state, found = module.init_state(2), []
    for i in range(12):
        out, state = module.step(x[:, i], state)
        found.append(out)
    torch.testing.assert_close(torch.stack(found, 1), module(x, lengths), **CLOSE)
    assert state.keys.shape == (2, HEADS, min(12, window or 12), WIDTH // HEADS)


def test_a_stay_without_events_has_finite_outputs_and_gradients():
    module, (x, _) = layer(), stays()
    x.requires_grad_()
    module(x, torch.tensor([12, 0, 0])).sum().backward()
    assert x.grad.isfinite().all()


def test_dropout_acts_in_training_only():
    module, (x, lengths) = layer(dropout=0.5), stays()
    assert not torch.equal(module(x, lengths), module(x, lengths))
    assert torch.equal(module.eval()(x, lengths), layer()(x, lengths))


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ConfigError, match="n_heads is 3; expected a divisor of d_model, 16"):
        SelfAttention(16, 3)


def test_a_window_without_causality_is_refused():
    with pytest.raises(ConfigError, match=r"window is 5; expected at least 1, and model\.causal"):
        SelfAttention(16, 4, window=5)


@pytest.mark.parametrize(("causal", "window"), [(False, None), (True, None), (True, 4)])
def test_the_weights_times_the_values_are_what_is_attended(causal, window):
    torch.manual_seed(0)
    layer = SelfAttention(8, 2, causal=causal, window=window).eval()
    x, lengths = torch.randn(3, 11, 8), torch.tensor([11, 4, 7])
    found = layer.weights(x, lengths)
    torch.testing.assert_close(found.sum(3), torch.ones(3, 2, 11))
    _, _, value = layer._projected(x)
    expected, mixed = layer(x, lengths), layer._finished(x, found @ value)
    for row, n in enumerate(lengths.tolist()):
        torch.testing.assert_close(mixed[row, :n], expected[row, :n], atol=1e-5, rtol=1e-5)
