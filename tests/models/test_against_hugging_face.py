"""Our Mamba blocks equal Hugging Face's with the same weights: outputs, gradients, and step by step."""

import logging
import warnings

import pytest
import torch
import torch.nn.functional as F

from chartscan.layers.mamba import MambaBlock

transformers = pytest.importorskip("transformers")

WIDTH, STATES, CONV, EXPAND, RANK, LAYERS = 24, 8, 4, 2, 3, 3


@pytest.fixture(scope="module")
def theirs():
    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.manual_seed(0)
    config = transformers.MambaConfig(
        vocab_size=5,
        hidden_size=WIDTH,
        state_size=STATES,
        num_hidden_layers=LAYERS,
        conv_kernel=CONV,
        expand=EXPAND,
        time_step_rank=RANK,
        layer_norm_epsilon=1e-5,
        use_cache=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = transformers.MambaModel(config)
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms too: no term may be trivially right
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def ours_with_weights_of(theirs):
    """Blocks with the weights of theirs, and for each of our parameters the one of theirs and its rows."""
    blocks, pairs = [], []
    for layer in theirs.layers:
        mixer = layer.mixer
        block = MambaBlock(WIDTH, STATES, CONV, EXPAND, RANK)
        same = [
            (block.norm.weight, layer.norm.weight, slice(None)),
            (block.in_proj.weight, mixer.in_proj.weight, slice(None)),
            (block.conv_weight, mixer.conv1d.weight, slice(None)),
            (block.conv_bias, mixer.conv1d.bias, slice(None)),
            (block.x_proj.weight, mixer.x_proj.weight, slice(None)),
            (block.dt_proj.weight, mixer.dt_proj.weight, slice(None)),
            (block.dt_bias, mixer.dt_proj.bias, slice(None)),
            (block.A_log, mixer.A_log, slice(None)),
            (block.D, mixer.D, slice(None)),
            (block.out_proj.weight, mixer.out_proj.weight, slice(None)),
        ]
        assert len(same) == len(list(block.parameters()))
        with torch.no_grad():
            for mine, other, rows in same:
                mine.copy_(other[rows].reshape(mine.shape))
        blocks.append(block)
        pairs += same
    return blocks, pairs


def hidden_of(blocks, x, norm):
    for block in blocks:
        x = block(x)
    return F.rms_norm(x, (WIDTH,), norm.weight, 1e-5)


def test_outputs_and_gradients_are_equal(theirs):
    blocks, pairs = ours_with_weights_of(theirs)
    g = torch.Generator().manual_seed(1)
    x, dy = torch.randn(2, 45, WIDTH, generator=g), torch.randn(2, 45, WIDTH, generator=g)
    found = hidden_of(blocks, x, theirs.norm_f)
    expected = theirs(inputs_embeds=x).last_hidden_state
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    theirs.zero_grad()
    (found * dy).sum().backward(retain_graph=True)
    ours = [mine.grad.clone() for mine, _, _ in pairs]
    theirs.zero_grad()
    (expected * dy).sum().backward()
    for gradient, (_, other, rows) in zip(ours, pairs, strict=True):
        reference = other.grad[rows].reshape(gradient.shape)
        assert (gradient - reference).abs().max() < 1e-4 * reference.abs().max().clamp(min=1)


def test_folding_step_equals_their_forward(theirs):
    blocks, _ = ours_with_weights_of(theirs)
    x = torch.randn(2, 20, WIDTH, generator=torch.Generator().manual_seed(2))
    states, hidden = [block.init_state(2) for block in blocks], []
    with torch.no_grad():
        for token in x.unbind(1):
            for i, block in enumerate(blocks):
                token, states[i] = block.step(token, states[i])
            hidden.append(F.rms_norm(token, (WIDTH,), theirs.norm_f.weight, 1e-5))
        expected = theirs(inputs_embeds=x).last_hidden_state
    torch.testing.assert_close(torch.stack(hidden, 1), expected, rtol=0, atol=1e-4)
