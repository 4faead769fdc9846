import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from chartscan.learn.members import strata, stratified_folds

subjects = st.lists(st.integers(1, 10_000), unique=True, max_size=63)


def labels(ids, values):
    return pa.table({"subject_id": pa.array(ids, pa.int64()), "boolean_value": pa.array(values, pa.bool_())})


@given(subjects, st.integers(2, 5), st.integers(0, 3))
def test_folds_hold_each_subject_once(ids, folds, seed):
    ids = np.array(ids, np.int64)
    found = stratified_folds(ids, ids % 3, folds, seed)
    assert len(found) == folds
    np.testing.assert_array_equal(np.sort(np.concatenate(found)), np.sort(ids))
    sizes = [len(fold) for fold in found]
    assert max(sizes) - min(sizes) <= 1


@given(subjects, st.integers(2, 5))
def test_every_fold_has_its_share_of_each_stratum(ids, folds):
    ids = np.array(ids, np.int64)
    found = stratified_folds(ids, ids % 3, folds, seed=0)
    for stratum in range(3):
        shares = [np.count_nonzero(fold % 3 == stratum) for fold in found]
        assert max(shares) - min(shares) <= 1


@given(st.permutations(range(20)))
def test_the_order_of_subjects_does_not_matter(ids):
    ids = np.array(ids, np.int64)
    expected = stratified_folds(np.arange(20), np.arange(20) % 2, 4, seed=1)
    for one, other in zip(stratified_folds(ids, ids % 2, 4, seed=1), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_seed_cuts_otherwise():
    ids = np.arange(100)
    one, other = (stratified_folds(ids, ids % 2, 4, seed) for seed in (0, 1))
    assert any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_strata_tell_unlabelled_negative_and_positive_apart_in_every_task():
    ids = np.array([1, 2, 3, 4])
    a, b = labels([1, 2, 2], [False, False, True]), labels([3, 1], [True, False])
    assert len(set(strata(ids, [a, b]).tolist())) == 4
    same = labels([1, 2, 3, 4], [True, False, True, False])
    found = strata(ids, [same])
    assert found[0] == found[2] != found[1] == found[3]


def test_no_labels_are_one_stratum():
    assert strata(np.arange(3), []).tolist() == [0, 0, 0]
