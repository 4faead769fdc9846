"""The classification head equals separate networks, starts at the base rates, and ignores unknown labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from chartscan.errors import ConfigError
from chartscan.models.hymate import Config as ModelConfig
from chartscan.models.hymate import Model
from chartscan.objectives.classification import Classification, Config
from random_series import N_STATICS, N_TASKS, N_VARIABLES, random_series

WIDTH = 12


def head(seed=0, **settings):
    torch.manual_seed(seed)
    return Classification(WIDTH, N_TASKS, Config(**({"hidden": 8, "dropout": 0.0} | settings)))


def scrambled(module):
    """Every parameter a random number, so that no scaling is 1 and no bias equal to another."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return module


def representations(rows=63):
    return torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(2))


def test_one_member_is_a_plain_network():
    module, x = scrambled(head()), representations()
    plain = torch.nn.Sequential(torch.nn.Linear(WIDTH, 8), torch.nn.SiLU(), torch.nn.Linear(8, N_TASKS))
    with torch.no_grad():
        for ours, theirs in ((module.hidden, plain[0]), (module.last, plain[2])):
            theirs.weight.copy_(ours.weight)
            theirs.bias.copy_(ours.bias[0])
    torch.testing.assert_close(module(x), plain(x))
    sizes = [sum(p.numel() for p in m.parameters()) for m in (module, plain)]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("hidden", [0, 8])
def test_each_member_is_a_network_of_the_scaled_weights(hidden):
    module, x = scrambled(head(hidden=hidden, members=5)), representations()
    found = module.member_logits(x)
    assert found.shape == (63, 5, N_TASKS)
    for m in range(5):
        y = x
        for layer in [module.hidden, module.last] if hidden else [module.last]:
            weight = torch.diag(layer.scale_out[m]) @ layer.weight @ torch.diag(layer.scale_in[m])
            y = F.linear(y, weight, layer.bias[m])
            y = F.silu(y) if layer is module.hidden else y
        torch.testing.assert_close(found[:, m], y, rtol=1e-5, atol=1e-4)


def test_the_prediction_is_the_mean_probability_of_the_members():
    module, x = scrambled(head(members=5)).double(), representations().double()
    expected = torch.sigmoid(module.member_logits(x)).mean(1)
    torch.testing.assert_close(torch.sigmoid(module(x)), expected)
    assert module(1e4 * x).isfinite().all()


@pytest.mark.parametrize("hidden", [0, 8])
def test_members_differ_from_the_start(hidden):
    logits = head(hidden=hidden, members=4).member_logits(representations())
    assert logits.std(1).min() > 1e-3


@pytest.mark.parametrize("members", [1, 4])
@pytest.mark.parametrize("hidden", [0, 8])
def test_the_first_guess_is_the_base_rate_whatever_is_seen(hidden, members):
    module, rates = head(hidden=hidden, members=members), torch.tensor([0.139, 0.5])
    module.start_at(rates)
    expected = rates.expand(63, 2)
    torch.testing.assert_close(torch.sigmoid(module(100 * representations())), expected, rtol=1e-6, atol=0)


def test_from_the_base_rate_every_parameter_of_the_head_learns():
    module, x = head(members=4), representations()
    module.start_at(torch.tensor([0.1, 0.9]))
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        logits = module.member_logits(x)
        F.binary_cross_entropy_with_logits(logits, (logits.new_zeros(()) + 1).expand_as(logits)).backward()
        optimiser.step()
    assert [name for name, p in module.named_parameters() if torch.equal(p, before[name])] == []


def model_objective_and_batch(members=1):
    torch.manual_seed(0)
    model = Model(ModelConfig(d_model=16, n_layers=1, dropout=0.0), N_VARIABLES, N_STATICS)
    objective = Classification(model.width, N_TASKS, Config(hidden=8, dropout=0.0, members=members))
    return model, objective, random_series()


@pytest.mark.parametrize("members", [1, 3])
def test_the_loss_is_the_sum_over_known_labels_of_the_members_mean(members):
    model, objective, batch = model_objective_and_batch(members)
    loss, count, _ = objective.loss(model, batch)
    logits = objective.member_logits(model(batch)).detach().double().numpy()
    total, known = 0.0, 0
    for row, labels in enumerate(batch.labels.tolist()):
        for task, label in enumerate(labels):
            if label == label:
                p = 1 / (1 + np.exp(-logits[row, :, task]))
                total -= np.mean(np.log(p if label else 1 - p))
                known += 1
    assert count == known == 6
    assert float(loss.detach()) == pytest.approx(total, rel=1e-5)


def test_a_batch_without_known_labels_has_no_loss():
    model, objective, batch = model_objective_and_batch()
    loss, count, _ = objective.loss(model, replace(batch, labels=torch.full_like(batch.labels, torch.nan)))
    loss.backward()
    assert (float(loss.detach()), count) == (0.0, 0)


@pytest.mark.parametrize("members", [1, 3])
def test_the_loss_reaches_every_parameter_of_the_head(members):
    model, objective, batch = model_objective_and_batch(members)
    objective.loss(model, batch)[0].backward()
    assert all(p.grad.abs().sum() > 0 for p in objective.parameters())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"hidden": -1}, "hidden is -1"),
        ({"members": 0}, "members is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_impossible_settings_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        Config(**settings)
