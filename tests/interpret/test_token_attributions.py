"""Integrated gradients and occlusion of token models: complete, right where the cause is planted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn.functional import pad

from chartscan.interpret import tokens as token_explaining
from chartscan.interpret.attention import first_output
from chartscan.interpret.explanation import GRADIENTS
from chartscan.interpret.faithfulness import event_occlusion
from chartscan.interpret.gradients import STEPS, of_embeddings, path_integral, to_tolerance
from chartscan.interpret.tokens import token_methods, usual_codes, weighed_methods, weighed_score
from token_rows import Planted, answering, asking

CAUSE = 17


def planted_batch():
    batch = asking((40, 25, 33), seed=3)
    codes = batch.codes.clone()
    codes[codes == CAUSE] += 1
    for row, places in enumerate([(3, 20, 39), (24,), (1, 30)]):
        codes[row, list(places)] = CAUSE
    return replace(batch, codes=codes)


def ranked(attribution, batch):
    """AUROC of the attribution's size for the cause, over all tokens but the first."""
    found = [
        roc_auc_score(batch.codes[row, 1:n] == CAUSE, attribution[row, 1:n].abs())
        for row, n in enumerate(batch.lengths.tolist())
    ]
    return float(np.mean(found))


@pytest.mark.parametrize("groups", [None, "types"])
def test_the_planted_cause_ranks_first(groups):
    model, batch = Planted(CAUSE), planted_batch()
    by = None if groups is None else torch.where(batch.types > 12, 1, 0)
    found, _ = to_tolerance(lambda n: of_embeddings(model, batch, model.embedding, n, by))
    assert found.relative_gap < 0.01
    assert ranked(found.events, batch) == 1
    assert ranked(event_occlusion(model, batch), batch) == 1


@pytest.mark.parametrize("grouped", [False, True])
def test_they_add_up_for_ehrmamba(grouped):
    model, _, score = answering()
    batch = asking((30, 1, 12))
    by = batch.types if grouped else None
    found, _ = to_tolerance(lambda n: of_embeddings(score, batch, model.embedding, n, by))
    assert found.relative_gap < 0.01
    assert found.events.shape == batch.codes.shape
    assert not found.events[1].any()
    assert not found.events[:, 0].any()
    assert found.change[0].abs() > 1e-3


def test_they_add_up_where_kinds_alone_are_averaged():
    model, _, score = answering()
    batch = asking((30, 1, 12))
    found, _ = to_tolerance(
        lambda n: of_embeddings(score, batch, model.embedding, n, batch.types, model.embedding.codes)
    )
    assert found.relative_gap < 0.01
    assert not found.events[1].any()
    assert not found.events[:, 0].any()


def test_the_baseline_is_the_mean_of_the_same_group():
    model, batch = Planted(CAUSE), planted_batch()
    linear = lambda b: model.embedding(b.codes)[..., 0].sum(1)  # noqa: E731
    groups = torch.arange(batch.codes.shape[1]).expand_as(batch.codes) % 3
    found = of_embeddings(linear, batch, model.embedding, 1, groups)
    values = model.embedding.weight[batch.codes][..., 0].detach()
    for row, n in enumerate(batch.lengths.tolist()):
        for group in range(3):
            places = [place for place in range(1, n) if place % 3 == group]
            expected = values[row, places] - values[row, places].mean()
            torch.testing.assert_close(found.events[row, places], expected, atol=1e-5, rtol=1e-4)


def test_of_kinds_alone_the_rest_of_each_event_stays_in_the_baseline():
    model, _, score = answering()
    batch = asking((30, 12))
    embedding = model.embedding
    linear = lambda b: embedding(b)[..., :3].sum((1, 2))  # noqa: E731
    found = of_embeddings(linear, batch, embedding, 1, batch.types, embedding.codes)
    for row, n in enumerate(batch.lengths.tolist()):
        own = batch.types[row, :n]
        for place in range(1, n):
            alike = [other for other in range(1, n) if own[other] == own[place]]
            mean = embedding.codes.weight[batch.codes[row, alike]].mean(0)
            codes = embedding.codes(batch.codes)
            codes[row, place] = mean
            with first_output(embedding.codes, codes):
                average = embedding(batch)[row, place, :3].sum()
            expected = embedding(batch)[row, place, :3].sum() - average
            torch.testing.assert_close(found.events[row, place], expected.detach(), atol=1e-5, rtol=1e-3)
    same = of_embeddings(score, alone(batch), embedding, 1, batch.types, embedding.codes)
    assert same.events.abs().max() < 1e-9


