"""Batches of rows: every row once, little padding, and the same order again from seed and epoch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chartscan.batches import Sampler, padding_share

LENGTHS = np.clip(np.random.default_rng(0).lognormal(5.3, 0.9, 3000), 3, 2048).astype(np.int64)


@settings(deadline=None, max_examples=50)
@given(
    lengths=st.lists(st.integers(1, 300), max_size=60),
    tokens=st.integers(1, 700),
    seed=st.integers(0, 3),
    epoch=st.integers(0, 3),
)
def test_every_row_comes_once_an_epoch_and_batches_keep_their_size(lengths, tokens, seed, epoch):
    sampler = Sampler(np.array(lengths, dtype=np.int64), tokens, seed)
    for batches in (sampler.epoch(epoch), sampler.in_order()):
        rows = [int(i) for batch in batches for i in batch]
        assert sorted(rows) == list(range(len(lengths)))
        for batch in batches:
            assert len(batch) == 1 or len(batch) * sampler.lengths[batch].max() <= tokens


@pytest.mark.parametrize("tokens", [8192, 32768])
def test_padding_stays_below_a_tenth(tokens):
    sampler = Sampler(LENGTHS, tokens, 0)
    assert padding_share(LENGTHS, sampler.epoch(0)) < 0.10
    assert padding_share(LENGTHS, sampler.in_order()) < 0.10
    unsorted = np.array_split(np.arange(len(LENGTHS)), 100)
    assert padding_share(LENGTHS, unsorted) > 0.5


def test_an_epoch_depends_on_seed_and_number_alone():
    first = Sampler(LENGTHS, 8192, seed=4)
    first.epoch(0)
    again = Sampler(LENGTHS.copy(), 8192, seed=4)
    for a, b in zip(first.epoch(3), again.epoch(3), strict=True):
        np.testing.assert_array_equal(a, b)


def test_epochs_and_seeds_mix_rows_differently():
    found = [Sampler(LENGTHS, 8192, s).epoch(e) for s, e in ((0, 0), (0, 1), (1, 0))]
    groups = [{tuple(sorted(batch.tolist())) for batch in batches} for batches in found]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    lengths = [LENGTHS[batch].mean() for batch in found[0]]
    assert abs(np.corrcoef(lengths, np.arange(len(lengths)))[0, 1]) < 0.3
