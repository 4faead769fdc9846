"""Forecasts without a network: n-grams equal to counting in a dictionary, and what train says is frequent."""

from collections import Counter, defaultdict
from types import SimpleNamespace

import numpy as np

from chartscan.generate.ngram import LEAST, LONGEST, copied, fit_ngram, frequent, frequent_set
from chartscan.inputs.tokens import types as T
from chartscan.inputs.tokens.specials import CLS

RNG = np.random.default_rng(0)
SIZE = 12


def sequence(n):
    codes = np.concatenate([[CLS], RNG.choice([3, 4, 7, 8, 9], n, p=[0.4, 0.3, 0.1, 0.1, 0.1])])
    return SimpleNamespace(codes=codes, types=np.where(codes == 3, T.VS, 12))


SEQUENCES = [sequence(n) for n in (1, 2, 63, 150, 9)]


def by_counting(history):
    """The next token, from counts in dictionaries, the longest context known first."""
    for length in reversed(range(min(LONGEST, len(history)) + 1)):
        found = defaultdict(Counter)
        for one in SEQUENCES:
            codes = one.codes.tolist()
            for i in range(max(length, 1), len(codes)):
                found[tuple(codes[i - length : i])][codes[i]] += 1
        after = found[tuple(history[len(history) - length :])]
        if sum(after.values()) >= (LEAST if length else 1):
            return min(after, key=lambda token: (-after[token], token))
    raise AssertionError


def test_n_grams_equal_counting_and_never_span_two_subjects():
    ngram = fit_ngram(SEQUENCES, SIZE)
    for _ in range(80):
        history = [CLS, *RNG.choice([3, 4, 7, 8, 9, 11], RNG.integers(0, 5)).tolist()]
        assert ngram.next(np.array(history)) == by_counting(history)


def test_a_forecast_goes_on_from_its_own_tokens():
    ngram, so_far = fit_ngram(SEQUENCES, SIZE), [CLS, 4]
    found = ngram.forecast(np.array(so_far), 6, lambda code: True, 6)
    for token in found:
        assert token == by_counting(so_far[-LONGEST:])
        so_far.append(token)


def test_tokens_that_do_not_count_are_passed_over_up_to_a_limit():
    ngram = fit_ngram(SEQUENCES, SIZE)
    assert 3 not in ngram.forecast(np.array([CLS]), 3, lambda code: code != 3, 40).tolist()
    assert ngram.forecast(np.array([CLS]), 3, lambda code: False, 5).tolist() == [-1, -1, -1]


def test_copies_and_frequent_tokens():
    assert copied(np.array([5, 6, 7]), 2).tolist() == [6, 7]
    assert copied(np.array([5]), 3).tolist() == [5, -1, -1]
    shares = frequent(SEQUENCES, events_only=False, vocabulary=SIZE)
    codes = np.concatenate([one.codes[1:] for one in SEQUENCES])
    np.testing.assert_allclose(shares, np.bincount(codes, minlength=SIZE) / len(codes))
    assert frequent(SEQUENCES, events_only=True, vocabulary=SIZE)[3] == 0
    assert frequent_set(np.array([0.1, 0.62, 0.28]), 10).tolist() == [1] * 6 + [2] * 3 + [0]
