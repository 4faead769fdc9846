"""Futures: equal to reading everything anew for each token, the same in any company, and possible records."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chartscan.errors import ConfigError
from chartscan.generate import Plan, generate
from chartscan.generate.reading import choose
from chartscan.inputs.batches.rows import batch_of
from chartscan.inputs.tokens import Encoded, encoded_from, violations
from chartscan.inputs.tokens import specials as S
from chartscan.inputs.tokens import types as T
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
    forbidden = {S.PAD, S.UNK, S.MASK, S.CLS, *found.reader.vocabulary.tasks.values()}
    forbidden |= {i for i, t in enumerate(found.reader.pace.types) if t in (T.STATIC, T.PAD)}
    for _ in range(tokens):
        logits = found.network.heads["forecast"](found.network.model(batch_of([whole]))[0, -1])
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
    never = {S.PAD, S.UNK, S.MASK, S.CLS, *ARTIFACT.reader.vocabulary.tasks.values()}
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


def deadly_artifact(event_type):
    """Every event of a type is a death."""
    deadly = T.TYPE_OF_EVENT[event_type]
    types = [DEATH if t == deadly else t for t in ARTIFACT.reader.pace.types]
    known = ARTIFACT.reader.pace
    pace = type(known)(tuple(types), {}, known.steps, known.intervals)
    return dataclasses.replace(ARTIFACT, reader=dataclasses.replace(ARTIFACT.reader, pace=pace))


def test_nothing_comes_after_a_death():
    deadly = deadly_artifact("lab")
    found = list(generate(deadly, histories(deadly), Plan(samples=5, tokens=300)))
    dead = [f for f in found if DEATH in f.types]
    assert dead
    assert all(
        f.ended == "death" and (f.types == DEATH).nonzero()[0].tolist() == [len(f.types) - 1] for f in dead
    )


# --- branches ---


def shares(plan, seeds, happens, found):
    """Weighed share of futures in which something happens, by seed and history."""
    asked, result = histories(found)[:4], []
    for seed in range(seeds):
        share = np.zeros(len(asked))
        for future in generate(found, asked, Plan(**{**_settings(plan), "seed": seed})):
            share[future.history] += future.weight * happens(future) / plan.samples
        result.append(share)
    return np.array(result)


def dies(future):
    return DEATH in future.types


@torch.no_grad()
def test_one_sample_with_branches_has_the_models_own_probability_of_an_end_at_the_next_token():
    deadly = deadly_artifact("diagnosis")
    found = shares(Plan(tokens=1, branch_at=("death",), temperature=1.5), 1, dies, deadly)[0]
    for history, share in zip(histories(deadly)[:4], found, strict=True):
        logits = deadly.network.heads["forecast"](deadly.network.model(batch_of([history.window]))[0, -1])
        never = {S.PAD, S.UNK, S.MASK, S.CLS, *deadly.reader.vocabulary.tasks.values()}
        never |= {i for i, t in enumerate(deadly.reader.pace.types) if t in (T.STATIC, T.PAD)}
        logits[list(never)] = -torch.inf
        of_death = torch.tensor([t == DEATH for t in deadly.reader.pace.types])
        assert share == pytest.approx(float(torch.softmax(logits / 1.5, -1)[of_death].sum()), abs=1e-5)


def waits(future):
    """Whether an interval comes: what ends in a branch cannot have one later, so that nothing is settled."""
    return T.INTERVAL in future.types


@pytest.mark.parametrize("happens", [dies, waits])
def test_branches_change_no_risk(happens):
    deadly, many = deadly_artifact("lab"), {"samples": 1000, "tokens": 3, "temperature": 2.5}
    drawn = shares(Plan(**many), 1, happens, deadly)[0]
    branched = shares(Plan(**many, branch_at=("death",)), 1, happens, deadly)[0]
    assert ((drawn > 0.01) & (drawn < 0.99)).all()
    assert (np.abs(drawn - branched) < 4 * np.sqrt(drawn * (1 - drawn) / 1000)).all()


def test_branches_steady_a_risk():
    deadly, few = deadly_artifact("lab"), {"samples": 4, "tokens": 3, "temperature": 2.5}
    drawn = shares(Plan(**few), 12, dies, deadly)
    branched = shares(Plan(**few, branch_at=("death",)), 12, dies, deadly)
    assert branched.std(0).mean() < 0.5 * drawn.std(0).mean()


def test_the_weights_of_a_sample_add_up_to_one_and_its_futures_part_only_once():
    deadly = deadly_artifact("diagnosis")
    plan = Plan(samples=3, tokens=20, branch_at=("death",))
    samples = {}
    for future in generate(deadly, histories(deadly), plan):
        samples.setdefault((future.history, future.sample), []).append(future)
    assert len(samples) == 3 * len(histories(deadly))
    for futures in samples.values():
        assert sum(f.weight for f in futures) == pytest.approx(1)
        longest = max(futures, key=lambda f: len(f.codes))
        for future in futures:
            n = len(future.codes) - 1
            assert future.codes[:n].tolist() == longest.codes[:n].tolist()
            assert n == len(longest.codes) - 1 or future.types[n] == DEATH
    assert max(map(len, samples.values())) > 3


# --- parts ---

LABS = tuple(i for i, t in enumerate(ARTIFACT.reader.pace.types) if t == T.TYPE_OF_EVENT["lab"])


@torch.no_grad()
def test_the_parts_of_a_sample_have_the_models_own_probabilities_and_go_on():
    plan = Plan(tokens=3, part_at=LABS, temperature=1.5, until_death=False)
    found, asked = {}, histories(ARTIFACT)[:4]
    for future in generate(ARTIFACT, asked, plan):
        assert len(future.codes) == 3
        first = found.setdefault(future.history, {True: 0.0, False: 0.0})
        first[future.codes[0] in LABS] += future.weight
    for i, history in enumerate(asked):
        logits = ARTIFACT.network.heads["forecast"](ARTIFACT.network.model(batch_of([history.window]))[0, -1])
        never = {S.PAD, S.UNK, S.MASK, S.CLS, *ARTIFACT.reader.vocabulary.tasks.values()}
        never |= {j for j, t in enumerate(ARTIFACT.reader.pace.types) if t in (T.STATIC, T.PAD)}
        logits[list(never)] = -torch.inf
        expected = float(torch.softmax(logits / 1.5, -1)[list(LABS)].sum())
        assert expected > 0.1
        assert found[i][True] == pytest.approx(expected, abs=1e-5)
        assert found[i][False] == pytest.approx(1 - expected, abs=1e-5)


@pytest.mark.parametrize("happens", [dies, waits])
def test_parts_change_no_risk(happens):
    deadly, many = deadly_artifact("diagnosis"), {"samples": 400, "tokens": 3, "temperature": 2.5}
    drawn = shares(Plan(**many), 1, happens, deadly)[0]
    parted = shares(Plan(**many, branch_at=("death",), part_at=LABS[:2]), 1, happens, deadly)[0]
    assert ((drawn > 0.01) & (drawn < 0.99)).all()
    assert (np.abs(drawn - parted) < 4 * np.sqrt(drawn * (1 - drawn) / 400)).all()


def test_parts_are_the_same_in_any_company_and_share_out_the_weight():
    plan = Plan(samples=2, tokens=12, part_at=LABS[:2], branch_at=("death",))

    def found(rows):
        futures = generate(ARTIFACT, histories(ARTIFACT), plan, rows=rows)
        return sorted((f.history, f.sample, f.codes.tolist(), round(f.weight, 4)) for f in futures)

    together = found(512)
    assert found(3) == together
    total = sum(weight for *_, weight in together)
    assert total == pytest.approx(2 * len(histories(ARTIFACT)), abs=0.01)
    assert 3 * len(histories(ARTIFACT)) < len(together) <= 200 * len(histories(ARTIFACT))


def test_an_end_that_is_no_death_says_that_the_future_was_cut_short():
    found = list(generate(ARTIFACT, histories(ARTIFACT), Plan(tokens=30, branch_at=("lab",))))
    cut = [f for f in found if f.ended == "branch"]
    assert cut
    assert {int(f.types[-1]) for f in cut} == {T.TYPE_OF_EVENT["lab"]}


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"top_p": 0.9}])
def test_parts_want_the_whole_distribution(wrong):
    with pytest.raises(ConfigError, match="part_at"):
        Plan(part_at=(40,), **wrong)


@pytest.mark.parametrize("wrong", [{"branch_at": ("birth",)}, {"temperature": 0.0}, {"top_p": 0.9}])
def test_branches_want_known_types_and_the_whole_distribution(wrong):
    with pytest.raises(ConfigError, match="branch_at"):
        Plan(**{"branch_at": ("death",), **wrong})


def test_several_futures_of_the_likeliest_tokens_are_refused():
    with pytest.raises(ConfigError, match="samples"):
        Plan(samples=2, temperature=0)


def test_a_window_of_a_long_history_numbers_visits_as_the_model_saw_them():
    short = histories(ARTIFACT, ends=10**6, context=20)
    assert all(h.window.n <= 20 for h in short)
    codes, _ = anew(ARTIFACT, short[3], 25)
    assert run(GREEDY, given_histories=short)[3, 0].codes.tolist() == codes


def test_models_that_cannot_forecast_are_refused():
    network = ARTIFACT.network
    headless = dataclasses.replace(ARTIFACT, learned=dataclasses.replace(network, heads={}))
    with pytest.raises(ConfigError, match="no forecasting head"):
        run(GREEDY, headless, histories(ARTIFACT))
    other = dataclasses.replace(network, model=SimpleNamespace(forward=None))
    masked = dataclasses.replace(ARTIFACT, learned=other)
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
    order = sorted(range(len(p)), key=lambda i: (-p[i] if top_p < 1 else 0, i))
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
def test_draws_equal_a_loop_over_the_likeliest_tokens_or_over_all_by_id(seed, temperature, top_p):
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
