"""Our Mamba-2 blocks equal Hugging Face's with the same weights: outputs, gradients, and step by step."""

import logging
import warnings

import pytest
import torch
import torch.nn.functional as F

from chartscan.layers.mamba2 import Mamba2Block

transformers = pytest.importorskip("transformers")

WIDTH, STATES, HEADS, CONV, EXPAND, LAYERS, CHUNK = 24, 8, 6, 4, 2, 3, 16
HEAD_WIDTH = EXPAND * WIDTH // HEADS


@pytest.fixture(scope="module")
def theirs():
    """One group of B and C, no limit of the step size, no biases of the projections: as released."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.manual_seed(0)
    config = transformers.Mamba2Config(
        vocab_size=5,
        hidden_size=WIDTH,
        state_size=STATES,
        num_heads=HEADS,
        head_dim=HEAD_WIDTH,
        n_groups=1,
        num_hidden_layers=LAYERS,
        conv_kernel=CONV,
        expand=EXPAND,
        chunk_size=CHUNK,
        layer_norm_epsilon=1e-5,
        use_cache=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = transformers.Mamba2Model(config)
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms too: no term may be trivially right
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def ours_with_weights_of(theirs, chunk=7):
    """Blocks with the weights of theirs, and for each of our parameters the one of theirs."""
    blocks, pairs = [], []
    for layer in theirs.layers:
        mixer = layer.mixer
        block = Mamba2Block(WIDTH, STATES, HEAD_WIDTH, CONV, EXPAND, chunk)
        same = [
            (block.norm.weight, layer.norm.weight),
            (block.in_proj.weight, mixer.in_proj.weight),
            (block.conv_weight, mixer.conv1d.weight),
            (block.conv_bias, mixer.conv1d.bias),
            (block.dt_bias, mixer.dt_bias),
            (block.A_log, mixer.A_log),
            (block.D, mixer.D),
            (block.gated_norm.weight, mixer.norm.weight),
            (block.out_proj.weight, mixer.out_proj.weight),
        ]
        assert len(same) == len(list(block.parameters())) == len(list(layer.parameters()))
        with torch.no_grad():
            for mine, other in same:
                mine.copy_(other.reshape(mine.shape))
        blocks.append(block)
        pairs += same
    return blocks, pairs


def hidden_of(blocks, x, norm):
    for block in blocks:
        x = block(x)
    return F.rms_norm(x, (WIDTH,), norm.weight, 1e-5)


@pytest.mark.parametrize("length", [1, 45, 63])
def test_outputs_and_gradients_are_equal(theirs, length):
    blocks, pairs = ours_with_weights_of(theirs)
    g = torch.Generator().manual_seed(1)
    x, dy = torch.randn(2, length, WIDTH, generator=g), torch.randn(2, length, WIDTH, generator=g)
    found = hidden_of(blocks, x, theirs.norm_f)
    expected = theirs(inputs_embeds=x).last_hidden_state
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    theirs.zero_grad()
    ours = torch.autograd.grad((found * dy).sum(), [mine for mine, _ in pairs])
    (expected * dy).sum().backward()
    for gradient, (_, other) in zip(ours, pairs, strict=True):
        reference = other.grad.reshape(gradient.shape)
        assert (gradient - reference).abs().max() < 1e-4 * reference.abs().max().clamp(min=1)


def test_folding_step_equals_their_forward(theirs):
    blocks, _ = ours_with_weights_of(theirs)
    x = torch.randn(2, 40, WIDTH, generator=torch.Generator().manual_seed(2))
    states, hidden = [block.init_state(2) for block in blocks], []
    with torch.no_grad():
        for token in x.unbind(1):
            for i, block in enumerate(blocks):
                token, states[i] = block.step(token, states[i])
            hidden.append(F.rms_norm(token, (WIDTH,), theirs.norm_f.weight, 1e-5))
        expected = theirs(inputs_embeds=x).last_hidden_state
    torch.testing.assert_close(torch.stack(hidden, 1), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["gated_norm.weight", "D", "conv_bias", "dt_bias"])
def test_a_weight_that_is_not_theirs_is_seen(theirs, name):
    blocks, _ = ours_with_weights_of(theirs)
    x = torch.randn(2, 45, WIDTH, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        blocks[1].get_parameter(name).add_(0.5)
        found = hidden_of(blocks, x, theirs.norm_f)
        expected = theirs(inputs_embeds=x).last_hidden_state
    assert (found - expected).abs().max() > 1e-3
