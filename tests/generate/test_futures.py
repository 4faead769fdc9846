"""Futures: equal to reading everything anew for each token, the same in any company, and possible records."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chartscan.batches.collate import batch_of
from chartscan.errors import ConfigError
from chartscan.generate import Plan, generate
from chartscan.generate.choice import choose
from chartscan.sequences import Encoded, encoded_from, violations
from chartscan.sequences import specials as S
from chartscan.sequences import types as T
from forecasting import artifact, histories

ARTIFACT = artifact()
ATTRIBUTED = artifact(visit_tokens_attributed=True)
GREEDY = Plan(tokens=25, temperature=0, until_death=False)
DRAWN = Plan(samples=3, tokens=30, temperature=1.3, top_p=0.9, until_death=False)
DEATH = T.TYPE_OF_EVENT["death"]


def run(plan, found=ARTIFACT, given_histories=None, rows=512):
    """Futures by (history, sample)."""
    asked = histories(found) if given_histories is None else given_histories
    return {(f.history, f.sample): f for f in generate(found, asked, plan, rows=rows)}


def appended(before, token):
    after = encoded_from([token])
    names = [f.name for f in dataclasses.fields(Encoded)]
    return Encoded(*(np.concatenate([getattr(before, n), getattr(after, n)]) for n in names))


@torch.no_grad()
def anew(found, history, tokens):
    """Greedy tokens where the model reads the whole sequence again for each."""
    whole, state, codes, log_probs = history.window, history.state.copy(), [], []
    forbidden = {S.PAD, S.UNK, S.MASK, S.CLS, *found.vocabulary.tasks.values()}
    forbidden |= {i for i, t in enumerate(found.pace.types) if t in (T.STATIC, T.PAD)}
    for _ in range(tokens):
        logits = found.forecast(found.model.forward(batch_of([whole]))[0, -1])
        logits[list(forbidden)] = -torch.inf
        codes.append(int(logits.argmax()))
        log_probs.append(float(logits.log_softmax(-1)[codes[-1]]))
        whole = appended(whole, state.push(codes[-1], 0.5))
    return codes, log_probs


@pytest.mark.parametrize("found", [ARTIFACT, ATTRIBUTED])
def test_greedy_futures_equal_full_recomputation_token_by_token(found):
    asked = histories(found)
    futures = run(GREEDY, found, asked)
    assert len(futures) == len(asked)
    for i, history in enumerate(asked):
        codes, log_probs = anew(found, history, GREEDY.tokens)
        assert futures[i, 0].codes.tolist() == codes
        np.testing.assert_allclose(futures[i, 0].log_probs, log_probs, atol=1e-4)
    assert len({tuple(f.codes) for f in futures.values()}) > 5


def test_a_model_that_sees_a_wrong_gap_is_noticed_by_full_recomputation():
    history = histories(ARTIFACT)[3]
    _, log_probs = anew(ARTIFACT, history, 25)
    other = dataclasses.replace(history, state=history.state.copy())
    other.state._attributes._gap_from -= 10**13
    _, others = anew(ARTIFACT, other, 25)
    assert not np.allclose(log_probs, others, atol=1e-4)


def test_a_future_is_the_same_in_any_company_and_in_batches_of_any_size():
    asked = histories(ARTIFACT)
    together = run(DRAWN)
    for rows in (1, 2, 7):
        other = run(DRAWN, rows=rows)
        assert {k: f.codes.tolist() for k, f in other.items()} == {
            k: f.codes.tolist() for k, f in together.items()
        }
        assert all((other[k].times == together[k].times).all() for k in other)
    for i in (0, 4, 8):
        alone = run(DRAWN, given_histories=asked[i : i + 1])
        assert all(alone[0, s].codes.tolist() == together[i, s].codes.tolist() for s in range(3))


def test_fewer_samples_are_the_first_of_many_and_seeds_differ():
    many, few = run(DRAWN), run(Plan(**{**_settings(DRAWN), "samples": 1}))
    assert all(few[i, 0].codes.tolist() == many[i, 0].codes.tolist() for i, _ in few)
    other = run(Plan(**{**_settings(DRAWN), "seed": 1}))
    assert any(other[k].codes.tolist() != many[k].codes.tolist() for k in many)
    assert any(many[i, 0].codes.tolist() != many[i, 1].codes.tolist() for i, _ in few)


def _settings(plan):
    return {name: getattr(plan, name) for name in plan.__struct_fields__}


def test_forbidden_tokens_never_come():
    never = {S.PAD, S.UNK, S.MASK, S.CLS, *ARTIFACT.vocabulary.tasks.values()}
    plan = Plan(samples=20, tokens=40, temperature=5.0, until_death=False)
    found = np.concatenate([f.codes for f in run(plan).values()])
    types = np.concatenate([f.types for f in run(plan).values()])
    assert not never & set(found.tolist())
    assert not {T.PAD, T.STATIC, T.CLS, T.TASK} & set(types.tolist())
    assert set(range(S.VS, S.VE + 1)) <= set(found.tolist())


@pytest.mark.parametrize("found", [ARTIFACT, ATTRIBUTED])
def test_with_the_grammar_every_future_continues_its_history_as_a_record_could(found):
    asked = histories(found)
    plan = Plan(samples=10, tokens=60, temperature=5.0, grammar=True, until_death=False)
    with_grammar = run(plan, found)
    wrong = [violations(f.types, asked[f.history].grammar) for f in with_grammar.values()]
    assert not any(wrong)
    without = run(Plan(**{**_settings(plan), "grammar": False}), found)
    assert sum(violations(f.types, asked[f.history].grammar) for f in without.values()) > 100


def test_time_never_runs_back_and_moves_on():
    for future in run(DRAWN).values():
        assert (np.diff(future.times) >= 0).all()
    assert sum(f.times[-1] > f.times[0] for f in run(DRAWN).values()) > 30


def test_futures_end_at_events_days_tokens_or_death_whatever_comes_first():
    for future in run(Plan(samples=5, events=4, until_death=False, tokens=200)).values():
        assert future.ended == "events"
        assert np.isin(future.types, (T.VS, T.VE, T.REG, T.INTERVAL), invert=True).sum() == 4
        assert future.types[-1] > T.TASK
    asked = histories(ARTIFACT)
    days = run(Plan(samples=5, days=20.0, tokens=4000, until_death=False))
    assert {f.ended for f in days.values()} == {"days"}
    for future in days.values():
        assert (future.times <= asked[future.history].now + 20 * 86_400_000_000).all()
    assert {len(f.codes) for f in run(Plan(tokens=7, until_death=False)).values()} == {7}
    assert {len(f.codes) for f in run(Plan(days=0.0, tokens=1)).values()} <= {0, 1}


def test_nothing_comes_after_a_death():
    lab = T.TYPE_OF_EVENT["lab"]
    types = [DEATH if t == lab else t for t in ARTIFACT.pace.types]  # every result is a death
    pace = type(ARTIFACT.pace)(tuple(types), {}, ARTIFACT.pace.steps, ARTIFACT.pace.intervals)
    deadly = dataclasses.replace(ARTIFACT, pace=pace)
    found = list(generate(deadly, histories(deadly), Plan(samples=5, tokens=300)))
    dead = [f for f in found if DEATH in f.types]
    assert dead
    assert all(
        f.ended == "death" and (f.types == DEATH).nonzero()[0].tolist() == [len(f.types) - 1] for f in dead
    )


def test_a_window_of_a_long_history_numbers_visits_as_the_model_saw_them():
    short = histories(ARTIFACT, ends=10**6, context=20)
    assert all(h.window.n <= 20 for h in short)
    codes, _ = anew(ARTIFACT, short[3], 25)
    assert run(GREEDY, given_histories=short)[3, 0].codes.tolist() == codes


def test_models_that_cannot_forecast_are_refused():
    headless = dataclasses.replace(ARTIFACT, forecast=None)
    with pytest.raises(ConfigError, match="no forecasting head"):
        run(GREEDY, headless, histories(ARTIFACT))
    masked = dataclasses.replace(ARTIFACT, model=SimpleNamespace(forward=None))
    with pytest.raises(ConfigError, match="in order"):
        run(GREEDY, masked, histories(ARTIFACT))


@pytest.mark.parametrize("wrong", [{"samples": 0}, {"top_p": 0.0}, {"temperature": -1.0}, {"days": -1.0}])
def test_plans_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ConfigError):
        Plan(**wrong)


# --- choosing ---


def brute_force(logits, temperature, top_p, place):
    """The same draw, written as a loop over the tokens from the likeliest."""
    p = torch.softmax(logits.double() / temperature, -1).tolist()
    order = sorted(range(len(p)), key=lambda i: (-p[i], i))
    kept, mass = [], 0.0
    for i in order:
        if mass >= top_p:
            break
        kept.append(i)
        mass += p[i]
    target, so_far = place * mass, 0.0
    for i in kept:
        so_far += p[i]
        if target < so_far:
            return i
    return kept[-1]


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 1000),
    temperature=st.sampled_from([0.3, 1.0, 2.0]),
    top_p=st.sampled_from([0.05, 0.5, 0.9, 1.0]),
)
def test_draws_equal_a_loop_over_the_likeliest_tokens(seed, temperature, top_p):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(9, 13, generator=generator)
    places = torch.rand(9, generator=generator, dtype=torch.float64)
    allowed = torch.ones(13, dtype=torch.bool)
    found = choose(logits, allowed, temperature, top_p, places)
    expected = [brute_force(row, temperature, top_p, float(u)) for row, u in zip(logits, places, strict=True)]
    assert found.codes.tolist() == expected


def test_shares_of_draws_are_the_probabilities():
    logits = torch.tensor([0.1, 2.0, -1.0, 0.7])
    allowed = torch.tensor([True, True, True, False])
    places = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    found = choose(logits.expand(10_000, 4), allowed, 1.0, 1.0, places)
    expected = torch.softmax(logits[:3], -1)
    shares = torch.bincount(found.codes, minlength=4)[:3] / 10_000
    torch.testing.assert_close(shares, expected, atol=2e-4, rtol=0)
    torch.testing.assert_close(found.log_probs.exp(), expected[found.codes])
