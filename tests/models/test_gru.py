"""The recurrent baseline: its gates as Cho et al. write them, over the hours that are real."""

from dataclasses import replace

import pytest
import torch

from chartscan.errors import ConfigError
from chartscan.models.gru import Config, Model
from random_series import N_STATICS, N_VARIABLES, random_series


def model():
    torch.manual_seed(0)
    return Model(Config(d_model=16, dropout=0.0), N_VARIABLES, N_STATICS)


def by_loop(found, carried, statics):
    """One stay, hour by hour. Cho et al. 2014, eq. 5-8, with the reset after the product as cuDNN has it."""
    gru, hidden = found.gru, torch.zeros(16)
    for hour in carried:
        x = torch.tanh(found.project(torch.cat([hour.flatten(), statics])))
        of_input = (gru.weight_ih_l0 @ x + gru.bias_ih_l0).chunk(3)
        of_hidden = (gru.weight_hh_l0 @ hidden + gru.bias_hh_l0).chunk(3)
        reset, update = (torch.sigmoid(of_input[i] + of_hidden[i]) for i in (0, 1))
        candidate = torch.tanh(of_input[2] + reset * of_hidden[2])
        hidden = (1 - update) * candidate + update * hidden
    return hidden


def test_the_representation_equals_a_loop_over_real_hours():
    found, batch = model(), random_series()
    for row, steps in enumerate(batch.steps.tolist()):
        expected = by_loop(found, batch.carried[row, :steps], batch.statics[row])
        torch.testing.assert_close(found(batch)[row], expected, rtol=0, atol=1e-5)


def test_a_batch_without_carried_state_is_refused():
    with pytest.raises(ValueError, match="no carried state"):
        model()(replace(random_series(), carried=None))


@pytest.mark.parametrize("settings", [{"d_model": 0}, {"n_layers": 0}, {"dropout": 1.0}])
def test_impossible_settings_are_refused(settings):
    name = next(iter(settings))
    with pytest.raises(ConfigError, match=f"model.{name} is"):
        Config(**settings)
