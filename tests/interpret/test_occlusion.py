"""Occlusion: events are gone as if they had never been recorded."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chartscan.errors import ConfigError
from chartscan.interpret.events import real_events, without
from chartscan.interpret.faithfulness import event_occlusion, occlusion
from planted_models import V, additive, right_for_additive, stays

LENGTHS = [0, 1, 63, 7]


def test_of_an_additive_model_it_is_what_each_event_adds():
    batch = stays(LENGTHS)
    torch.testing.assert_close(
        event_occlusion(additive, batch), right_for_additive(batch), atol=2e-5, rtol=1e-4
    )


def test_a_group_adds_what_its_events_add_together():
    batch = stays(LENGTHS)
    found = occlusion(additive, batch, (batch.variables - 1).clamp(min=0))
    right = right_for_additive(batch)
    assert found.shape == (len(LENGTHS), V)
    for variable in range(1, V + 1):
        expected = (right * (batch.variables == variable)).sum(1)
        torch.testing.assert_close(found[:, variable - 1], expected, atol=2e-5, rtol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=4), st.integers(0, 1000))
def test_what_is_left_is_as_if_it_were_recorded_alone(lengths, seed):
    batch = stays(lengths, seed)
    removed = torch.rand(batch.hours.shape, generator=torch.Generator().manual_seed(seed)) < 0.4
    less = without(batch, removed)
    for row, length in enumerate(lengths):
        kept = ~removed[row, :length]
        for name in ("hours", "variables", "values"):
            left = getattr(less, name)[row]
            assert left[: int(kept.sum())].equal(getattr(batch, name)[row, :length][kept])
            assert not left[int(kept.sum()) :].any()
        assert less.lengths[row] == kept.sum()
    assert less.hours.shape[1] == less.lengths.max()


def test_without_nothing_and_without_everything():
    batch = stays(LENGTHS)
    none = torch.zeros_like(batch.hours, dtype=torch.bool)
    assert without(batch, none).values.equal(batch.values)
    assert without(batch, ~none).hours.shape == (4, 0)


def test_a_carried_state_is_refused():
    batch = dataclasses.replace(stays([3]), carried=torch.zeros(1, 1, V, 2))
    with pytest.raises(ConfigError, match="carried state"):
        without(batch, real_events(batch))


def test_stays_without_events_have_no_groups():
    batch = stays([0, 0])
    assert occlusion(additive, batch, batch.variables).shape == (2, 0)
    assert event_occlusion(additive, batch).shape == (2, 0)


def test_many_passes_equal_one(monkeypatch):
    batch = stays(LENGTHS)
    whole = event_occlusion(additive, batch)
    monkeypatch.setattr("chartscan.interpret.faithfulness.POSITIONS", 200)
    counts = []
    torch.testing.assert_close(
        event_occlusion(additive, batch, lambda done, total: counts.append(done)), whole
    )
    assert counts[-1] == sum(LENGTHS)
    assert len(counts) > 3
