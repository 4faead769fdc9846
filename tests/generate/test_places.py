"""Places of draws: each future's are uniform, and those of one history's first tokens lie evenly."""

import numpy as np
import pytest
from scipy import stats

from chartscan.generate.reading import Places


def first(seed, sample, steps=4, subject=7, now=11):
    """Places of the first tokens among codes, (steps,)."""
    return Places(seed, subject, now, sample).next(steps)[:, 0]


@pytest.mark.parametrize("sample", [0, 1, 6])
def test_the_places_of_one_future_are_uniform_and_independent(sample):
    found = np.array([first(seed, sample) for seed in range(2000)])
    for column in found.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-3
    assert np.abs(np.corrcoef(found.T) - np.eye(4)).max() < 0.08


def test_the_samples_of_a_history_share_out_the_places_of_the_first_three_tokens():
    found = np.array([first(3, sample) for sample in range(30)])
    for column, base in enumerate((2, 3, 5)):
        for places in (base, base**2):  # the first so many samples: one in each part of [0, 1)
            parts = np.sort((found[:places, column] - found[0, column]) % 1 + 1e-9)
            assert np.floor(parts * places).tolist() == list(range(places))
    gaps = np.diff(np.sort(found[:, 3]))
    assert gaps.max() > 3 / 30  # the fourth token's are independent


def test_histories_have_places_of_their_own():
    assert not np.allclose(first(3, 0), first(3, 0, subject=8))
    assert not np.allclose(first(3, 0), first(3, 0, now=12))
    assert not np.allclose(first(3, 0)[:3], np.random.default_rng([3, 7, 11, 0]).random(3))


def test_blocks_go_on_where_the_last_one_ended():
    one, two = Places(1, 2, 3, 4), Places(1, 2, 3, 4)
    np.testing.assert_array_equal(np.concatenate([one.next(2), one.next(6)]), two.next(8))
