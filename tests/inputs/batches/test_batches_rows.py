"""Rows for pretraining and prompts: every token once, every prompt with the visible history and no more."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chartscan.errors import ConfigError, DataError
from chartscan.inputs.batches import (
    Samples,
    TokenStore,
    batch_of,
    collate,
    pretraining_windows,
    prompt_rows,
    samples_in,
    samples_of,
)
from chartscan.inputs.tokens import types as T
from chartscan.inputs.tokens import visible, window
from chartscan.schema import LABELS
from token_events import HOUR, START, encoder, population, same

EVENTS = population(subjects=9, events=80, seed=1)
TASKS = ["a", "b"]
ENCODERS = {p: encoder(task_token_placement=p, context=64) for p in ("end", "both")}
MADE = ENCODERS["end"]
STORE = TokenStore.build(MADE.encode_shard(EVENTS))


def random_samples(n, seed=0):
    random = np.random.default_rng(seed)
    hours = random.integers(-5, 300 * 24, n) * HOUR
    return Samples(
        subject_ids=random.integers(1, 10, n),
        prediction_times=np.array([np.datetime64(START + h, "us") for h in hours]),
        tasks=random.integers(0, 2, n),
        labels=random.integers(0, 2, n).astype(np.float32),
    )


def test_a_store_gives_back_what_it_was_built_from():
    made = MADE.encode_shard(EVENTS)
    found = TokenStore.build(reversed(made))
    assert found.subject_ids.tolist() == list(range(1, 10))
    assert found.lengths.tolist() == [tokens.n for _, tokens in made]
    for index, (_, tokens) in enumerate(made):
        same(found[index], tokens)


def test_an_empty_store_has_no_rows():
    store = TokenStore.build([])
    assert len(store) == 0
    assert len(pretraining_windows(store, 64)) == 0


def test_a_subject_that_comes_twice_is_refused():
    made = MADE.encode_shard(EVENTS)
    with pytest.raises(DataError, match="twice"):
        TokenStore.build([*made, made[0]])


def test_samples_of_subjects_without_events_are_refused():
    with pytest.raises(DataError, match="1 of 2"):
        STORE.index_of(np.array([3, 77]))
    with pytest.raises(DataError, match="2 of 2"):
        TokenStore.build([]).index_of(np.array([3, 77]))


@settings(deadline=None, max_examples=30)
@given(context=st.integers(16, 400))
def test_pretraining_windows_hold_every_token_exactly_once(context):
    rows = pretraining_windows(STORE, context)
    fixed = (T.CLS, T.STATIC)
    for subject in range(len(STORE)):
        tokens, seen = STORE[subject], Counter()
        starts = 0
        for index in np.flatnonzero(rows.subjects == subject):
            found = window(tokens, int(rows.ends[index]), context)
            assert found.n == rows.lengths[index] <= context
            seen.update(zip(found.codes.tolist(), found.known.tolist(), found.times.tolist(), strict=True))
            starts += int((found.types == T.VS).sum())
        expected = Counter(
            zip(tokens.codes.tolist(), tokens.known.tolist(), tokens.times.tolist(), strict=True)
        )
        repeated = {STORE[subject].codes[tokens.types == T.VS][0]} | set(
            tokens.codes[np.isin(tokens.types, fixed)].tolist()
        )
        for key, count in expected.items():
            assert seen[key] == count or (key[0] in repeated and seen[key] > count)
        assert seen.keys() == expected.keys()
        assert starts >= (tokens.types == T.VS).sum()


def asked(placement, samples, apart=False):
    """(sample, tokens of the row up to the prompt's position, its task token) of every prompt, by batch."""
    made = ENCODERS[placement]
    rows = prompt_rows(STORE, samples, made.vocabulary, TASKS, apart)
    for indices in np.array_split(np.random.default_rng(1).permutation(len(rows)), 3):
        batch = collate(STORE, rows, indices)
        prompts = batch.prompts
        for k, sample in enumerate(samples_in(rows, indices)):
            row, position = int(prompts.rows[k]), int(prompts.positions[k])
            assert position < int(batch.lengths[row])
            yield int(sample), batch, row, position, int(prompts.codes[k]), float(prompts.labels[k])


@pytest.mark.parametrize(("placement", "apart"), [("end", False), ("end", True), ("both", False)])
def test_every_prompt_sees_exactly_what_was_known_at_its_time(placement, apart):
    samples = random_samples(200)
    vocabulary = ENCODERS[placement].vocabulary
    answered = []
    for sample, batch, row, position, code, label in asked(placement, samples, apart):
        tokens = STORE[int(STORE.index_of(samples.subject_ids[sample : sample + 1])[0])]
        expected = window(tokens, visible(tokens, samples.prediction_times[sample]), 63)
        head = code if placement == "both" else expected.codes[0]
        assert code == vocabulary.task_token(TASKS[samples.tasks[sample]])
        assert label == samples.labels[sample]
        seen = slice(0, position + 1)
        assert batch.codes[row, seen].tolist() == [head, *expected.codes[1:].tolist()]
        for name in ("types", "ages", "times", "gaps", "segments", "visit_orders", "attributed"):
            np.testing.assert_array_equal(getattr(batch, name)[row, seen], getattr(expected, name))
        answered.append(sample)
    assert sorted(answered) == list(range(200))


def test_histories_that_fit_share_one_row_a_subject():
    samples = random_samples(200)
    rows = prompt_rows(STORE, samples, MADE.vocabulary, TASKS)
    short = rows.subjects[rows.ends <= 63]
    assert len(short) == len(set(short.tolist())) > 0
    assert rows.lengths.max() <= 63 < STORE.lengths.max()
    longer = list(zip(rows.subjects.tolist(), rows.ends.tolist(), strict=True))
    assert len(longer) == len(set(longer)) < 200
    assert len(prompt_rows(STORE, samples, ENCODERS["both"].vocabulary, TASKS)) == 200


def test_prompts_kept_apart_have_a_row_each_that_ends_with_what_they_see():
    samples = random_samples(200)
    rows = prompt_rows(STORE, samples, MADE.vocabulary, TASKS, apart=True)
    assert len(rows) == 200
    assert (rows.questions.rows == np.arange(200)).all()
    assert (rows.questions.positions == rows.lengths - 1).all()
    assert not rows.heads.any()


def test_a_row_cut_after_the_prompts_time_would_show_the_future():
    whole = STORE[0]
    instant = whole.known[20]
    one = Samples(
        STORE.subject_ids[:1], np.array([instant]), np.array([0]), np.array([1.0], dtype=np.float32)
    )
    rows = prompt_rows(STORE, one, MADE.vocabulary, TASKS)
    batch = collate(STORE, rows, np.array([0]))
    position = int(batch.prompts.positions[0])
    assert whole.known[position] <= instant < whole.known[position + 1]


def test_before_the_first_event_only_static_facts_are_seen():
    early = np.array([np.datetime64("1900-01-01T00:00:00", "us")])
    one = Samples(STORE.subject_ids[:1], early, np.array([1]), np.array([np.nan], dtype=np.float32))
    batch = collate(STORE, prompt_rows(STORE, one, MADE.vocabulary, TASKS), np.array([0]))
    assert batch.types[0].tolist() == [T.CLS, T.STATIC]
    assert batch.prompts.positions.tolist() == [1]


def test_labels_become_samples_in_the_order_of_tasks():
    times = [START, START + HOUR]
    first = pa.table([[1, 2], times, [True, False]], schema=LABELS)
    second = first.slice(1).drop_columns(["boolean_value"])
    found = samples_of({"b": second, "a": first}, TASKS)
    assert found.subject_ids.tolist() == [1, 2, 2]
    assert found.tasks.tolist() == [0, 0, 1]
    assert found.labels[:2].tolist() == [1, 0]
    assert np.isnan(found.labels[2])
    assert found.prediction_times.tolist() == [*times, times[1]]
    assert len(samples_of({}, []).labels) == 0


def test_a_task_without_token_is_refused():
    with pytest.raises(ConfigError, match="'c'"):
        prompt_rows(STORE, random_samples(5), MADE.vocabulary, ["a", "c"])


def test_no_samples_give_no_rows():
    none = Samples(*(values[:0] for values in vars(random_samples(3)).values()))
    assert len(prompt_rows(STORE, none, MADE.vocabulary, TASKS)) == 0


def test_padding_is_zero_at_the_right():
    short, long = STORE[0].prefix(5), STORE[1].prefix(9)
    batch = batch_of([short, long])
    assert batch.codes.shape == (2, 9)
    assert batch.lengths.tolist() == [5, 9]
    for name in ("codes", "types", "ages", "times", "gaps", "segments", "visit_orders", "positions"):
        assert not getattr(batch, name)[0, 5:].any()
    assert not batch.attributed[0, 5:].any()
    assert batch.positions[1].tolist() == list(range(9))
    alone = batch_of([short])
    for name in ("codes", "ages", "positions"):
        assert torch.equal(getattr(batch, name)[0, :5], getattr(alone, name)[0])
