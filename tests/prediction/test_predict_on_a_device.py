"""Networks that are loaded to another device are asked there, and answer as on the CPU."""

import numpy as np
import pytest
import torch

from chartscan.artifact import load, save
from chartscan.prediction import log_odds
from family_artifacts import (
    SERIES,
    TASKS,
    ensemble,
    labels,
    records,
    sequence_artifact,
    series_artifact,
    summary_artifact,
    token_labels,
    token_records,
)
from other_device import Elsewhere, other_device


def test_every_network_of_an_ensemble_is_loaded_to_the_device(tmp_path):
    save(tmp_path / "all", ensemble(sequence_artifact(), series_artifact(), summary_artifact()))
    with other_device() as device:
        tokens, series, _ = load(tmp_path / "all", device).members
    for member in (tokens, series):
        for part in member.network.parts.values():
            assert all(isinstance(weights, Elsewhere) for weights in part.parameters())
            assert all(isinstance(buffer, Elsewhere) for buffer in part.buffers())
    assert not isinstance(next(load(tmp_path / "all").members[0].network.model.parameters()), Elsewhere)


def on_both(folder, artifact, table, wanted):
    """Log odds on the CPU and on the other device."""
    save(folder / "saved", artifact)
    here = log_odds(load(folder / "saved"), lambda: [table], wanted)
    with other_device() as device:
        return here, log_odds(load(folder / "saved", device), lambda: [table], wanted)


@pytest.mark.parametrize("name", SERIES)
def test_networks_of_time_series_answer_there_as_here(tmp_path, name):
    here, there = on_both(tmp_path, series_artifact(name), records(), {task: labels() for task in TASKS})
    for task in TASKS:
        np.testing.assert_allclose(there[task], here[task], atol=1e-5)


def test_networks_of_tokens_answer_there_as_here(tmp_path):
    wanted = {task: token_labels() for task in TASKS}
    here, there = on_both(tmp_path, sequence_artifact(), token_records(), wanted)
    for task in TASKS:
        np.testing.assert_allclose(there[task], here[task], atol=1e-5)


def test_a_tensor_that_was_left_behind_is_noticed():
    with other_device() as device:
        model = torch.nn.Linear(2, 2).to(device)
        assert isinstance(model(torch.ones(1, 2).to(device)), Elsewhere)
        with pytest.raises(AssertionError, match="two devices"):
            model(torch.ones(1, 2))
