"""Deletion tests tell right explanations from random and from planted wrong ones."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from chartscan.interpret.explanation import RANDOM, explained
from chartscan.interpret.faithfulness import (
    CURVE,
    comprehensiveness,
    deletion,
    insertion,
    random_attribution,
    rank_correlation,
    shuffled,
    sufficiency,
    top_events,
)
from chartscan.interpret.gradients import of_values
from planted_models import Curved, additive, right_for_additive, stays
from token_rows import Planted, asking


def positive(lengths, seed=0):
    """A batch whose right attributions are all above 0, so that removing more always moves more."""
    batch = stays(lengths, seed)
    return type(batch)(
        **{
            **vars(batch),
            "values": right_for_additive(batch).sign() * batch.values.abs() * batch.values.sign(),
        }
    )


def test_the_right_explanation_beats_random_and_the_wrong_way_round():
    batch = positive([63, 40, 7], seed=2)
    right = right_for_additive(batch)
    wrong = 1 / (right.abs() + 1e-3) * (batch.variables > 0)
    random = random_attribution(batch, 0)
    scores = {n: (comprehensiveness(additive, batch, a), sufficiency(additive, batch, a))
              for n, a in {"right": right, "random": random, "wrong": wrong}.items()}  # fmt: skip
    removed = {name: float(found[0].mean()) for name, found in scores.items()}
    alone = {name: float(found[1].mean()) for name, found in scores.items()}
    assert removed["right"] > removed["random"] > removed["wrong"]
    assert alone["right"] < alone["random"] < alone["wrong"]


def test_they_equal_a_loop_over_stays_and_shares():
    model, batch = Curved(), stays([20, 5])
    attribution = of_values(model, batch).events
    shares = (0.1, 0.5, 1.0)
    found = (
        comprehensiveness(model, batch, attribution, shares),
        sufficiency(model, batch, attribution, shares),
    )
    with torch.no_grad():
        for row, length in enumerate([20, 5]):
            whole = model(batch)[row]
            order = np.argsort(-attribution[row, :length].abs().numpy(), kind="stable")
            for k, share in enumerate(shares):
                top = set(order[: int(np.ceil(share * length))].tolist())
                for result, kept in zip(found, (set(range(length)) - top, top), strict=True):
                    places = torch.tensor(sorted(kept), dtype=torch.int64)
                    one = type(batch)(**{
                        name: value[row : row + 1, places] if name in ("hours", "variables", "values")
                        else value[row : row + 1] for name, value in vars(batch).items() if value is not None
                    })  # fmt: skip
                    one = type(batch)(**{**vars(one), "lengths": torch.tensor([len(kept)])})
                    expected = (whole - model(one)[0]).abs()
                    torch.testing.assert_close(result[row, k], expected, atol=1e-6, rtol=1e-4)


def test_top_events_are_rounded_up_and_ties_go_to_the_earlier():
    among = torch.arange(5) < torch.tensor([5, 3, 0]).unsqueeze(1)
    top = top_events(torch.ones(3, 5), among, 0.3)
    assert top.tolist() == [[True, True, False, False, False], [True] + [False] * 4, [False] * 5]
    assert top_events(torch.ones(3, 5), among, 1.0).sum(1).tolist() == [5, 3, 0]


def test_rank_correlation_equals_scipy_within_each_stay():
    batch = stays([63, 2, 9])
    a, b = random_attribution(batch, 1), random_attribution(batch, 2)
    found = rank_correlation(a, -b, batch.lengths)
    expected = [spearmanr(a[r, :n], b[r, :n]).statistic for r, n in enumerate([63, 2, 9])]
    assert found == pytest.approx(expected)
    assert rank_correlation(a, a, batch.lengths) == pytest.approx(1)


def test_rank_correlation_is_not_defined_for_one_event_or_one_value():
    lengths = torch.tensor([1, 3])
    assert np.isnan(rank_correlation(torch.ones(2, 3), torch.rand(2, 3), lengths)).all()


def test_shuffled_weights_are_as_large_and_explain_otherwise():
    model, batch = Curved(), stays([40, 40, 40])
    other = shuffled(model, 0)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one.flatten().sort().values, two.flatten().sort().values)
    assert not torch.equal(model.mix.weight, other.mix.weight)
    mine, theirs = (of_values(m, batch).events for m in (model, other))
    assert np.nanmean(rank_correlation(mine, theirs, batch.lengths)) < 0.9
    assert torch.equal(shuffled(model, 0).mix.weight, other.mix.weight)


def test_the_curves_equal_a_loop_over_events_in_their_order():
    model, batch = Curved(), stays([20, 5])
    attribution = of_values(model, batch).events
    found = deletion(model, batch, attribution), insertion(model, batch, attribution)
    with torch.no_grad():
        for row, length in enumerate([20, 5]):
            order = np.argsort(-attribution[row, :length].numpy(), kind="stable")
            curves = [[], []]
            for share in CURVE:
                top = sorted(order[: int(np.ceil(share * length - 1e-9))].tolist())
                rest = sorted(set(range(length)) - set(top))
                for curve, kept in zip(curves, (rest, top), strict=True):
                    curve.append(float(torch.sigmoid(model(_alone(batch, row, kept))[0])))
            for result, curve in zip(found, curves, strict=True):
                assert float(result[row]) == pytest.approx(np.trapezoid(curve, CURVE), abs=1e-5)


def _alone(batch, row, kept):
    places = torch.tensor(kept, dtype=torch.int64)
    one = {
        name: value[row : row + 1, places]
        if name in ("hours", "variables", "values")
        else value[row : row + 1]
        for name, value in vars(batch).items()
        if value is not None
    }
    return type(batch)(**one | {"lengths": torch.tensor([len(kept)])})


def test_the_right_explanation_has_better_curves_than_its_opposite():
    batch = positive([63, 40, 7], seed=2)
    right = right_for_additive(batch)
    assert (deletion(additive, batch, right) < deletion(additive, batch, -right)).all()
    assert (insertion(additive, batch, right) > insertion(additive, batch, -right)).all()


def test_of_tokens_they_find_the_planted_cause():
    model = Planted(17)
    batch = asking((40, 25, 33), seed=3)
    codes = batch.codes.clone()
    codes[:, 5] = 17
    batch = dataclasses.replace(batch, codes=codes)
    right = (batch.codes == 17) * 1.0
    random = random_attribution(batch, 0)
    assert not random[:, 0].any()
    assert (
        comprehensiveness(model, batch, right)[:, 1].min()
        > comprehensiveness(model, batch, random)[:, 1].max()
    )
    assert sufficiency(model, batch, right)[:, 2].max() < 1e-6
    assert (deletion(model, batch, right) < deletion(model, batch, random)).all()
    assert (insertion(model, batch, right) > insertion(model, batch, random)).all()


def test_random_ranks_of_a_row_do_not_depend_on_its_batch():
    batch = positive([63, 7], seed=2)
    together = explained(additive, batch, {}, {}, [(0, 5), (0, 9)])[1]
    alone = explained(additive, short(batch), {}, {}, [(0, 9)])[0]
    other = explained(additive, short(batch), {}, {}, [(1, 9)])[0]
    for measure, values in together.measures[RANDOM].items():
        np.testing.assert_allclose(alone.measures[RANDOM][measure], values, rtol=1e-5)
    found = [one.measures[RANDOM]["comprehensiveness"] for one in (alone, other)]
    assert not np.allclose(*found)


def short(batch):
    """The last row without its padding."""
    n = int(batch.lengths[-1])
    cut = {name: getattr(batch, name)[-1:, :n] for name in ("hours", "variables", "values")}
    whole = {name: getattr(batch, name)[-1:] for name in ("lengths", "statics", "ends", "labels")}
    return dataclasses.replace(batch, **cut, **whole)
