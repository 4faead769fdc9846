"""Next-event pretraining: the loss is the plain cross-entropy over real tokens, computed in chunks."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from chartscan.models.ehrmamba import Config, Model
from chartscan.objectives import _token_loss
from chartscan.objectives.next_event import NextEvent
from largest_tensor import LargestTensor
from random_batches import VOCAB_SIZE, random_batch, with_padding


def model_and_objective(tied=False, shares=None):
    torch.manual_seed(0)
    model = Model(Config(d_model=32, n_layers=1, dropout=0.0), VOCAB_SIZE).double()
    return model, NextEvent(32, VOCAB_SIZE, model.embedding.codes if tied else None, shares).double()


def written_loss(model, objective, batch, shares=None):
    """Row by row, token by token, from all logits; the weight is that of the type of the token before."""
    logits, total, count = objective(model(batch)), 0.0, 0.0
    for row, length in enumerate(batch.lengths.tolist()):
        for step in range(length - 1):
            share = 1.0 if shares is None else float(shares[batch.types[row, step]])
            total = total + share * cross_entropy(logits[row, step], batch.codes[row, step + 1])
            count += share
    return total, count


def gradients(loss, *modules):
    parameters = {id(p): p for m in modules for p in m.parameters()}
    return torch.autograd.grad(loss, list(parameters.values()))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("logits_at_once", [1, 10 * VOCAB_SIZE, 2**20])
def test_loss_and_gradients_equal_the_written_loss(monkeypatch, tied, logits_at_once):
    monkeypatch.setattr(_token_loss, "_LOGITS", logits_at_once)
    monkeypatch.setattr(_token_loss, "_MIN_TOKENS", 1)
    model, objective = model_and_objective(tied)
    batch = random_batch(lengths=(12, 7, 9, 1))
    loss, count, _ = objective.loss(model, batch)
    expected, expected_count = written_loss(model, objective, batch)
    assert count == expected_count == 11 + 6 + 8
    torch.testing.assert_close(loss, expected)
    found = gradients(3 * loss, model, objective)  # the loss may be scaled before it is differentiated
    for a, b in zip(found, gradients(3 * expected, model, objective), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("logits_at_once", [1, 10 * VOCAB_SIZE, 2**20])
def test_a_weighed_loss_and_its_gradients_equal_the_written_ones(monkeypatch, logits_at_once):
    monkeypatch.setattr(_token_loss, "_LOGITS", logits_at_once)
    monkeypatch.setattr(_token_loss, "_MIN_TOKENS", 1)
    shares = torch.rand(24, dtype=torch.float64) + 0.5
    model, objective = model_and_objective(shares=shares)
    batch = random_batch(lengths=(12, 7, 9, 1))
    loss, count, _ = objective.loss(model, batch)
    expected, expected_count = written_loss(model, objective, batch, shares)
    assert count == pytest.approx(expected_count)
    torch.testing.assert_close(loss, expected)
    found = gradients(3 * loss, model, objective)
    for a, b in zip(found, gradients(3 * expected, model, objective), strict=True):
        torch.testing.assert_close(a, b)
    assert "shares" not in objective.state_dict()  # weights of training, not of the model


def test_weights_of_one_are_the_plain_loss():
    model, objective = model_and_objective()
    _, weighed = model_and_objective(shares=torch.ones(24, dtype=torch.float64))
    loss, count, _ = objective.loss(model, random_batch())
    weighed_loss, weighed_count, _ = weighed.loss(model, random_batch())
    assert weighed_count == count
    torch.testing.assert_close(weighed_loss, loss)


def test_padding_does_not_count():
    model, objective = model_and_objective()
    loss, count, _ = objective.loss(model, random_batch())
    padded_loss, padded_count, _ = objective.loss(model, with_padding(random_batch(), 9))
    assert padded_count == count
    torch.testing.assert_close(padded_loss, loss)


def test_evaluation_without_gradients_gives_the_same_loss():
    model, objective = model_and_objective()
    with torch.no_grad():
        loss, _, _ = objective.loss(model, random_batch())
    assert not loss.requires_grad
    torch.testing.assert_close(loss, objective.loss(model, random_batch())[0].detach())


def test_rows_of_one_token_have_nothing_to_predict():
    model, objective = model_and_objective()
    loss, count, _ = objective.loss(model, random_batch(lengths=(1, 1)))
    loss.backward()
    assert (float(loss.detach()), count) == (0.0, 0)


def test_large_logits_do_not_overflow():
    hidden = torch.full((3, 2), 1e4, requires_grad=True)
    weight = torch.tensor([[1.0, 1.0], [-1.0, -1.0]], requires_grad=True)
    loss = _token_loss.token_loss(hidden, weight, torch.zeros(2), torch.tensor([0, 0, 1]))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(4e4)
    assert torch.isfinite(hidden.grad).all()
    assert torch.isfinite(weight.grad).all()


def test_under_bf16_autocast_loss_and_gradients_are_close():
    model, objective = (module.float() for module in model_and_objective())
    loss, _, _ = objective.loss(model, random_batch())
    exact = gradients(loss, objective)
    with torch.autocast("cpu", torch.bfloat16):
        low_loss, _, _ = objective.loss(model, random_batch())
    assert low_loss.dtype == torch.float32
    torch.testing.assert_close(low_loss, loss, rtol=1e-3, atol=0)
    for a, b in zip(gradients(low_loss, objective), exact, strict=True):
        assert (a - b).abs().max() < 0.03 * b.abs().max()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["in chunks", "at once"])
def test_the_logits_of_all_tokens_never_exist_at_once(monkeypatch, precision, name):
    tokens, vocabulary, chunk = 300, 400, 2**14
    monkeypatch.setattr(_token_loss, "_LOGITS", chunk)
    monkeypatch.setattr(_token_loss, "_MIN_TOKENS", 1)
    hidden, weight = torch.randn(tokens, 8, requires_grad=True), torch.randn(vocabulary, 8)
    targets = torch.randint(vocabulary, (tokens,))
    with torch.autocast("cpu", precision, enabled=precision != torch.float32), LargestTensor() as seen:
        if name == "in chunks":
            loss = _token_loss.token_loss(hidden, weight, torch.zeros(vocabulary), targets)
        else:
            loss = cross_entropy(hidden @ weight.t(), targets)
        loss.backward()
    assert (seen.numbers <= chunk) == (name == "in chunks")


def test_float32_is_near_double_precision_with_a_large_vocabulary():
    torch.manual_seed(0)
    given = [torch.randn(1500, 48), torch.randn(3000, 48), torch.randn(3000)]
    targets = torch.randint(3000, (1500,))
    low = [v.clone().requires_grad_() for v in given]
    exact = [v.double().requires_grad_() for v in given]
    loss = _token_loss.token_loss(*low, targets)
    expected = cross_entropy(nn.functional.linear(*exact), targets, reduction="sum")
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=0)
    found = torch.autograd.grad(loss, low)
    for a, b in zip(found, torch.autograd.grad(expected, exact), strict=True):
        assert (a - b).abs().max() < 1e-5 * b.abs().max()


def test_a_probability_below_the_smallest_number_has_its_loss():
    hidden = torch.tensor([[1.0], [1.0], [0.0]])
    weight = torch.tensor([[0.0], [95.0], [500.0]])
    loss = _token_loss.token_loss(hidden, weight, torch.zeros(3), torch.tensor([0, 1, 2]))
    assert float(loss) == pytest.approx(500 + 405 + math.log(3))
