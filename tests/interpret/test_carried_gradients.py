"""Integrated gradients of the carried state: right for a linear model, complete, by variable and by event."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from chartscan.interpret.gradients import of_carried, of_each_event
from chartscan.layers.quantile_bins import QuantileBins, QuantileScores
from planted_models import V, stays

H, C = 48, 3


class Linear(nn.Module):
    """Linear in the carried state of every hour, and in both encodings of the state at the end."""

    def __init__(self):
        super().__init__()
        random = torch.Generator().manual_seed(3)
        self.bins, self.scores = QuantileBins(V * C, 4), QuantileScores(V * C)
        features = torch.randn(60, V * C, generator=random)
        labels = torch.randint(0, 2, (60, 1), generator=random).float()
        self.bins.fit(features, torch.ones_like(features).bool())
        self.scores.fit(features, torch.ones_like(features).bool(), labels)
        self.hourly = torch.randn(H, V, C, generator=random)
        self.of_bins = torch.randn(V * C * 5, generator=random)
        self.of_scores = torch.randn(V * C * 2, generator=random)

    def forward(self, batch):
        final = self.final(batch)
        hourly = (batch.carried * self.hourly).sum((1, 2, 3))
        seen = torch.ones_like(final).bool()
        return hourly + self.bins(final) @ self.of_bins + self.scores(final, seen) @ self.of_scores

    def final(self, batch):
        rows = torch.arange(len(batch.steps))
        return batch.carried[rows, batch.steps - 1].flatten(1)


def carrying(lengths=(30, 7, 0), seed=0):
    """Stays with any carried state that begins with the first measurement of each variable."""
    batch = stays(list(lengths), seed)
    random = torch.Generator().manual_seed(seed + 1)
    carried = torch.randn(len(lengths), H, V, C, generator=random)
    known = torch.zeros(len(lengths), H, V, dtype=torch.bool)
    for row, n in enumerate(lengths):
        for hour, variable in zip(
            batch.hours[row, :n].tolist(), batch.variables[row, :n].tolist(), strict=True
        ):
            known[row, max(int(-(-hour // 1)) - 1, 0) :, variable - 1] = True
    return replace(batch, carried=carried * known.unsqueeze(3), steps=torch.full((len(lengths),), H))


def nothing(batch):
    return replace(batch, carried=torch.zeros_like(batch.carried))


def test_a_linear_model_gets_the_exact_answer_by_variable_and_hour():
    model, batch = Linear(), carrying()
    found = of_carried(model, batch, nothing(batch), model, 1)
    torch.testing.assert_close(found.hourly, (batch.carried * model.hourly).sum(3), atol=1e-4, rtol=1e-4)
    for variable in range(V):
        one = slice(variable * C, variable * C + C)
        state, zero = model.final(batch), torch.zeros(3, V * C)
        alone = zero.clone()
        alone[:, one] = state[:, one]  # both encodings treat features apart
        seen = torch.ones_like(zero).bool()
        change = (model.bins(alone) - model.bins(zero)) @ model.of_bins
        change += (model.scores(alone, seen) - model.scores(zero, seen)) @ model.of_scores
        torch.testing.assert_close(found.final[:, variable], change, atol=1e-4, rtol=1e-4)


def test_the_shares_of_events_add_up_to_the_change():
    model, batch = Linear(), carrying()
    found = of_each_event(of_carried(model, batch, nothing(batch), model, 1), batch)
    assert found.change[:2].abs().min() > 0.1
    torch.testing.assert_close(found.gap, torch.zeros(3), atol=1e-3, rtol=0)
    assert not found.events[1, 7:].any()
    assert not found.events[2].any()


def test_an_hour_belongs_to_the_latest_measurement_of_the_variable():
    batch = carrying((4,))
    batch = replace(
        batch,
        hours=torch.tensor([[1.5, 1.7, 10.0, 20.2]]),
        variables=torch.tensor([[2, 2, 1, 2]]),
    )
    model = Linear()
    found = of_carried(model, batch, nothing(batch), model, 1)
    found = found._replace(final=torch.tensor([[5.0, 6.0, 0.0, 0.0, 0.0]]))
    shares = of_each_event(found, batch).events[0]
    of_two = found.hourly[0, :, 1]
    assert shares[0] == shares[1] == pytest.approx(float(of_two[1:20].sum()) / 2 + 2, rel=1e-4)
    assert shares[2] == pytest.approx(float(found.hourly[0, 9:, 0].sum()) + 5, rel=1e-4)
    assert shares[3] == pytest.approx(float(of_two[20:].sum()) + 2, rel=1e-4)


def test_events_before_the_window_show_in_its_first_hour():
    batch = carrying((3,))
    batch = replace(
        batch,
        hours=torch.tensor([[2.0, 30.5, 99.5]]),
        variables=torch.tensor([[1, 1, 1]]),
        ends=torch.tensor([100.0]),
    )
    model = Linear()
    found = of_carried(model, batch, nothing(batch), model, 1)._replace(final=torch.zeros(1, V))
    shares = of_each_event(found, batch).events[0]
    assert shares[0] == shares[1] == pytest.approx(float(found.hourly[0, :47, 0].sum()) / 2, rel=1e-4)
    assert shares[2] == pytest.approx(float(found.hourly[0, 47, 0]), rel=1e-4)
