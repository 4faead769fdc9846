"""The forecasting loss counts what was observed, as a loop does, and nothing else."""

from dataclasses import replace

import pytest
import torch

from chartscan.models.hymate import Config, Model
from chartscan.objectives.masked_forecast import MaskedForecast
from random_series import N_STATICS, N_VARIABLES, random_series


def model_objective_and_batch():
    torch.manual_seed(0)
    model = Model(Config(d_model=16, n_layers=1, dropout=0.0), N_VARIABLES, N_STATICS)
    return model, MaskedForecast(model.width, N_VARIABLES), random_series()


def test_the_loss_equals_a_loop_over_variables():
    model, objective, batch = model_objective_and_batch()
    loss, count, _ = objective.loss(model, batch)
    forecast, total, number = objective.predict(model, batch).tolist(), 0.0, 0
    for row in range(4):
        for variable in range(N_VARIABLES):
            if batch.forecast.observed[row, variable]:
                total += (forecast[row][variable] - float(batch.forecast.targets[row, variable])) ** 2
                number += 1
    assert (count, number) == (int(batch.forecast.observed.sum()), count)
    assert float(loss.detach()) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("nonsense", [1e9, float("nan"), float("inf")])
def test_what_was_not_observed_changes_neither_loss_nor_gradient(nonsense):
    model, objective, batch = model_objective_and_batch()
    targets = batch.forecast.targets.masked_fill(~batch.forecast.observed, nonsense)
    other = replace(batch, forecast=replace(batch.forecast, targets=targets))
    parameters = [*model.parameters(), *objective.parameters()]
    for a, b in zip(
        torch.autograd.grad(objective.loss(model, batch)[0], parameters),
        torch.autograd.grad(objective.loss(model, other)[0], parameters),
        strict=True,
    ):
        assert torch.equal(a, b)


def test_a_window_in_which_nothing_was_observed_has_no_loss():
    model, objective, batch = model_objective_and_batch()
    nothing = replace(batch.forecast, observed=torch.zeros_like(batch.forecast.observed))
    loss, count, _ = objective.loss(model, replace(batch, forecast=nothing))
    loss.backward()
    assert (float(loss.detach()), count) == (0.0, 0)


def test_the_loss_reaches_every_parameter_of_the_head():
    model, objective, batch = model_objective_and_batch()
    objective.loss(model, batch)[0].backward()
    assert all(p.grad.abs().sum() > 0 for p in objective.parameters())
