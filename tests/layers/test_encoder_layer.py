"""The encoder layer beside what Hugging Face's says of it: padding, dropout, settings."""

import pytest
import torch

from chartscan.errors import ConfigError
from chartscan.layers.attention import FullAttention
from chartscan.layers.encoder import EncoderLayer

WIDTH, HEADS = 16, 4


def layer(dropout=0.0, attention=0.0):
    torch.manual_seed(0)
    return EncoderLayer(WIDTH, HEADS, 32, dropout, FullAttention(attention))


def rows():
    return torch.randn(3, 12, WIDTH, generator=torch.Generator().manual_seed(0)), torch.tensor([12, 1, 7])


def test_padding_changes_nothing_whatever_stands_in_it():
    module, (x, lengths) = layer(), rows()
    padded = torch.cat([x, 100 + torch.zeros(3, 70, WIDTH)], 1)
    real = torch.arange(12) < lengths.unsqueeze(1)
    found = module(padded, lengths)[:, :12][real]
    torch.testing.assert_close(found, module(x, lengths)[real], rtol=0, atol=1e-5)


def test_what_comes_out_is_normed():
    module, (x, lengths) = layer(), rows()
    out = module(5 * x, lengths)
    torch.testing.assert_close(out.mean(2), torch.zeros(3, 12), rtol=0, atol=1e-5)
    torch.testing.assert_close(out.std(2, correction=0), torch.ones(3, 12), rtol=0, atol=1e-3)


@pytest.mark.parametrize("dropouts", [(0.5, 0.0), (0.0, 0.5)])
def test_dropout_acts_in_training_only(dropouts):
    module, (x, lengths) = layer(*dropouts), rows()
    assert not torch.equal(module(x, lengths), module(x, lengths))
    assert torch.equal(module.eval()(x, lengths), layer().eval()(x, lengths))


def test_a_row_without_events_has_finite_outputs_and_gradients():
    module, (x, _) = layer(), rows()
    x.requires_grad_()
    module(x, torch.tensor([12, 0, 0])).sum().backward()
    assert x.grad.isfinite().all()


def test_under_bf16_autocast_what_is_added_up_stays_float32():
    module, (x, lengths) = layer(), rows()
    with torch.autocast("cpu", torch.bfloat16):
        out = module(x, lengths)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, module(x, lengths), rtol=0, atol=0.05)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ConfigError, match="n_heads is 3; expected a divisor of d_model, 16"):
        EncoderLayer(16, 3, 32, 0.0, FullAttention())


def test_its_weights_are_those_of_its_attention():
    module, (x, lengths) = layer(), rows()
    given = []
    module.attention.register_forward_pre_hook(lambda _, arguments: given.append(arguments))
    module(x, lengths)
    query, key, value, _ = given[0]
    weights = module.weights(x, lengths)
    torch.testing.assert_close(weights.sum(3), torch.ones(3, HEADS, 12))
    expected = module.attention(query, key, value, lengths)
    torch.testing.assert_close(weights @ value, expected, rtol=0, atol=1e-5)
