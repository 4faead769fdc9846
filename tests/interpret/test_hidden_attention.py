"""Hidden attention is what the scan does: the matrix applied to the inputs gives the outputs."""

import pytest
import torch
import torch.nn.functional as F

from chartscan.inputs.hourly import CHANNELS
from chartscan.interpret.attention import (
    block_attention,
    contributions,
    every_position,
    mean_attention,
    rollout,
    scan_attention,
    selection,
    selections,
)
from chartscan.interpret.events import with_questions
from chartscan.kernels import reference
from chartscan.layers.mamba import MambaBlock
from chartscan.models import hymate, hymate_carried
from planted_models import V, stays
from token_rows import answering, asking

LENGTHS = torch.tensor([23, 1, 9])


def block(seed=0, **settings):
    torch.manual_seed(seed)
    found = MambaBlock(**{"width": 6, "states": 5, "conv_width": 4, "expand": 2, "dt_rank": 2} | settings)
    with torch.no_grad():
        found.dt_bias += 2  # so that the state really decays
        found.D.uniform_(-1, 1)
    return found.double()


def inputs(steps=23, width=6):
    return torch.randn(3, steps, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_the_matrix_times_the_inputs_is_the_output_of_the_scan():
    x = inputs()
    found = selection(block(), x, LENGTHS)
    matrix = scan_attention(found, every_position(found))
    nothing = torch.zeros(3, 12, 5, dtype=torch.float64)
    none = torch.empty(0, dtype=torch.int64)
    expected, _, _ = reference.scan_reference(
        found.scanned, found.delta, found.A, found.B, found.C, nothing, none, none
    )
    torch.testing.assert_close(
        torch.einsum("beij,bje->bie", matrix, found.scanned), expected, rtol=1e-10, atol=1e-12
    )
    assert not matrix.triu(1).any()


@pytest.mark.parametrize("conv_width", [1, 4, 30])
@torch.no_grad()
def test_the_blocks_map_gives_what_the_block_gives(conv_width):
    x, mamba = inputs(), block(conv_width=conv_width)
    found = selection(mamba, x, LENGTHS)
    matrix, rest = block_attention(found, every_position(found))
    mixed = torch.einsum("beij,bje->bie", matrix, found.inputs) + rest.transpose(1, 2)
    expected = mamba(x, LENGTHS)
    for row, n in enumerate(LENGTHS.tolist()):
        own = (x + F.linear(mixed, mamba.out_proj.weight))[row, :n]
        torch.testing.assert_close(own, expected[row, :n], rtol=1e-9, atol=1e-11)


@torch.no_grad()
def test_some_rows_alone_are_those_of_the_whole_matrix():
    found = selection(block(), inputs(), LENGTHS)
    asked = torch.stack([LENGTHS - 1, torch.tensor([4, 0, 8])], 1)
    for method in (scan_attention, lambda *a: block_attention(*a)[0]):
        whole, some = method(found, every_position(found)), method(found, asked)
        for row in range(3):
            torch.testing.assert_close(some[row], whole[row][:, asked[row]], rtol=1e-12, atol=1e-14)
        part = method(found, asked, slice(2, 5))
        torch.testing.assert_close(part, some[:, 2:5], rtol=1e-12, atol=1e-15)


@torch.no_grad()
def test_the_mean_over_channels_is_the_same_in_pieces_and_adds_up_to_one(monkeypatch):
    found = selection(block(), inputs(), LENGTHS)
    last = (LENGTHS - 1).unsqueeze(1)
    for whole_block in (True, False):
        once = mean_attention(found, last, whole_block)
        torch.testing.assert_close(once.sum(2), torch.ones(3, 1, dtype=torch.float64))
        with monkeypatch.context() as patch:
            patch.setattr("chartscan.interpret.attention.NUMBERS", 200)
            torch.testing.assert_close(mean_attention(found, last, whole_block), once)
    expected = scan_attention(found, last).abs().sum(1)
    torch.testing.assert_close(once, expected / expected.sum(2, keepdim=True))


@torch.no_grad()
def test_contributions_are_as_long_as_what_each_step_adds():
    x, mamba = inputs(), block()
    mamba.conv_bias.zero_()
    found = selection(mamba, x, LENGTHS)
    size = contributions(found, mamba.out_proj.weight, LENGTHS - 1)
    matrix, _ = block_attention(found, every_position(found))
    for row, n in enumerate(LENGTHS.tolist()):
        for step in range(23):
            added = mamba.out_proj.weight @ (matrix[row, :, n - 1, step] * found.inputs[row, step])
            torch.testing.assert_close(size[row, step], added.norm())


@torch.no_grad()
def test_nothing_of_the_padding_is_attended_to():
    found = selection(block(), inputs(), LENGTHS)
    rows = mean_attention(found, (LENGTHS - 1).unsqueeze(1))[:, 0]
    for row, n in enumerate(LENGTHS.tolist()):
        assert not rows[row, n:].any()


def test_every_block_of_a_model_is_found_in_its_order():
    model, _, _ = answering()
    batch = with_questions(asking((7, 12)), model.config.task_type)
    found = selections(model, batch)
    assert len(found) == 2
    torch.testing.assert_close(found[1].taps, model.blocks[1].conv_weight)
    x = model.embedding(batch)
    again = selection(model.blocks[1], model.blocks[0](x, batch.lengths), batch.lengths)
    torch.testing.assert_close(found[1].delta, again.delta, atol=1e-5, rtol=1e-4)


def test_the_blocks_of_hymate_are_found_on_triplets_and_on_the_carried_state():
    torch.manual_seed(0)
    triplets = hymate.Model(hymate.Config(d_model=8, n_heads=2), V, 2).eval()
    assert [one.delta.shape[:2] for one in selections(triplets, stays([5, 9]))] == [(2, 9), (2, 9)]
    config = hymate_carried.Config(CHANNELS, d_model=8, n_heads=2)
    hourly = hymate_carried.Model(config, V, 2).eval()
    batch = stays([1, 1])
    carried = torch.rand(2, 6, V, len(CHANNELS))
    batch = type(batch)(**{**vars(batch), "carried": carried, "steps": torch.tensor([6, 4])})
    (found,) = selections(hourly, batch)
    rows = mean_attention(found, (batch.steps - 1).unsqueeze(1))
    torch.testing.assert_close(rows.sum(2), torch.ones(2, 1))


def test_rollout_is_the_product_of_the_maps_with_their_residuals():
    random = torch.Generator().manual_seed(0)
    maps = [torch.rand(2, 5, 5, generator=random).softmax(2) for _ in range(3)]
    start = torch.rand(2, 5, generator=random).softmax(1)
    eye = torch.eye(5)
    for row in range(2):
        expected = start[row]
        for layer in maps[::-1]:
            expected = expected @ ((layer[row] + eye) / 2)
        torch.testing.assert_close(rollout(start, maps)[row], expected)
    torch.testing.assert_close(rollout(start, maps).sum(1), torch.ones(2))
