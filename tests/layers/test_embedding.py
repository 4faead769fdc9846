"""The event embedding: zero vectors where the paper has them, and what each attribute may change."""

from dataclasses import replace

import pytest
import torch

from chartscan.errors import ConfigError
from chartscan.layers.embedding import EventEmbedding, SineFeatures
from random_batches import N_TYPES, VOCAB_SIZE, random_batch

ATTRIBUTES = ("ages", "times", "gaps", "segments", "visit_orders")


def embedding():
    torch.manual_seed(0)
    return EventEmbedding(VOCAB_SIZE, 32, N_TYPES, max_visits=20, time_size=8, dropout=0.0)


def test_padding_is_the_zero_vector():
    batch = random_batch()
    embedded = embedding()(batch)
    padding = batch.codes == 0
    assert padding.any()
    assert (embedded[padding] == 0).all()
    assert (embedded[~padding].abs().sum(1) > 1).all()


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_an_attribute_counts_exactly_where_attributed(attribute):
    layer, batch = embedding(), random_batch()
    now = getattr(batch, attribute)
    changed = replace(batch, **{attribute: (now + 1) % 3 if attribute == "segments" else now + 1})
    moved = (layer(changed) - layer(batch)).abs().sum(2) > 1e-6
    assert torch.equal(moved, batch.attributed)


@pytest.mark.parametrize("attribute", ["codes", "types"])
def test_code_and_type_count_everywhere_but_in_padding(attribute):
    layer, batch = embedding(), random_batch()
    now = getattr(batch, attribute)
    changed = replace(batch, **{attribute: torch.where(now > 0, now % 20 + 1, now)})
    moved = (layer(changed) - layer(batch)).abs().sum(2) > 1e-6
    assert torch.equal(moved, getattr(changed, attribute) != now)


def test_it_equals_the_formula():
    layer, batch = embedding().double(), random_batch()
    row, column = (i[0] for i in torch.nonzero(batch.attributed, as_tuple=True))
    at = {n: getattr(batch, n)[row, column] for n in (*ATTRIBUTES, "codes", "types")}
    sines = [
        torch.sin(at[name].double() * wave.frequency + wave.phase)
        for name, wave in (("times", layer.times), ("gaps", layer.gaps), ("ages", layer.ages))
    ]
    x = torch.tanh(layer.project(torch.cat([layer.codes.weight[at["codes"]], *sines])))
    x = x + layer.types.weight[at["types"]] + layer.segments.weight[at["segments"]]
    expected = layer.norm(x + layer.visit_orders.weight[at["visit_orders"]])
    torch.testing.assert_close(layer(batch)[row, column], expected)


def test_sine_features_are_the_sines_of_a_line_and_learn_it():
    torch.manual_seed(0)
    layer = SineFeatures(4, shortest=0.1, longest=100)
    x = torch.tensor([0.0, 0.5, 2000.0])
    expected = torch.stack([torch.sin(v * layer.frequency + layer.phase) for v in x])
    torch.testing.assert_close(layer(x), expected)
    layer(x).sum().backward()
    assert layer.frequency.grad.abs().min() > 0
    assert layer.phase.grad.abs().min() > 0


def test_sine_features_keep_full_precision_under_autocast():
    layer, weeks = SineFeatures(8, shortest=0.1, longest=5000), torch.tensor([2000.25])
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer(weeks), layer(weeks.float()))
        assert layer(weeks).dtype == torch.float32


def with_positions(context=12):
    torch.manual_seed(0)
    return EventEmbedding(VOCAB_SIZE, 32, N_TYPES, max_visits=20, time_size=8, dropout=0.0, context=context)


def test_a_context_adds_a_table_of_positions_and_changes_no_other_weight():
    plain, more = embedding().state_dict(), with_positions().state_dict()
    assert set(more) - set(plain) == {"positions.weight"}
    assert all(torch.equal(more[name], tensor) for name, tensor in plain.items())


def test_positions_are_added_before_the_norm_to_every_token_but_padding():
    layer, batch = with_positions().double(), random_batch()
    before = []
    layer.norm.register_forward_pre_hook(lambda _, given: before.append(given[0]))
    embedded = layer(batch)
    layer(replace(batch, positions=torch.zeros_like(batch.positions)))
    expected = layer.positions.weight[batch.positions] - layer.positions.weight[0]
    torch.testing.assert_close(before[0] - before[1], expected)
    assert (embedded[batch.codes == 0] == 0).all()


def test_rows_longer_than_the_context_are_refused():
    with pytest.raises(ConfigError, match="A row has 12 tokens and the model a context of 11"):
        with_positions(11)(random_batch())
