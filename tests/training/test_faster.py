"""Parameters that are named get a multiple of the learning rate, and nothing else changes."""

import msgspec
import pytest
import torch
from torch import nn

from chartscan.errors import ConfigError
from chartscan.training import TrainConfig, fit
from chartscan.training.optimiser import adamw, learning_rate
from toy_training import CONFIG, ToyBatches, toy_fit, toy_model, trace

FASTER = msgspec.structs.replace(CONFIG, faster={"3": 2.5, "0.": 0.3})  # the linear map and the embedding


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
        self.head = nn.ModuleDict({"wide": nn.Linear(4, 2), "forecast": nn.Linear(4, 3)})
        self.modelled = nn.Linear(4, 4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)


def test_each_parameter_is_in_one_group_of_the_longest_beginning_of_its_name():
    module = Named()
    faster = {"model.": 2.0, "head": 3.0, "head.forecast": 0.5, "head.forecast.bias": 7.0}
    names = {id(p): name for name, p in module.named_parameters()}
    groups = adamw(module, TrainConfig(faster=faster)).param_groups
    found = [(names[id(p)], g["multiple"], g["weight_decay"]) for g in groups for p in g["params"]]
    assert sorted(found) == [
        ("head.forecast.bias", 7.0, 0.0),
        ("head.forecast.weight", 0.5, 0.01),
        ("head.wide.bias", 3.0, 0.0),
        ("head.wide.weight", 3.0, 0.01),
        ("model.0.bias", 2.0, 0.0),
        ("model.0.weight", 2.0, 0.01),
        ("model.1.bias", 2.0, 0.0),
        ("model.1.weight", 2.0, 0.0),
        ("modelled.bias", 1.0, 0.0),
        ("modelled.weight", 1.0, 0.01),
    ]


@pytest.mark.parametrize(
    ("beginning", "nearest"),
    [("modle.", "model"), ("head.wider", "head.wide"), ("model.2.weight", "model.1")],
)
def test_a_name_that_no_parameter_has_is_refused_with_the_nearest(beginning, nearest):
    with pytest.raises(ConfigError, match=f"begins with '{beginning}'. Did you mean .*'{nearest}"):
        adamw(Named(), TrainConfig(faster={"model.": 2.0, beginning: 3.0}))


def test_a_part_that_the_settings_leave_out_may_be_named():
    module = Named()
    module.head.network = None
    faster = {"head.network": 2.0, "head.wide": 3.0}
    multiples = {group["multiple"] for group in adamw(module, TrainConfig(faster=faster)).param_groups}
    assert multiples == {1.0, 3.0}


def test_fit_equals_a_plain_loop_with_a_rate_for_each_parameter(tmp_path):
    config = TrainConfig(
        learning_rate=0.05, epochs=2, faster={"3": 2.5, "0.": 0.3}, checkpoint_every_seconds=None
    )
    module, plain, data = toy_model(0.0), toy_model(0.0), ToyBatches(5)
    fit(module, data, config, folder=tmp_path)

    multiples = {"0.weight": 0.3, "3.weight": 2.5, "3.bias": 2.5}
    optimisers = {  # one a parameter
        name: torch.optim.AdamW([p], weight_decay=config.weight_decay if name == "3.weight" else 0.0)
        for name, p in plain.named_parameters()
    }
    places = [(epoch, index) for epoch in range(2) for index in range(data.n_batches(epoch))]
    for step, place in enumerate(places):
        loss, count, _ = plain(data.batch(*place))
        plain.zero_grad()
        (loss / count).backward()
        nn.utils.clip_grad_norm_(plain.parameters(), config.clip_norm)
        for name, optimiser in optimisers.items():
            optimiser.param_groups[0]["lr"] = learning_rate(config, step, len(places)) * multiples.get(
                name, 1.0
            )
            optimiser.step()

    for ours, theirs in zip(module.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_the_rate_that_is_told_is_that_of_the_others(tmp_path):
    records = []
    config = msgspec.structs.replace(CONFIG, patience=None, faster={"": 3.0})  # all of them
    toy_fit(tmp_path, config=config, report=records.append)
    steps = {record.step: record.learning_rate for record in records if record.phase == "train"}
    expected = {step: learning_rate(config, step - 1, 24) for step in range(1, 25)}
    assert steps == pytest.approx(expected, rel=1e-12)
    assert {row["step"]: row["learning_rate"] for row in trace(tmp_path)["losses"]} == expected


def test_multiples_of_one_change_nothing(tmp_path):
    toy_fit(tmp_path / "plain")
    toy_fit(tmp_path / "ones", config=msgspec.structs.replace(CONFIG, faster={"3": 1.0}))
    assert trace(tmp_path / "ones") == trace(tmp_path / "plain")


def broken_off(folder):
    """A run that died at its second evaluation."""
    turns = iter(range(9))

    def dying(module):
        if next(turns) == 1:
            raise KeyboardInterrupt
        return {"loss": 1.0}

    with pytest.raises(KeyboardInterrupt):
        toy_fit(folder, config=FASTER, evaluate=dying)


def test_a_run_that_is_resumed_goes_on_to_the_same_weights(tmp_path):
    toy_fit(tmp_path / "whole", config=FASTER, evaluate=lambda _: {"loss": 1.0})
    broken_off(tmp_path / "run")
    toy_fit(tmp_path / "run", config=FASTER, evaluate=lambda _: {"loss": 1.0}, resume=True)
    assert trace(tmp_path / "run") == trace(tmp_path / "whole")
    toy_fit(tmp_path / "plain", evaluate=lambda _: {"loss": 1.0})
    assert trace(tmp_path / "run")["losses"] != trace(tmp_path / "plain")["losses"]


def test_other_multiples_are_not_resumed_with(tmp_path):
    broken_off(tmp_path / "run")
    other = msgspec.structs.replace(FASTER, faster={"3": 2.0})
    with pytest.raises(ConfigError, match="faster was"):
        toy_fit(tmp_path / "run", config=other, evaluate=lambda _: {"loss": 1.0}, resume=True)
