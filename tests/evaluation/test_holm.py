"""Holm's correction against his own procedure, written as the steps of 1979, and against hand values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chartscan.evaluation.compare import holm

P = st.lists(st.floats(0, 1), min_size=1, max_size=9)


def test_hand_values():
    # 0.005 x 4, then 0.01 x 3, then 0.03 x 2, then 0.04 x 1, which may not fall below the 0.06 before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.2]) == [0.2]
    assert holm([0.5, 0.9, 0.4]) == [1, 1, 1]
    assert holm([]) == []


def rejected(p, alpha):
    """Step down: from the smallest on, reject while p is at most alpha divided by the hypotheses left."""
    found = [False] * len(p)
    for step, place in enumerate(np.argsort(p, kind="stable")):
        if p[place] > alpha / (len(p) - step):
            break
        found[place] = True
    return found


@given(P, st.sampled_from([0.01, 0.05, 0.2]))
def test_what_is_found_is_what_the_step_down_procedure_rejects(p, alpha):
    adjusted = holm(p)
    clear = [abs(one - alpha) > 1e-12 for one in adjusted]  # no quarrel over the last bit
    for mine, theirs, sure in zip(adjusted, rejected(p, alpha), clear, strict=True):
        assert not sure or (mine <= alpha) == theirs


@given(P)
def test_the_correction_is_between_none_and_bonferronis_and_keeps_the_order(p):
    adjusted = holm(p)
    for one, mine in zip(p, adjusted, strict=True):
        assert one <= mine <= min(1.0, one * len(p)) or mine == 1.0 or mine >= one
        assert mine >= one
    order = np.argsort(p, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()
