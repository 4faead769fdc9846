"""Our encoder layers equal BERT's and BigBird's of Hugging Face with the same weights, gradients included."""

import logging
import warnings

import pytest
import torch

from chartscan.layers.attention import FullAttention
from chartscan.layers.encoder import BlockSparseAttention, EncoderLayer

transformers = pytest.importorskip("transformers")

WIDTH, HEADS, INNER, BLOCK, RANDOM, BLOCKS, SEED = 24, 4, 40, 8, 3, 13, 7
SIZES = {
    "vocab_size": 5,
    "hidden_size": WIDTH,
    "num_attention_heads": HEADS,
    "intermediate_size": INNER,
    "num_hidden_layers": 1,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


def shaken(model):
    """With biases and norms that are not those of the start: no term may be trivially right."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.double().eval()


def bert():
    torch.manual_seed(0)
    return shaken(transformers.BertModel(transformers.BertConfig(**SIZES, attn_implementation="eager")))


def bigbird(monkeypatch, drawn):
    """With the random blocks `drawn` (heads, blocks, n): by itself it has none of its own in evaluation."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.manual_seed(0)
    config = transformers.BigBirdConfig(
        **SIZES,
        attention_type="block_sparse",
        block_size=BLOCK,
        num_random_blocks=RANDOM,
        max_position_embeddings=BLOCK * BLOCKS,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = shaken(transformers.BigBirdModel(config))
    attention = model.encoder.layer[0].attention.self
    given = [head[1:-1] for head in drawn]
    monkeypatch.setattr(attention, "_bigbird_block_rand_mask_with_head", lambda **_: given)
    return model


def ours_with_weights_of(layer, attention):
    """Our layer with their weights, and pairs of our parameter and theirs that make it up."""
    ours = EncoderLayer(WIDTH, HEADS, INNER, 0.0, attention).double().eval()
    own = layer.attention.self
    parts = [
        (ours.in_proj, (own.query, own.key, own.value)),
        (ours.out_proj, (layer.attention.output.dense,)),
        (ours.attention_norm, (layer.attention.output.LayerNorm,)),
        (ours.expand, (layer.intermediate.dense,)),
        (ours.contract, (layer.output.dense,)),
        (ours.ffn_norm, (layer.output.LayerNorm,)),
    ]
    pairs = []
    for mine, theirs in parts:
        pairs.append((mine.weight, [t.weight for t in theirs]))
        pairs.append((mine.bias, [t.bias for t in theirs]))
    assert len(pairs) == len(list(ours.parameters()))
    with torch.no_grad():
        for mine, theirs in pairs:
            mine.copy_(torch.cat(list(theirs)))
    return ours, pairs


def assert_same(ours, pairs, theirs, x, lengths):
    """Outputs of real tokens, and the gradients of every weight and of the input."""
    real = torch.arange(x.shape[1]) < lengths.unsqueeze(1)
    dy = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=x.dtype)
    mine, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    found, expected = ours(mine, lengths), theirs(other, real)
    torch.testing.assert_close(found[real], expected[real], rtol=0, atol=1e-4)
    (found * dy)[real].sum().backward()
    (expected * dy)[real].sum().backward()
    torch.testing.assert_close(mine.grad[real], other.grad[real], rtol=1e-4, atol=1e-4)
    for parameter, parts in pairs:
        reference = torch.cat([p.grad for p in parts])
        assert (parameter.grad - reference).abs().max() < 1e-4 * reference.abs().max().clamp(min=1)


def rows(length, count=2):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, length, WIDTH, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("lengths", [(45, 45), (45, 7), (1, 45)])
def test_a_layer_equals_berts(lengths):
    model = bert()
    ours, pairs = ours_with_weights_of(model.encoder.layer[0], FullAttention())

    def theirs(x, real):
        mask = torch.zeros(real.shape, dtype=x.dtype).masked_fill(~real, torch.finfo(x.dtype).min)
        return model.encoder(x, attention_mask=mask[:, None, None]).last_hidden_state

    assert_same(ours, pairs, theirs, rows(45), torch.tensor(lengths))


@pytest.mark.parametrize("last", [BLOCK, 3, 1])
@pytest.mark.parametrize("blocks", [8, 9, BLOCKS])
def test_a_layer_equals_bigbirds_with_the_same_random_blocks(monkeypatch, blocks, last):
    """Rows that end in the last block: theirs knows no other last block than that of the padded length."""
    attention = BlockSparseAttention(HEADS, BLOCK * BLOCKS, BLOCK, RANDOM, SEED)
    drawn = attention.random[blocks, :, :blocks].numpy()
    drawn = drawn.astype(int)
    assert (drawn[:, 1:-1] > 0).all()
    model = bigbird(monkeypatch, drawn)
    ours, pairs = ours_with_weights_of(model.encoder.layer[0], attention)

    def theirs(x, real):
        masks = model.create_masks_for_block_sparse_attn(real.to(x.dtype), BLOCK)
        blocked, band, from_mask, to_mask = masks
        return model.encoder(
            x,
            band_mask=band,
            from_mask=from_mask,
            to_mask=to_mask,
            blocked_encoder_mask=blocked,
        ).last_hidden_state

    length = BLOCK * (blocks - 1) + last
    assert_same(ours, pairs, theirs, rows(BLOCK * blocks), torch.tensor([length, BLOCK * blocks]))


def test_theirs_counts_the_first_block_again_where_ours_draws_others(monkeypatch):
    """Why their random blocks have to be set: without, in evaluation, all of them are block 0."""
    model = bigbird(monkeypatch, torch.zeros(HEADS, BLOCKS, RANDOM, dtype=torch.int64).numpy())
    monkeypatch.undo()
    given = model.encoder.layer[0].attention.self._bigbird_block_rand_mask_with_head(
        from_seq_length=BLOCK * BLOCKS,
        to_seq_length=BLOCK * BLOCKS,
        from_block_size=BLOCK,
        to_block_size=BLOCK,
        num_heads=HEADS,
        plan_from_length=[11 * BLOCK, BLOCK * BLOCKS],
        plan_num_rand_blocks=[3, 0],
    )
    assert all((head == 0).all() for head in given)
