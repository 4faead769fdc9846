"""Prompted fine-tuning: known answers count, unknown ones do not, and the head can learn them."""

from dataclasses import replace

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from chartscan.models.ehrmamba import Config, Model
from chartscan.objectives.prompted import Prompted
from random_batches import VOCAB_SIZE, random_batch, some_prompts


def model_objective_and_batch():
    torch.manual_seed(0)
    model = Model(Config(d_model=32, n_layers=1, dropout=0.0), VOCAB_SIZE)
    return model, Prompted(32, 4, dropout=0.0), replace(random_batch(), prompts=some_prompts())


def labelled(batch, labels):
    return replace(batch, prompts=replace(batch.prompts, labels=torch.tensor(labels)))


def test_the_loss_is_the_sum_over_known_answers():
    model, objective, batch = model_objective_and_batch()
    loss, count, _ = objective.loss(model, batch)
    logits, known = objective.predict(model, batch), [0, 1, 2, 4, 5]
    expected = binary_cross_entropy_with_logits(logits[known], batch.prompts.labels[known], reduction="none")
    assert count == 5
    assert logits.shape == (6,)
    torch.testing.assert_close(loss, expected.sum())


def test_an_unknown_answer_changes_no_gradient():
    model, objective, batch = model_objective_and_batch()
    others = {k: v[[0, 1, 2, 4, 5]] for k, v in vars(batch.prompts).items()}
    without = replace(batch, prompts=replace(batch.prompts, **others))
    parameters = [*model.parameters(), *objective.parameters()]
    for a, b in zip(
        torch.autograd.grad(objective.loss(model, batch)[0], parameters),
        torch.autograd.grad(objective.loss(model, without)[0], parameters),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_a_batch_without_known_answers_has_no_loss():
    model, objective, batch = model_objective_and_batch()
    loss, count, _ = objective.loss(model, labelled(batch, [float("nan")] * 6))
    assert (float(loss.detach()), count) == (0.0, 0)


def test_the_loss_reaches_every_parameter_of_the_head():
    model, objective, batch = model_objective_and_batch()
    objective.loss(model, batch)[0].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in objective.parameters())


def test_two_questions_at_one_position_can_learn_opposite_answers():
    model, objective, batch = model_objective_and_batch()
    batch = labelled(batch, [1.0, 0.0, 1.0, 0.0, 0.0, 1.0])  # prompts 2 and 4 ask at row 0, position 4
    optimiser = torch.optim.Adam([*model.parameters(), *objective.parameters()], lr=1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        loss, _, _ = objective.loss(model, batch)
        loss.backward()
        optimiser.step()
    assert torch.equal(objective.predict(model, batch) > 0, batch.prompts.labels > 0.5)
    assert loss < 0.3
