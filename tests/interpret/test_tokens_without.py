"""Tokens are gone as if their events had never been recorded."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chartscan.batch import Prompts
from chartscan.inputs.batches.rows import batch_of
from chartscan.interpret.events import candidates, rows_of, with_questions, without
from random_batches import tensors
from token_events import encoder, population
from token_rows import answering, asking


@pytest.mark.parametrize("which", [0, 3, 11])
def test_without_an_event_is_the_record_encoded_without_it(which):
    records = population(subjects=3)
    encoding = encoder([records])
    one = records.filter(pc.equal(records["subject_id"], 2))
    labs = np.flatnonzero(pc.equal(one["event_type"], "lab").to_numpy(zero_copy_only=False))
    gone = labs[which]
    less = one.filter(pa.array(np.arange(one.num_rows) != gone))
    whole, right = encoding.encode(one), encoding.encode(less)
    place = _place(whole, right)
    removed = torch.zeros(1, whole.n, dtype=torch.bool)
    removed[0, place] = True
    found, expected = without(batch_of([whole]), removed), batch_of([right])
    for name, value in tensors(found).items():
        torch.testing.assert_close(value, tensors(expected)[name], atol=1e-6, rtol=1e-6, msg=name)
    assert found.lengths.tolist() == [right.n]


def _place(whole, right):
    """Where the longer record has a token that the other has not."""
    assert whole.n == right.n + 1
    same = (whole.codes[:-1] == right.codes) & (whole.times[:-1] == right.times)
    return int(np.argmin(same)) if not same.all() else right.n


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(0, 1000))
def test_the_others_keep_their_order_and_the_first_token_stays(lengths, seed):
    batch = asking(tuple(lengths), seed)
    removed = torch.rand(batch.codes.shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    less = without(batch, removed)
    for row, length in enumerate(lengths):
        kept = ~removed[row, :length]
        kept[0] = True
        n = int(kept.sum())
        for name in ("codes", "types", "ages", "times", "segments", "visit_orders", "attributed"):
            assert getattr(less, name)[row, :n].equal(getattr(batch, name)[row, :length][kept])
            assert not getattr(less, name)[row, n:].any()
        assert less.positions[row, :n].tolist() == list(range(n))
        assert less.lengths[row] == n
        assert less.prompts.positions[row] == n - 1
        _check_gaps(less, row, n)


def _check_gaps(batch, row, n):
    before = None
    for place in range(n):
        expected = 0.0
        if batch.attributed[row, place]:
            expected = 0.0 if before is None else float(batch.times[row, place] - batch.times[row, before])
            before = place
        assert float(batch.gaps[row, place]) == pytest.approx(expected, abs=1e-5)


def test_rows_that_repeat_keep_their_questions():
    batch = asking((5, 9, 2))
    found = rows_of(batch, torch.tensor([1, 1, 2]))
    assert found.codes.equal(batch.codes[[1, 1, 2]])
    assert found.prompts.rows.tolist() == [0, 1, 2]
    assert found.prompts.positions.tolist() == [8, 8, 1]


def test_an_explanation_never_points_at_the_first_token_or_at_padding():
    assert candidates(asking((3, 1))).tolist() == [[False, True, True], [False, False, False]]


def test_a_row_followed_by_its_task_token_is_what_the_model_answers_from():
    model, _, _ = answering()
    batch = asking((7, 12, 1))
    hidden = model(with_questions(batch, model.config.task_type))
    last = hidden[torch.arange(3), batch.lengths]
    torch.testing.assert_close(last, model.prompted(batch), atol=1e-5, rtol=1e-4)
    assert isinstance(batch.prompts, Prompts)
