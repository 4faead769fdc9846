"""The readouts' mean, loss and forecast equal what is written out by hand; what is left out is not there."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from chartscan.errors import ConfigError
from chartscan.inputs.hourly import CHANNELS
from chartscan.models import hymate_carried
from chartscan.objectives.readouts import Config, Readouts, make
from random_series import N_STATICS, N_TASKS, N_VARIABLES, fitted, random_series

SMALL = {"wide_hidden": 5, "hidden": 6, "members": 3, "sequence_hidden": 4}
STILL = {"input_dropout": 0.0, "hidden_dropout": 0.0}
WEIGHTS = {"wide": "wide_weight", "network": "network_weight", "sequence": "sequence_weight"}
LENGTHS = (12, 0, 9, 1, 11)


def pair(seed=0, **settings):
    """A model and its head, every parameter a random number."""
    torch.manual_seed(seed)
    config = hymate_carried.Config(CHANNELS, d_model=8, n_heads=2, d_state=4, dropout=0.0)
    model = fitted(hymate_carried.Model(config, N_VARIABLES, N_STATICS))
    head = make(model, N_TASKS, Config(**(SMALL | STILL | settings)))
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape))
    return model, head


def log_odds_of(probability):
    return torch.log(probability / (1 - probability))


def test_the_answer_is_the_weighted_mean_of_the_readouts_log_odds():
    weights = {"wide_weight": 1.0, "network_weight": 2.0, "sequence_weight": 5.0}
    model, head = pair(**weights)
    head.eval()
    batch = random_series(LENGTHS)
    found = head.readouts(model(batch))
    assert {name: tuple(x.shape) for name, x in found.items()} == {
        "wide": (5, 1, N_TASKS),
        "network": (5, 3, N_TASKS),
        "sequence": (5, 1, N_TASKS),
    }
    means = {name: log_odds_of(torch.sigmoid(x.double()).mean(1)) for name, x in found.items()}
    expected = (means["wide"] + 2 * means["network"] + 5 * means["sequence"]) / 8
    torch.testing.assert_close(head.predict(model, batch).double(), expected, rtol=1e-4, atol=1e-5)


def test_each_readout_reads_its_own_part_alone():
    model, head = pair()
    head.eval()
    x = model(random_series(LENGTHS))
    before = head.readouts(x)
    edges = np.cumsum([0, *model.widths.values()])
    for i, name in enumerate(before):
        changed = x.clone()
        changed[:, edges[i] : edges[i + 1]] += 1.0
        after = head.readouts(changed)
        assert [n for n in before if not torch.equal(before[n], after[n])] == [name]


def test_members_of_the_network_are_networks_of_the_scaled_weights():
    model, head = pair()
    head.eval()
    net, x = head.network, model(random_series(LENGTHS)).split(list(model.widths.values()), 1)[1]
    found = net(x)
    for m in range(3):
        y = torch.relu((x @ net.first.weight.T + net.first.bias) * net.scale[m] + net.shift[m])
        weight = torch.diag(net.second.scale_out[m]) @ net.second.weight @ torch.diag(net.second.scale_in[m])
        y = torch.relu(y @ weight.T + net.second.bias[m])
        torch.testing.assert_close(found[:, m], y @ net.last[m] + net.bias[m], rtol=1e-4, atol=1e-4)
    assert found.std(1).min() > 1e-3


def test_the_wide_readout_is_a_linear_map_beside_a_hidden_layer():
    model, head = pair()
    head.eval()
    wide, x = head.wide, model(random_series(LENGTHS)).split(list(model.widths.values()), 1)[0]
    hidden = torch.relu(x @ wide.hidden.weight.T + wide.hidden.bias)
    expected = x @ wide.direct.weight.T + hidden @ wide.last.weight.T + wide.last.bias
    torch.testing.assert_close(wide(x).squeeze(1), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("absent", [(), *((n,) for n in WEIGHTS), ("wide", "network"), ("wide", "sequence")])
def test_a_readout_of_weight_zero_is_left_out_and_the_loss_reaches_all_there_is(absent):
    model, head = pair(earlier=0.0, **{WEIGHTS[name]: 0.0 for name in absent})
    batch = random_series(LENGTHS)
    assert set(head.readouts(model(batch))) == set(WEIGHTS) - set(absent)
    assert not any(name.startswith(absent) for name, _ in head.named_parameters() if absent)
    head.loss(model, batch)[0].backward()
    assert [n for n, p in head.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    if "sequence" not in absent:
        assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    else:
        assert head.forecast is None
    assert head.eval().predict(model, batch).isfinite().all()


def test_without_its_weight_there_is_no_forecast():
    model, head = pair(forecast_weight=0.0)
    assert head.forecast is None
    assert head.loss(model, random_series(LENGTHS))[0].isfinite()


def cross_entropy_by_loop(head, model, batch):
    """Of every readout and known label the mean over members; and the number of labels."""
    readouts = {n: x.detach().double().numpy() for n, x in head.readouts(model(batch)).items()}
    total, known = 0.0, 0
    for row, labels in enumerate(batch.labels.tolist()):
        for task, label in enumerate(labels):
            if label == label:
                known += 1
                for logits in readouts.values():
                    p = 1 / (1 + np.exp(-logits[row, :, task]))
                    total -= np.mean(np.log(p if label else 1 - p))
    return total, known


def test_the_loss_of_evaluation_is_the_sum_of_the_readouts_cross_entropies():
    model, head = pair()
    head.eval()
    batch = random_series(LENGTHS)
    loss, count, _ = head.loss(model, batch)
    expected, known = cross_entropy_by_loop(head, model, batch)
    assert count == known == 8
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_training_adds_penalties_and_the_forecast_for_each_label():
    settings = {"wide_l2": 0.05, "wide_hidden_l2": 0.01, "network_l2": 0.002, "forecast_weight": 0.7}
    model, head = pair(earlier=0.0, **settings)
    batch = hourly()
    loss, count, _ = head.loss(model, batch)
    expected, known = cross_entropy_by_loop(head, model, batch)

    def squares(*tensors):
        return sum(float((t.detach().double() ** 2).sum()) for t in tensors)

    wide, net = head.wide, head.network
    penalty = 0.05 * squares(wide.direct.weight) + 0.01 * squares(wide.hidden.weight)
    penalty += 0.002 * squares(net.first.weight, net.second.weight, net.last)
    forecast = forecast_by_loop(head, model.hidden(batch), batch)
    assert count == known
    assert float(loss.detach()) == pytest.approx(expected + known * (penalty + 0.7 * forecast), rel=1e-4)


def forecast_by_loop(head, hidden, batch):
    """Row by row, hour by hour, variable by variable."""
    ahead, squared, entropies = head.config.forecast_hours, [], []
    weight, bias = (
        head.forecast.weight.detach().double().numpy(),
        head.forecast.bias.detach().double().numpy(),
    )
    last, observed = CHANNELS.index("last"), CHANNELS.index("observed")
    for row, steps in enumerate(batch.steps.tolist()):
        for hour in range(steps - ahead):
            said = weight @ hidden[row, hour].detach().double().numpy() + bias
            for variable in range(N_VARIABLES):
                window = batch.carried[row, hour + 1 : hour + 1 + ahead, variable].double().numpy()
                there = bool(window[:, observed].max() > 0)
                if there:
                    squared.append((said[variable] - window[-1, last]) ** 2)
                p = 1 / (1 + np.exp(-said[N_VARIABLES + variable]))
                entropies.append(-np.log(p if there else 1 - p))
    return (np.mean(squared) if squared else 0.0) + (np.mean(entropies) if entropies else 0.0)


def hourly(lengths=LENGTHS):
    """Random stays whose channel `observed` is 0 or 1."""
    batch = random_series(lengths)
    carried, channel = batch.carried.clone(), CHANNELS.index("observed")
    real = torch.arange(carried.shape[1]) < batch.steps.unsqueeze(1)
    carried[..., channel] = (carried[..., channel] > 0.8) & real.unsqueeze(2)
    return replace(batch, carried=carried)


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_the_forecast_equals_a_loop_over_rows_hours_and_variables(ahead):
    model, head = pair(forecast_hours=ahead)
    batch = hourly()
    assert batch.steps.tolist() == [1, 1, 4, 2, 6]
    hidden = model.hidden(batch)
    found = float(head.forecast_loss(hidden, batch).detach())
    assert found == pytest.approx(forecast_by_loop(head, hidden, batch), rel=1e-4)
    assert found > 0


def test_padding_changes_no_forecast_whatever_stands_in_it():
    model, head = pair()
    batch = hourly()
    padding = torch.randn(5, 3, *batch.carried.shape[2:])
    padded = replace(batch, carried=torch.cat([batch.carried, padding], 1))
    expected = head.forecast_loss(model.hidden(batch), batch)
    torch.testing.assert_close(head.forecast_loss(model.hidden(padded), padded), expected)


@pytest.mark.parametrize("lengths", [(0,), (0, 6), (1,)])
def test_stays_too_short_to_foresee_anything_cost_nothing(lengths):
    model, head = pair()
    batch = hourly(lengths)
    assert float(head.forecast_loss(model.hidden(batch), batch)) == 0
    head.loss(model, batch)[0].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in head.parameters())


def test_earlier_asks_within_the_later_half_and_never_beyond_the_last_hour():
    _, head = pair(earlier=0.9)
    steps = torch.tensor([1, 2, 3, 24, 48, 63])
    torch.manual_seed(0)
    asked = torch.stack([head._asked(steps) for _ in range(400)])
    assert (asked <= steps).all()
    assert (asked >= (steps / 2).ceil()).all()
    assert asked.dtype == steps.dtype
    assert set(asked[:, 4].tolist()) == set(range(25, 49))
    unmoved = (asked == steps).all(1).float().mean()
    assert 0.05 < unmoved < 0.2


def test_the_share_of_earlier_batches_is_as_asked():
    steps = torch.full((3,), 48)
    for earlier in (0.0, 0.5):
        _, head = pair(earlier=earlier)
        torch.manual_seed(0)
        moved = np.mean([not torch.equal(head._asked(steps), steps) for _ in range(1000)])
        assert moved == pytest.approx(earlier, abs=0.05)


def test_evaluation_asks_at_the_end_of_each_stay():
    model, head = pair(earlier=0.99, wide_l2=0.0, wide_hidden_l2=0.0, network_l2=0.0, forecast_weight=0.0)
    batch = random_series(LENGTHS)
    expected = head.eval().loss(model, batch)[0]
    assert all(torch.equal(head.loss(model, batch)[0], expected) for _ in range(5))
    head.train()
    torch.manual_seed(0)
    assert not all(torch.equal(head.loss(model, batch)[0], expected) for _ in range(5))


def test_the_base_rates_are_where_every_readout_starts():
    model, head = pair()
    head.eval()
    x, rates = model(random_series(LENGTHS)), torch.tensor([0.139, 0.5])
    with torch.no_grad():
        head.base.zero_()
    before = head.readouts(x)
    head.start_at(rates)
    assert torch.equal(torch.sigmoid(head.base), rates)
    for name, logits in head.readouts(x).items():
        torch.testing.assert_close(logits - before[name], torch.logit(rates).expand_as(logits))


def test_a_new_head_answers_near_the_base_rates():
    torch.manual_seed(0)
    config = hymate_carried.Config(CHANNELS, d_model=8, n_heads=2, d_state=4)
    model = fitted(hymate_carried.Model(config, N_VARIABLES, N_STATICS))
    head = Readouts(model, N_TASKS)
    head.start_at(torch.tensor([0.139, 0.5]))
    wide = head.eval().readouts(model.eval()(random_series(LENGTHS)))["wide"]
    torch.testing.assert_close(torch.sigmoid(wide).mean((0, 1)), torch.tensor([0.139, 0.5]), rtol=0, atol=0.1)


def test_a_batch_without_known_labels_has_no_loss():
    model, head = pair()
    batch = random_series(LENGTHS)
    loss, count, _ = head.loss(model, replace(batch, labels=torch.full_like(batch.labels, torch.nan)))
    loss.backward()
    assert (float(loss.detach()), count) == (0.0, 0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"wide_weight": -0.1}, "the weights of the readouts"),
        (dict.fromkeys(WEIGHTS.values(), 0.0), "the weights of the readouts"),
        ({"wide_l2": -1.0}, "wide_l2"),
        ({"network_l2": -1.0}, "network_l2"),
        ({"forecast_weight": -1.0}, "forecast_weight"),
        ({"members": 0}, "members"),
        ({"forecast_hours": 0}, "forecast_hours"),
        ({"hidden_dropout": 1.0}, "hidden_dropout"),
        ({"earlier": 1.0}, "earlier"),
        ({"input_dropout": -0.1}, "input_dropout"),
    ],
)
def test_impossible_settings_are_refused(settings, said):
    with pytest.raises(ConfigError, match=f"head settings out of range: .*{said}"):
        Config(**settings)
