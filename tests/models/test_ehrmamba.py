"""EHRMamba: its settings, its cost, and what is its own beside the contract of every model."""

import msgspec
import pytest
import torch

from chartscan.errors import ConfigError
from chartscan.models.ehrmamba import Config, Model
from random_batches import VOCAB_SIZE, random_batch, rows_and_steps


def tiny(**settings):
    torch.manual_seed(0)
    return Model(Config(**({"d_model": 32, "n_layers": 2, "dropout": 0.0} | settings)), VOCAB_SIZE)


def test_the_default_is_the_size_of_the_paper():
    with torch.device("meta"):
        model = Model(Config(), vocab_size=1000)
    backbone = sum(p.numel() for p in model.blocks.parameters())
    assert 1.15e8 < backbone < 1.25e8  # about 121 M parameters without the tables of codes
    assert model.blocks[0].A_log.shape == (1536, 16)
    assert model.blocks[0].dt_proj.in_features == 48


@pytest.mark.parametrize("wrong", [{"d_model": 0}, {"dt_rank": 0}, {"task_type": 24}, {"dropout": 1.0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Config(**wrong)
    with pytest.raises(msgspec.ValidationError, match="width"):
        msgspec.json.decode(b'{"width": 3}', type=Config)


def test_going_on_from_a_fork_equals_the_whole_sequence():
    model, batch = tiny(), random_batch()
    state = model.fork(batch, torch.tensor([0]), torch.tensor([4]))
    for step in range(5, 12):
        hidden, state = model.step(rows_and_steps(batch, slice(0, 1), slice(step, step + 1)), state)
    torch.testing.assert_close(hidden[0], model(batch)[0, 11], rtol=0, atol=1e-5)
