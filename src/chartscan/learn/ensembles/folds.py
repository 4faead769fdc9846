"""Subjects cut into folds of like outcomes: who is left out of which member of a cross-fitted ensemble."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa


def strata(subject_ids: np.ndarray, labels: Iterable[pa.Table]) -> np.ndarray:
    """A number for each subject (n,), equal where for every task both are unlabelled, negative or positive.

    A subject with several labels of a task is positive where any of them is.
    """
    found = np.zeros(len(subject_ids), np.int64)
    for table in labels:
        ids = table["subject_id"].to_numpy()
        positive = ids[table["boolean_value"].to_numpy(zero_copy_only=False).astype(bool)]
        found = 3 * found + np.isin(subject_ids, ids) + np.isin(subject_ids, positive)
    return found


def stratified_folds(subject_ids: np.ndarray, strata: np.ndarray, folds: int, seed: int) -> list[np.ndarray]:
    """The subjects as `folds` disjoint, sorted lists; sizes, and each stratum's share, differ by at most one.

    Decided by the sorted ids, their strata and the seed, not by any order in which they come.
    """
    order = np.argsort(subject_ids, kind="stable")
    ids, groups = subject_ids[order], strata[order]
    random = np.random.default_rng([seed, folds])
    shuffled = random.permutation(len(ids))
    dealt = shuffled[np.argsort(groups[shuffled], kind="stable")]  # stratum by stratum, like cards
    return [np.sort(ids[dealt[place::folds]]) for place in range(folds)]
