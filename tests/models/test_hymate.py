"""HyMaTE: what the paper has and its released code lacks, and what each switch takes away."""

import msgspec
import numpy as np
import pytest
import torch

from chartscan.errors import ConfigError
from chartscan.inputs.batches.series import SeriesStore, collate_series
from chartscan.inputs.hourly import Variables, stays
from chartscan.models.hymate import Config, Model
from random_series import N_STATICS, N_VARIABLES, padded_to, random_series
from series_events import SMALL, admission, event, live, questions, static, table


def model(seed=0, **settings):
    torch.manual_seed(seed)
    config = Config(**({"d_model": 16, "dropout": 0.0} | settings))
    return Model(config, N_VARIABLES, N_STATICS)


def test_a_stay_without_events_is_represented_by_its_statics_alone():
    found, batch = model(), random_series()
    fused, statics = found(batch)[1].chunk(2)
    assert not fused.any()
    torch.testing.assert_close(statics, found.statics(batch.statics)[1])


def test_fusion_weights_add_up_to_one_over_the_events_and_pad_to_zero():
    for batch in (random_series(), padded_to(random_series(), 30, 6)):
        weights = model().attention(batch)
        assert weights.shape == batch.hours.shape
        torch.testing.assert_close(weights.sum(1), torch.tensor([1.0, 0.0, 1.0, 1.0]))
        assert not weights[batch.variables == 0].any()
    assert model().attention(random_series((0, 0))).shape == (2, 0)


def test_the_order_of_events_matters_to_mamba_blocks():
    batch = random_series((12,))
    backwards = random_series((12,))
    for name in ("hours", "variables", "values"):
        object.__setattr__(backwards, name, getattr(batch, name).flip(1))
    assert not torch.allclose(model()(backwards), model()(batch), atol=1e-3)


def test_blocks_have_weights_of_their_own():
    found = model(n_layers=3)
    weights = [block.in_proj.weight for block in found.blocks]
    assert len({w.data_ptr() for w in weights}) == 3
    assert not torch.equal(weights[0], weights[1])


def test_attention_reaches_the_output():
    found, batch = model(), random_series()
    before = found(batch)
    with torch.no_grad():
        found.attentions[0].out_proj.weight.zero_()
    assert not torch.allclose(found(batch), before, atol=1e-4)
    assert not list(model(n_attention=0).attentions)


def test_only_without_causality_do_later_events_change_earlier_hidden_states():
    short, long = random_series((12,)), random_series((12,))
    values = long.values.clone()
    values[:, 8:] += 1
    object.__setattr__(long, "values", values)
    for causal in (True, False):
        early = [model(causal=causal).hidden(batch)[:, :8] for batch in (short, long)]
        assert torch.allclose(*early, atol=1e-6) == causal


@pytest.mark.parametrize("combine", ["sum", "concat", "gated"])
def test_models_of_every_embedding_are_of_one_size(combine):
    def size(**settings):
        return sum(p.numel() for p in Model(Config(**settings), 37, 9).parameters())

    assert abs(size(combine=combine) - size()) <= 0.02 * size()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"d_model": 0}, "d_model is 0"),
        ({"n_heads": 3}, r"n_heads is 3; expected a divisor of model\.d_model, 64"),
        ({"n_attention": -1}, "n_attention is -1"),
        ({"window": 5}, r"window is 5; expected at least 1, and model\.causal"),
        ({"window": 0, "causal": True}, "window is 0"),
        ({"dropout": 1.0}, r"dropout is 1\.0"),
        ({"span_hours": 0.0}, r"span_hours is 0\.0"),
    ],
)
def test_impossible_settings_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        Config(**settings)


@pytest.mark.parametrize("seed", range(3))
@torch.no_grad()
def test_steps_over_a_live_record_give_what_one_pass_over_the_stay_gives(seed):
    random = np.random.default_rng(0)
    names = [f"PHYSIONET2012//{name}" for name in ("HR", "SysABP", "DiasABP", "MAP")]
    rows = [event(1, float(h), name, float(random.uniform(40, 90))) for h in range(6) for name in 2 * names]
    rows += [admission(1), static(1, "PHYSIONET2012//Age", 61.0)]
    variables = Variables.fit([table(rows)], msgspec.structs.replace(SMALL, derived=True))
    whole = stays([table(rows)], variables, questions((1, 9.0)))
    batch = collate_series(SeriesStore.build(whole, np.zeros((1, 1)), variables), np.arange(1), "triplets")
    torch.manual_seed(0)
    found = Model(Config(d_model=16, causal=True), variables.n_variables, variables.n_statics).eval()
    state = found.init_state(1, batch.statics)
    for hours, number, value in live(rows, 9.0, variables, seed)[1]:
        scaled = variables.scaled(np.array([number]), np.array([value], dtype=np.float32))
        event_of = torch.tensor([hours]), torch.tensor([number]), torch.from_numpy(scaled)
        representation, state = found.step(*event_of, state)
    torch.testing.assert_close(representation, found(batch), atol=1e-5, rtol=1e-4)
