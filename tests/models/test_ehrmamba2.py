"""EHRMamba-2: its settings and size, and the contract of every model again with several heads and chunks."""

from dataclasses import replace

import msgspec
import pytest
import torch

from chartscan.errors import ConfigError
from chartscan.layers import mamba2
from chartscan.models.ehrmamba2 import Config, Model
from random_batches import (
    VOCAB_SIZE,
    random_batch,
    rows_and_steps,
    some_prompts,
    with_padding,
    with_token,
)

CLOSE = {"rtol": 0, "atol": 1e-5}


def tiny(**settings):
    """Eight heads, and chunks of at most five steps: a row of 12 has two borders."""
    torch.manual_seed(0)
    small = {"d_model": 32, "n_layers": 2, "d_head": 8, "d_state": 6, "chunk": 5, "dropout": 0.0}
    return Model(Config(**(small | settings)), VOCAB_SIZE)


def real(hidden, batch):
    """The rows of `hidden` that are not padding, in order."""
    return hidden[torch.arange(hidden.shape[1]) < batch.lengths.unsqueeze(1)]


def folded(model, batch):
    state, hidden = model.init_state(len(batch.lengths)), []
    for step in range(batch.codes.shape[1]):
        h, state = model.step(rows_and_steps(batch, steps=slice(step, step + 1)), state)
        hidden.append(h)
    return torch.stack(hidden, 1)


def parameters_by_formula(width, layers, heads, head, states, taps, vocab, types, visits, sines):
    """Summed by hand from the equations: projections, convolution, a head's three numbers, norms, tables."""
    inner = heads * head
    block = (
        width * (2 * inner + 2 * states + heads)  # to gate, x, B, C and step size
        + (inner + 2 * states) * (taps + 1)  # convolution and its bias
        + 3 * heads  # decay, skip, bias of the step size
        + inner * width  # back
        + width + inner  # two norms
    )  # fmt: skip
    tables = (vocab + types + 3 + visits) * width
    joined = (width + 3 * sines) * width + width
    return layers * block, tables + joined + 3 * 2 * sines + 2 * width


def test_the_default_has_the_released_size():
    with torch.device("meta"):
        model = Model(Config(), vocab_size=1000)
    blocks, embedding = parameters_by_formula(768, 32, 24, 64, 64, 4, 1000, 24, 512, 32)
    assert sum(p.numel() for p in model.blocks.parameters()) == blocks
    assert sum(p.numel() for p in model.embedding.parameters()) == embedding
    assert model.blocks[0].A_log.shape == (24,)
    assert (model.config.d_conv, model.config.expand, model.config.chunk) == (4, 2, 256)


@pytest.mark.parametrize(
    "wrong",
    [{"d_model": 0}, {"d_state": 0}, {"chunk": 0}, {"d_head": 100}, {"d_head": 0}, {"task_type": 24}],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Config(**wrong)
    with pytest.raises(msgspec.ValidationError, match="backend"):
        msgspec.json.decode(b'{"backend": "native"}', type=Config)


def test_heads_that_do_not_divide_the_width_say_what_would():
    with pytest.raises(ConfigError, match=r"d_head is 64; expected a divisor of .*d_model, 80"):
        Config(d_model=40)


def test_folding_step_equals_forward_over_the_borders_of_chunks():
    model, batch = tiny(), random_batch()
    torch.testing.assert_close(real(folded(model, batch), batch), real(model(batch), batch), **CLOSE)


def test_a_border_that_is_dropped_is_seen(monkeypatch):
    model, batch = tiny(), random_batch(lengths=(12,))
    right, expected = mamba2.ssd, folded(model, batch)

    def forgetful(x, dt, A, B, C, *others, **named):
        parts = zip(x.split(5, 1), dt.split(5, 1), B.split(5, 1), C.split(5, 1), strict=True)
        found = [right(x, dt, A, B, C, *others, **(named | {"lengths": None})) for x, dt, B, C in parts]
        return torch.cat([y for y, _, _ in found], 1), None, None

    monkeypatch.setattr(mamba2, "ssd", forgetful)
    found = model(batch)
    torch.testing.assert_close(found[:, :5], expected[:, :5], **CLOSE)
    assert (found[:, 5:] - expected[:, 5:]).abs().max() > 1e-3


@pytest.mark.parametrize("chunk", [1, 3, 256])
def test_the_size_of_chunks_changes_nothing(chunk):
    batch = replace(random_batch(), prompts=some_prompts())
    expected, found = tiny(), tiny(chunk=chunk)
    torch.testing.assert_close(real(found(batch), batch), real(expected(batch), batch), **CLOSE)
    torch.testing.assert_close(found.prompted(batch), expected.prompted(batch), **CLOSE)


def test_padding_and_batch_mates_change_nothing():
    model, batch = tiny(), random_batch()
    hidden = model(batch)
    torch.testing.assert_close(real(model(with_padding(batch, 70)), batch), real(hidden, batch), **CLOSE)
    for row in range(3):
        alone = rows_and_steps(batch, slice(row, row + 1))
        torch.testing.assert_close(real(model(alone), alone), real(hidden[row : row + 1], alone), **CLOSE)


@pytest.mark.parametrize("position", range(11))
def test_going_on_from_a_fork_anywhere_equals_the_whole_sequence(position):
    model, batch = tiny(), random_batch()
    state = model.fork(batch, torch.tensor([0]), torch.tensor([position]))
    for step in range(position + 1, 12):
        hidden, state = model.step(rows_and_steps(batch, slice(0, 1), slice(step, step + 1)), state)
    torch.testing.assert_close(hidden[0], model(batch)[0, 11], **CLOSE)


def test_gradients_through_prompts_equal_those_of_separate_passes():
    model, batch = tiny().double(), replace(random_batch(), prompts=some_prompts())
    p, weights = batch.prompts, torch.randn(6, 32, dtype=torch.float64)
    asked = zip(p.rows.tolist(), p.positions.tolist(), p.codes.tolist(), strict=True)
    alone = torch.stack([model(with_token(batch, *question, 6))[0, -1] for question in asked])
    used = list(model.parameters())
    forked = torch.autograd.grad((model.prompted(batch) * weights).sum(), used, allow_unused=True)
    separate = torch.autograd.grad((alone * weights).sum(), used, allow_unused=True)
    for a, b in zip(forked, separate, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)
