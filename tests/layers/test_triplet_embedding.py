"""The triplet embedding equals its formulas, whichever way the parts are joined, at equal size."""

import math

import pytest
import torch

from chartscan.errors import ConfigError
from chartscan.layers.embedding import TripletEmbedding
from random_series import N_VARIABLES, random_series


def embedding(combine="sum", n_variables=N_VARIABLES, width=16, seed=0, **settings):
    torch.manual_seed(seed)
    return TripletEmbedding(n_variables, width, combine, **settings)


def parts_of(module, hours, variable, value):
    """e_f, e_v and e_t of one triplet, as written in the paper, in plain Python."""

    def scalar(ffn, x):
        hidden = [math.tanh(x * w + b) for w, b in zip(ffn.weight.tolist(), ffn.bias.tolist(), strict=True)]
        return torch.tensor(
            [sum(h * w for h, w in zip(hidden, row, strict=True)) for row in ffn.project.tolist()]
        )

    return (
        module.variables.weight[variable].detach(),
        scalar(module.values, value),
        scalar(module.times, 2 * hours / 48 - 1),
    )


def joined(combine, of_variable, of_value, of_time):
    if combine == "sum":
        return of_variable + of_value + of_time
    if combine == "concat":
        return torch.cat([of_variable, of_value, of_time])
    gate, shift = (of_value + of_time).chunk(2)
    return of_variable * (1 + gate) + shift


@pytest.mark.parametrize("combine", ["sum", "concat", "gated"])
def test_every_vector_is_what_the_formula_gives(combine):
    module, batch = embedding(combine), random_series()
    found = module(batch.hours, batch.variables, batch.values)
    assert found.shape == (4, 12, 16)
    for row, length in enumerate(batch.lengths.tolist()):
        for i in range(length):
            triplet = (x[row, i].item() for x in (batch.hours, batch.variables, batch.values))
            expected = joined(combine, *parts_of(module, *triplet))
            torch.testing.assert_close(found[row, i], expected, rtol=0, atol=1e-5)


def size(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("width", [16, 32, 63, 64, 128])
@pytest.mark.parametrize("n_variables", [37, 300])
@pytest.mark.parametrize("combine", ["concat", "gated"])
def test_the_ways_of_joining_have_equally_many_parameters(combine, n_variables, width):
    found, paper = (size(embedding(kind, n_variables, width)) for kind in (combine, "sum"))
    assert abs(found - paper) <= 0.02 * paper


@pytest.mark.parametrize("combine", ["sum", "concat", "gated"])
@pytest.mark.parametrize("left_out", ["value", "time"])
def test_what_is_left_out_changes_nothing_and_the_other_does(combine, left_out):
    module, batch = embedding(combine, **{f"use_{left_out}": False}), random_series()
    found = module(batch.hours, batch.variables, batch.values)
    without_value = module(batch.hours, batch.variables, batch.values + 1)
    without_time = module(batch.hours + 1, batch.variables, batch.values)
    assert torch.equal(found, without_value) == (left_out == "value")
    assert torch.equal(found, without_time) == (left_out == "time")
    assert found.shape == (4, 12, 16)


@pytest.mark.parametrize("combine", ["sum", "concat", "gated"])
def test_with_neither_value_nor_time_it_is_the_table_of_variables(combine):
    module, batch = embedding(combine, use_value=False, use_time=False), random_series()
    found = module(batch.hours, batch.variables, batch.values)
    torch.testing.assert_close(found, module.variables(batch.variables))


def test_an_unknown_way_of_joining_is_refused():
    with pytest.raises(ConfigError, match=r"'product'; expected sum, concat, gated"):
        embedding("product")
