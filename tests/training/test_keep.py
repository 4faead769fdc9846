"""Which weights a run ends with: those of its best evaluation, or its last ones."""

import itertools
import math

import msgspec
import pytest
import torch

from chartscan.errors import ConfigError
from chartscan.training import TrainConfig
from toy_training import CONFIG, toy_fit, toy_model, trace

LAST = msgspec.structs.replace(CONFIG, keep="last", patience=None, epochs=3)


def worsening():
    """An evaluation that is best at its first turn."""
    turn = itertools.count()
    return lambda module: {"loss": float(next(turn))}


def weights(module):
    return torch.cat([tensor.flatten() for tensor in module.state_dict().values()])


def test_the_last_averaged_weights_are_those_of_a_run_without_evaluation(tmp_path):
    kept, plain, best = (toy_model() for _ in range(3))
    result = toy_fit(tmp_path / "kept", config=LAST, module=kept, evaluate=worsening())
    toy_fit(tmp_path / "plain", config=LAST, module=plain, evaluate=None)
    config = msgspec.structs.replace(LAST, keep="best")
    toy_fit(tmp_path / "best", config=config, module=best, evaluate=worsening())
    assert torch.equal(weights(kept), weights(plain))
    assert not torch.equal(weights(kept), weights(best))
    assert result.best_step == result.total_steps


def test_an_evaluation_without_a_value_does_not_lose_the_last_weights(tmp_path):
    kept, plain = toy_model(), toy_model()
    toy_fit(tmp_path / "kept", config=LAST, module=kept, evaluate=lambda _: {"loss": math.nan})
    toy_fit(tmp_path / "plain", config=LAST, module=plain, evaluate=None)
    assert torch.equal(weights(kept), weights(plain))


def test_patience_needs_the_best():
    with pytest.raises(ConfigError, match="keep=best"):
        TrainConfig(keep="last", patience=3)


def test_a_resumed_run_keeps_the_same_last_weights(tmp_path):
    toy_fit(tmp_path / "whole", config=LAST)
    short = itertools.count()

    def dying(module):
        if next(short) == 2:
            raise KeyboardInterrupt
        return {"loss": 1.0}

    with pytest.raises(KeyboardInterrupt):
        toy_fit(tmp_path / "run", config=LAST, evaluate=dying)
    toy_fit(tmp_path / "run", config=LAST, evaluate=lambda _: {"loss": 1.0}, resume=True)
    assert trace(tmp_path / "run")["final weights"] == trace(tmp_path / "whole")["final weights"]
