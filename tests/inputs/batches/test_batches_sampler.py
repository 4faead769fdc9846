"""Batches of rows: every row once, little padding, and the same order again from seed and epoch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chartscan.inputs.batches import Sampler, padding_share

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


@pytest.mark.parametrize("tokens", [4096, 8192])
@pytest.mark.parametrize("spread", [0.5, 0.9, 1.2])  # of the logarithm; simulated histories: 0.5
@pytest.mark.parametrize("rows", [100, 300, 1000])
def test_padding_stays_below_a_tenth_with_few_rows_too(rows, spread, tokens):
    lengths = np.clip(np.random.default_rng(1).lognormal(5.8, spread, rows), 9, 1024).astype(np.int64)
    sampler = Sampler(lengths, tokens, 0)
    epochs = [sampler.epoch(number) for number in range(3)]
    for batches in (*epochs, sampler.in_order()):
        assert padding_share(lengths, batches) < 0.10


def test_rows_of_like_length_fill_their_batches():
    """Ending a batch early is for unlike rows: 1,000 alike need the fewest batches that can hold them."""
    lengths = np.random.default_rng(0).integers(95, 101, 1000)
    batches = Sampler(lengths, 8192, 0).epoch(0)
    assert len(batches) == -(-1000 // (8192 // 100))


def test_an_epoch_depends_on_seed_and_number_alone():
    first = Sampler(LENGTHS, 8192, seed=4)
    first.epoch(0)
    again = Sampler(LENGTHS.copy(), 8192, seed=4)
    for a, b in zip(first.epoch(3), again.epoch(3), strict=True):
        np.testing.assert_array_equal(a, b)


def test_epochs_and_seeds_mix_rows_differently():
    found = [Sampler(LENGTHS, 8192, s).epoch(e) for s, e in ((0, 0), (0, 1), (1, 0))]
    groups = [{tuple(sorted(batch.tolist())) for batch in batches} for batches in found]
    for other in groups[1:]:  # the few shortest rows are unlike all others, and stay together
        assert len(groups[0] & other) <= 2
    lengths = [LENGTHS[batch].mean() for batch in found[0]]
    assert abs(np.corrcoef(lengths, np.arange(len(lengths)))[0, 1]) < 0.3