def test_a_usual_code_stands_in_the_place_of_the_mean():
    model, _, score = answering()
    batch = asking((30, 1, 12))
    embedding = model.embedding
    variable = [CAUSE, CAUSE + 1, CAUSE + 2]
    usual = usual_codes(embedding.codes.weight, [variable, [3]])
    methods = token_methods(model, score, [variable, [3]])
    found = methods[GRADIENTS](batch)
    assert found.relative_gap < 0.01
    codes = embedding.codes(batch.codes)
    for row, n in enumerate(batch.lengths.tolist()):
        for place in range(1, n):
            alike = [other for other in range(1, n) if batch.types[row, other] == batch.types[row, place]]
            own = variable if int(batch.codes[row, place]) in variable else batch.codes[row, alike]
            codes[row, place] = embedding.codes.weight[own].mean(0)
    with torch.no_grad(), first_output(embedding.codes, codes.detach()):
        baseline = score(batch)
    torch.testing.assert_close(found.change, (score(batch) - baseline).detach(), atol=1e-5, rtol=1e-4)
    assert usual[3].isnan().all()


def test_a_usual_reading_adds_nothing(monkeypatch):
    monkeypatch.setattr(token_explaining, "to_tolerance", lambda method: (method(2), 2))  # at any steps
    model, _, score = answering()
    batch = asking((30, 12))
    variable = [CAUSE, CAUSE + 1]
    with torch.no_grad():
        model.embedding.codes.weight[CAUSE + 1] = model.embedding.codes.weight[CAUSE]
    found = token_methods(model, score, [variable])[GRADIENTS](alone(batch))
    assert found.events.abs().max() < 1e-9
    other = replace(batch, codes=torch.where(batch.types == batch.types[0, 5], CAUSE, batch.codes))
    found = token_methods(model, score, [variable])[GRADIENTS](other)
    assert found.events[other.codes == CAUSE].abs().max() < 1e-9
    assert found.events.abs().max() > 1e-4


def test_of_a_weighed_sum_of_models_they_are_those_of_both_embeddings_at_once():
    batch = asking((30, 12))
    batch.prompts.tasks[1] = 1
    shares = torch.tensor([[0.7, 0.2], [0.5, 1.1]])  # two models, two tasks
    models, heads, scores = zip(*(answering(seed) for seed in (0, 1)), strict=True)
    for head in heads:
        head.task_bias = torch.nn.Parameter(torch.zeros(2))
    methods = [token_methods(model, score, []) for model, score in zip(models, scores, strict=True)]
    found = weighed_methods(methods, shares)[GRADIENTS](batch)
    score = weighed_score(scores, shares)

    embedded, starts = [], []
    for model in models:
        tables, usual = model.embedding.codes, model.embedding.codes(batch.codes).detach()
        for row, n in enumerate(batch.lengths.tolist()):
            for place in range(1, n):
                alike = [k for k in range(1, n) if batch.types[row, k] == batch.types[row, place]]
                usual[row, place] = tables.weight[batch.codes[row, alike]].mean(0)
        embedded.append(model.embedding(batch).detach())
        with torch.no_grad(), first_output(tables, usual):
            starts.append(model.embedding(batch))

    def joint(vectors):
        first, second = (pad(one, (0, 0, 0, 1)) for one in vectors.chunk(2, dim=2))
        with first_output(models[0].embedding, first), first_output(models[1].embedding, second):
            return score(batch)

    expected, change = path_integral(joint, torch.cat(embedded, 2), torch.cat(starts, 2), STEPS)
    torch.testing.assert_close(found.events, expected.sum(2), atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(found.change, change, atol=1e-5, rtol=1e-4)
    assert found.relative_gap < 0.01


def alone(batch):
    """Every token but the first of the same code, at its own time."""
    codes = batch.codes.clone()
    codes[:, 1:] = CAUSE
    return replace(batch, codes=codes * (batch.codes > 0))


def test_occlusion_asks_again_without_each_token():
    _, _, score = answering()
    batch = asking((9, 4))
    found = event_occlusion(score, batch)
    whole = score(batch)
    for row, n in enumerate(batch.lengths.tolist()):
        for place in range(1, n):
            kept = [p for p in range(n) if p != place]
            less = asking((9, 4))
            columns = {
                name: getattr(less, name)[row : row + 1, kept]
                for name in ("codes", "types", "ages", "times", "segments", "visit_orders", "attributed")
            }
            gaps = _gaps_by_hand(columns)
            prompts = replace(
                batch.prompts,
                rows=torch.tensor([0]),
                positions=torch.tensor([n - 2]),
                codes=batch.prompts.codes[:1],
                tasks=batch.prompts.tasks[:1],
                labels=batch.prompts.labels[:1],
            )
            one = replace(
                less,
                **columns,
                gaps=gaps,
                positions=torch.arange(n - 1).unsqueeze(0),
                lengths=torch.tensor([n - 1]),
                prompts=prompts,
            )
            expected = (whole[row] - score(one)[0]).detach()
            torch.testing.assert_close(found[row, place], expected, atol=1e-5, rtol=1e-3)
    assert not found[:, 0].any()


def _gaps_by_hand(columns):
    gaps, before = torch.zeros_like(columns["times"]), None
    for place, attributed in enumerate(columns["attributed"][0].tolist()):
        if attributed:
            gaps[0, place] = 0 if before is None else columns["times"][0, place] - before
            before = columns["times"][0, place]
    return gaps
