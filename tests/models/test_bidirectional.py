"""BiLSTM, CEHR-BERT and BigBird: the paper's sizes, settings, and what each has beside the contract."""

from dataclasses import replace

import msgspec
import pytest
import torch

from chartscan.errors import ConfigError
from chartscan.models import bigbird, bilstm, cehr_bert
from random_batches import VOCAB_SIZE, random_batch, some_prompts

MODULES = [bilstm, cehr_bert, bigbird]
TRANSFORMERS = [cehr_bert, bigbird]
SMALL = {"d_model": 24, "n_layers": 2, "dropout": 0.0}


def tiny(module, **settings):
    torch.manual_seed(0)
    return module.Model(module.Config(**(SMALL | settings)), VOCAB_SIZE)


def embedding_parameters(vocab_size, positions):
    """Eq. 1 with tables of 768, three sine features of 32 waves, the projection of both, and the norm."""
    tables = (vocab_size + 24 + 3 + 512 + positions) * 768
    return tables + 3 * 32 * 2 + (768 + 3 * 32) * 768 + 768 + 2 * 768


def encoder_parameters(layers):
    """Four projections, 768 -> 3072 -> 768, and two norms a layer."""
    return layers * (4 * (768 * 768 + 768) + 768 * 3072 + 3072 + 3072 * 768 + 768 + 2 * 2 * 768)


def lstm_parameters(layers, width, hidden):
    """Four gates from input and state, and two biases, in each direction; both feed the next layer."""
    assert width == 2 * hidden
    return layers * 2 * 4 * hidden * (width + hidden + 2)


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (bilstm, embedding_parameters(1000, 0) + lstm_parameters(6, 768, 384)),
        (cehr_bert, embedding_parameters(1000, 512) + encoder_parameters(6)),
        (bigbird, embedding_parameters(1000, 2048) + encoder_parameters(6)),
    ],
)
def test_the_default_is_the_size_of_the_paper(module, expected):
    with torch.device("meta"):
        model = module.Model(module.Config(), vocab_size=1000)
    assert sum(p.numel() for p in model.parameters()) == expected


def test_the_defaults_are_those_of_table_4():
    assert (cehr_bert.Config().n_heads, cehr_bert.Config().context) == (8, 512)
    assert (bigbird.Config().n_heads, bigbird.Config().context) == (12, 2048)
    assert (bigbird.Config().block, bigbird.Config().n_random) == (64, 3)
    assert {m.Config().d_model for m in MODULES} == {768}
    assert {m.Config().n_layers for m in MODULES} == {6}
    assert {m.Config().dropout for m in MODULES} == {0.1}


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("wrong", [{"d_model": 0}, {"task_type": 24}, {"dropout": 1.0}])
def test_impossible_settings_are_refused(module, wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        module.Config(**wrong)
    with pytest.raises(msgspec.ValidationError, match="width"):
        msgspec.json.decode(b'{"width": 3}', type=module.Config)


@pytest.mark.parametrize(
    ("module", "wrong"),
    [
        (bilstm, {"d_model": 7}),
        (cehr_bert, {"n_heads": 7}),
        (cehr_bert, {"context": 0}),
        (bigbird, {"n_heads": 7}),
        (bigbird, {"block": 0}),
        (bigbird, {"n_random": -1}),
        (bigbird, {"seed": -1}),
    ],
)
def test_impossible_settings_of_their_own_are_refused(module, wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        module.Config(**wrong)


@pytest.mark.parametrize("module", TRANSFORMERS)
def test_rows_beyond_the_context_are_refused_and_prompts_count(module):
    model, batch = tiny(module, n_heads=4, context=12), random_batch()
    assert model(batch).shape == (3, 12, 24)
    with pytest.raises(ConfigError, match=r"13 tokens and the model a context of 12. Set reader\.context"):
        model.prompted(replace(batch, prompts=some_prompts()))


@pytest.mark.parametrize("module", TRANSFORMERS)
def test_the_order_of_tokens_matters_through_positions_alone(module):
    model, batch = tiny(module, n_heads=4), random_batch((12,))
    still = {"positions": torch.zeros_like(batch.positions)}
    turned = {
        n: getattr(batch, n).flip(1) for n in vars(batch) if n not in ("lengths", "prompts", "positions")
    }
    plain, flipped = model(replace(batch, **still)), model(replace(batch, **still, **turned))
    torch.testing.assert_close(flipped.flip(1), plain, rtol=0, atol=1e-5)
    assert (model(batch) - plain).abs().max() > 1e-3


def test_every_layer_of_bigbird_draws_its_own_blocks_and_the_seed_tells_which():
    sizes = {"n_heads": 4, "block": 2, "context": 60}
    first, second = (layer.attention.random for layer in tiny(bigbird, **sizes).layers)
    assert not torch.equal(first, second)
    again = tiny(bigbird, **sizes, seed=1).layers[0].attention.random
    assert torch.equal(again, second)


def test_bigbird_with_one_seed_is_not_bigbird_with_another():
    batch, sizes = random_batch((60,)), {"n_heads": 4, "block": 2, "context": 60}
    assert torch.equal(tiny(bigbird, **sizes)(batch), tiny(bigbird, **sizes)(batch))
    assert not torch.allclose(tiny(bigbird, **sizes, seed=5)(batch), tiny(bigbird, **sizes)(batch))


def test_bigbird_of_one_block_is_cehr_bert():
    sparse, full = tiny(bigbird, n_heads=4, context=512), tiny(cehr_bert, n_heads=4)
    full.load_state_dict(sparse.state_dict())
    torch.testing.assert_close(sparse(random_batch()), full(random_batch()), rtol=0, atol=1e-6)


def test_the_lstm_equals_a_loop_over_the_gates():
    model, batch = tiny(bilstm, n_layers=1).double(), random_batch((12, 7))
    embedded, found = model.embedding(batch), model(batch)
    for row, length in enumerate(batch.lengths.tolist()):
        for suffix, order, half in (("", range(length), 0), ("_reverse", reversed(range(length)), 1)):
            w, u, b, c = (
                getattr(model.lstm, f"{n}_l0{suffix}")
                for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            hidden = cell = torch.zeros(12, dtype=torch.float64)
            for step in order:
                enter, forget, new, leave = (w @ embedded[row, step] + b + u @ hidden + c).chunk(4)
                cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
                hidden = leave.sigmoid() * cell.tanh()
                torch.testing.assert_close(found[row, step, 12 * half : 12 * (half + 1)], hidden)


@pytest.mark.parametrize("module", MODULES)
def test_under_bf16_autocast_the_result_is_close_and_float32(module):
    own = {cehr_bert: {"n_heads": 4}, bigbird: {"n_heads": 4, "block": 2, "n_random": 1, "context": 20}}
    model, batch = tiny(module, **own.get(module, {})), replace(random_batch(), prompts=some_prompts())
    expected, asked = model(batch), model.prompted(batch)
    with torch.autocast("cpu", torch.bfloat16):
        found, answered = model(batch), model.prompted(batch)
    assert found.dtype == answered.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=0.1)
    torch.testing.assert_close(answered, asked, rtol=0, atol=0.1)
