"""Learning rates, and which batches make which step."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chartscan.errors import ConfigError
from chartscan.training import TrainConfig
from chartscan.training.optimiser import learning_rate
from chartscan.training.plan import Plan, plan
from toy_training import ToyBatches


def test_the_rates_of_the_paper():
    config = TrainConfig(learning_rate=5e-5, min_lr_ratio=0.01, warmup_fraction=0.1)
    rates = [learning_rate(config, step, 101) for step in range(101)]
    assert rates[0] == pytest.approx(5e-7)
    assert rates[10] == 5e-5 == max(rates)
    assert rates[5] == pytest.approx((5e-7 + 5e-5) / 2)
    assert rates[55] == pytest.approx((5e-7 + 5e-5) / 2)
    assert rates[100] == pytest.approx(5e-7)


@given(
    st.integers(1, 400),
    st.floats(0, 0.99),
    st.floats(0, 1),
)
def test_rates_rise_once_and_fall_once_within_their_bounds(total, warmup, ratio):
    config = TrainConfig(learning_rate=2.0, warmup_fraction=warmup, min_lr_ratio=ratio)
    rates = [learning_rate(config, step, total) for step in range(total)]
    peak = rates.index(max(rates))
    assert rates[peak] == pytest.approx(2.0)
    assert min(rates) >= 2.0 * ratio - 1e-12
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any),
    st.integers(1, 5),
    st.none() | st.integers(1, 20),
)
def test_the_plan_equals_a_loop_over_epochs_and_batches(sizes, accumulate, max_steps):
    made = Plan(tuple(sizes), accumulate, max_steps)
    loop = []
    for epoch, size in enumerate(sizes):
        for first in range(0, size, accumulate):
            loop.append((epoch, list(range(first, min(first + accumulate, size)))))
    assert [(made.epoch(step), list(made.indices(step))) for step in range(len(loop))] == loop
    assert made.total_steps == len(loop[:max_steps])


def test_no_batches_at_all_is_an_error_of_the_user():
    with pytest.raises(ConfigError, match="no batch to train on"):
        plan(ToyBatches(0), TrainConfig(epochs=1))


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": 0},
        {"accumulate": 0},
        {"warmup_fraction": 1},
        {"max_steps": 0},
        {"average_decay": 1.0},
        {"faster": {"model.": 0.0}},
    ],
)
def test_settings_out_of_range_are_named(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        TrainConfig(**wrong)


def test_a_wrong_name_in_the_settings_is_refused():
    with pytest.raises(msgspec.ValidationError, match="learning_rte"):
        msgspec.convert({"learning_rte": 1.0}, TrainConfig)
