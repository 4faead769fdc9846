"""Integrated gradients: right where the right answer is known, complete everywhere."""

import pytest
import torch

from chartscan.errors import ConfigError
from chartscan.interpret.gradients import (
    of_embeddings,
    of_values,
    path_integral,
    to_tolerance,
)
from planted_models import Curved, additive, right_for_additive, stays


def test_of_an_additive_model_they_are_what_each_event_adds():
    batch = stays([1, 63, 7])
    found = of_values(additive, batch, steps=1)
    torch.testing.assert_close(found.events, right_for_additive(batch))
    assert found.relative_gap < 1e-5


@pytest.mark.parametrize("lengths", [[1], [7, 63, 2], [0, 5]])
def test_they_add_up_to_the_change_of_the_log_odds(lengths):
    model, batch = Curved(), stays(lengths)
    for found in (of_values(model, batch, 64), of_embeddings(model, batch, model.embedding, 64)):
        torch.testing.assert_close(found.events.sum(1), found.change, atol=2e-5, rtol=1e-3)
        assert found.gap.abs().max() < 2e-5 + 1e-3 * found.change.abs().max()


def test_padding_and_batch_mates_change_nothing():
    model, both = Curved(), stays([63, 7])
    alone = stays([63, 7])
    alone = type(both)(**{n: (v[1:, :7] if v.ndim == 2 and v.shape[1] == 63 else v[1:])
                          for n, v in vars(both).items() if v is not None})  # fmt: skip
    for method in (lambda b: of_values(model, b), lambda b: of_embeddings(model, b, model.embedding)):
        torch.testing.assert_close(method(both).events[1, :7], method(alone).events[0], atol=1e-6, rtol=1e-4)
        assert not method(both).events[1, 7:].any()


def test_a_stay_of_equal_events_attributes_nothing_to_their_embeddings():
    model, batch = Curved(), stays([6])
    same = type(batch)(**{**vars(batch), "variables": batch.variables * 0 + 3, "values": batch.values * 0})
    assert of_embeddings(model, same, model.embedding).events.abs().max() < 1e-6


def test_the_integral_of_a_square_is_exact():
    x = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
    found, change = path_integral(lambda v: (v**2).sum(1), x, torch.zeros_like(x), 2)
    torch.testing.assert_close(found, x**2)
    torch.testing.assert_close(change, (x**2).sum(1))


def test_steps_are_doubled_until_the_gap_is_small_or_said_to_remain():
    batch = stays([20], seed=3)

    def steep(b):
        return torch.sigmoid(400 * (additive(b) - additive(stays([20], seed=3)) * 0.9))

    found, steps = to_tolerance(lambda n: of_values(steep, batch, n), 0.01)
    assert steps > 32
    assert found.relative_gap < 0.01
    capped, steps = to_tolerance(lambda n: of_values(steep, batch, n), 1e-9, most_steps=64)
    assert steps == 64
    assert capped.relative_gap > 1e-9


def test_no_steps_are_refused():
    with pytest.raises(ConfigError, match="steps is 0"):
        of_values(additive, stays([3]), 0)


def test_the_embedding_is_itself_again_afterwards():
    model, batch = Curved(), stays([5, 9])
    before = model(batch)
    of_embeddings(model, batch, model.embedding)
    torch.testing.assert_close(model(batch), before, rtol=0, atol=0)
