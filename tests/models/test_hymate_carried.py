"""HyMaTE over the carried state: its parts read what they say they read, and each may be left out."""

from dataclasses import replace

import pytest
import torch

from chartscan.errors import ConfigError
from chartscan.inputs.hourly import CHANNELS
from chartscan.models.hymate_carried import SEQUENCE, WITHIN_HOUR, Config, Model
from random_series import N_STATICS, N_VARIABLES, fitted, random_series

CLOSE = {"rtol": 0, "atol": 1e-5}


def model(**settings):
    torch.manual_seed(0)
    sizes = {"d_model": 16, "dropout": 0.0, "d_state": 4} | settings
    return fitted(Model(Config(CHANNELS, **sizes), N_VARIABLES, N_STATICS))


def parts(found, representation):
    return dict(zip(found.widths, representation.split(list(found.widths.values()), 1), strict=True))


@pytest.mark.parametrize("settings", [{"n_layers": 0}, {"n_attention": 0}, {"n_layers": 0, "n_attention": 0}])
def test_mamba_and_attention_can_be_left_out(settings):
    found, batch = model(**settings), random_series()
    assert found(batch).shape == (4, found.width)
    other = random_series((6, 6))
    other = replace(other, carried=torch.randn(2, 6, N_VARIABLES, len(CHANNELS)), steps=torch.tensor([6, 6]))
    state = found.init_state(2, other.statics)
    with torch.no_grad():
        for h in range(6):
            one, state = found.step(other.carried[:, h], state)
            until = replace(other, carried=other.carried[:, : h + 1], steps=torch.tensor([h + 1, h + 1]))
            torch.testing.assert_close(one, found(until), **CLOSE)
    found(batch).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in found.parameters())


def test_without_mamba_and_attention_hours_do_not_know_of_each_other():
    found, batch = model(n_layers=0, n_attention=0), random_series((6, 5))
    expected = found.norm(found._embedded(batch.carried, batch.statics))
    assert torch.equal(found.hidden(batch), expected)


def test_the_pooled_sequence_is_last_mean_and_highest_of_the_hours_that_are_real():
    found, batch = model(), random_series((5, 0, 9, 2))
    hidden, asked = found.hidden(batch), torch.tensor([5, 1, 2, 3])
    whole = found.sequence_at(batch, hidden, asked)
    for row, steps in enumerate(asked.tolist()):
        real = hidden[row, :steps]
        expected = torch.cat([real[-1], real.mean(0), real.max(0).values, batch.statics[row]])
        torch.testing.assert_close(whole[row], expected, **CLOSE)


def test_the_state_is_read_at_the_step_that_is_asked_for():
    found, batch = model(), random_series((5, 3))
    for asked in (torch.tensor([1, 1]), torch.tensor([4, 2])):
        carried = torch.stack([batch.carried[row, asked[row] - 1] for row in range(2)])
        features, seen = by_hand(found, carried)
        bins, scores = found.bins(features), found.scores(features, seen)
        expected = torch.cat([bins, batch.statics, scores, batch.statics], 1)
        torch.testing.assert_close(found.state_at(batch, asked), expected, **CLOSE)


def by_hand(found, carried):
    """Variable by variable: all channels that are not of the hour alone, and whether it was ever seen."""
    kept = [name for name in CHANNELS if name not in WITHIN_HOUR]
    features, seen = [], []
    for variable in range(N_VARIABLES):
        ever = carried[:, variable, CHANNELS.index("ever")] > 0
        for name in kept:
            features.append(carried[:, variable, CHANNELS.index(name)])
            seen.append(torch.ones_like(ever) if name == "ever" else ever)
    return torch.stack(features, 1), torch.stack(seen, 1)


@pytest.mark.parametrize("name", CHANNELS)
def test_every_channel_is_read_by_the_part_that_says_so(name):
    found, batch = model(), random_series((5, 5))
    changed = batch.carried.clone()
    changed[..., CHANNELS.index(name)] += 1.0
    before, after = (parts(found, found(b)) for b in (batch, replace(batch, carried=changed)))
    moved = {part for part in before if not torch.allclose(before[part], after[part], atol=1e-5)}
    assert ("sequence" in moved) == (name in SEQUENCE)
    assert ("bins" in moved) == ("scores" in moved) == (name not in WITHIN_HOUR)


def test_later_hours_change_no_hidden_state_before_them():
    found, batch = model(), random_series((5, 5))
    changed = batch.carried.clone()
    changed[:, 3:] += 1.0
    before, after = found.hidden(batch), found.hidden(replace(batch, carried=changed))
    torch.testing.assert_close(after[:, :3], before[:, :3], **CLOSE)
    assert not torch.allclose(after[:, 3:], before[:, 3:], atol=1e-3)


def test_what_is_fitted_is_saved_with_the_weights_and_never_taught():
    found = model()
    names = {name for name, _ in found.named_buffers()}
    assert {"bins.edges", "bins.centre", "bins.divisor", "scores.knots", "scores.scale"} <= names
    assert names <= found.state_dict().keys()
    assert not any(p.startswith(("bins", "scores")) for p, _ in found.named_parameters())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"bins": 0}, "model.bins is 0"),
        ({"d_model": 0}, "model.d_model is 0"),
        ({"n_layers": -1}, "model.n_layers is -1"),
        ({"n_attention": -1}, "model.n_attention is -1"),
        ({"n_heads": 5}, "model.n_heads is 5; expected a divisor"),
        ({"dropout": 1.0}, "model.dropout is 1.0"),
        ({"channels": ("last", "ever")}, "model.channels lacks hours_since, observed"),
    ],
)
def test_impossible_settings_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        Config(**({"channels": CHANNELS} | settings))


def test_a_window_of_no_hours_is_refused():
    with pytest.raises(ConfigError, match="window is 0"):
        model(window=0)
