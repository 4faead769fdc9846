"""Forecasts that need no network: copying, the most frequent tokens, and n-grams with back-off."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chartscan.inputs.tokens import Encoded
from chartscan.inputs.tokens.pace import is_event
from chartscan.inputs.tokens.specials import CLS

Tokens = NDArray[np.int64]
LONGEST = 3  # tokens of context
LEAST = 2  # times that train must have gone on from a context


@dataclass(frozen=True)
class NGram:
    """The token that most often followed each context of train, the longest context known first.

    Contexts are numbers in base V (the vocabulary), sorted; `tokens[c]` belongs to contexts of c tokens.
    """

    base: int
    contexts: tuple[Tokens, ...]
    tokens: tuple[Tokens, ...]

    def next(self, history: Tokens) -> int:
        """The token after `history` (n,); of equally frequent ones the first by id."""
        for length in reversed(range(min(LONGEST, len(history)) + 1)):
            key = _numbers(history[len(history) - length :][None], self.base)[0]
            place = int(np.searchsorted(self.contexts[length], key))
            if place < len(self.contexts[length]) and self.contexts[length][place] == key:
                return int(self.tokens[length][place])
        raise ValueError("an n-gram of no train tokens")

    def forecast(self, history: Tokens, n: int, counts: Callable[[int], bool], most: int) -> Tokens:
        """The first `n` of at most `most` tokens after `history` that `counts` accepts; -1 beyond."""
        so_far, found = history[-LONGEST:].tolist(), []
        for _ in range(most):
            so_far.append(self.next(np.array(so_far[-LONGEST:], dtype=np.int64)))
            if counts(so_far[-1]):
                found.append(so_far[-1])
            if len(found) == n:
                break
        return padded(np.array(found, dtype=np.int64), n)


def fit_ngram(sequences: Sequence[Encoded], vocabulary: int) -> NGram:
    """N-grams of the train subjects' whole sequences; none spans two subjects."""
    codes = np.concatenate([s.codes for s in sequences]).astype(np.int64)
    contexts, tokens = [], []
    for length in range(LONGEST + 1):
        ends = np.arange(length, len(codes))
        inside = np.ones(len(ends), dtype=bool)
        for back in range(length):  # a target or context token that begins a subject, but the first of all
            inside &= codes[ends - back] != CLS
        ends = ends[inside & (codes[ends] != CLS)]
        before = np.stack([codes[ends - back] for back in range(length, 0, -1)], 1) if length else None
        keys = np.zeros(len(ends), np.int64) if before is None else _numbers(before, vocabulary)
        context, token = _most_frequent(keys, codes[ends], 1 if length == 0 else LEAST)
        contexts.append(context)
        tokens.append(token)
    return NGram(vocabulary, tuple(contexts), tuple(tokens))


def _most_frequent(keys: Tokens, tokens: Tokens, least: int) -> tuple[Tokens, Tokens]:
    """Contexts that occur `least` times, sorted, and the most frequent token after each."""
    pairs, counts = np.unique(np.stack([keys, tokens], 1), axis=0, return_counts=True)
    order = np.lexsort((pairs[:, 1], -counts, pairs[:, 0]))
    context, first = np.unique(pairs[order, 0], return_index=True)
    total = np.bincount(np.searchsorted(context, pairs[:, 0]), counts, minlength=len(context))
    return context[total >= least], pairs[order[first], 1][total >= least]


def _numbers(contexts: Tokens, base: int) -> Tokens:
    """Contexts (n, c) as numbers (n,)."""
    found = np.zeros(len(contexts), dtype=np.int64)
    for column in contexts.T:
        found = found * base + column
    return found


def copied(history: Tokens, n: int) -> Tokens:
    """The last `n` tokens of a history again; -1 beyond them."""
    return padded(history[-n:], n)


def frequent(sequences: Sequence[Encoded], events_only: bool, vocabulary: int) -> NDArray[np.float64]:
    """Share of each token (V,) among the tokens of train, [CLS] left out."""
    counts = np.zeros(vocabulary)
    for one in sequences:
        kept = is_event(one.types) if events_only else one.codes != CLS
        counts += np.bincount(one.codes[kept], minlength=vocabulary)
    return np.asarray(counts / counts.sum())


def frequent_set(shares: NDArray[np.float64], n: int) -> Tokens:
    """`n` tokens in the shares of train, by largest remainder, the most frequent first."""
    whole = np.floor(shares * n).astype(np.int64)
    rest = np.argsort(whole - shares * n, kind="stable")[: n - whole.sum()]
    whole[rest] += 1
    order = np.argsort(-shares, kind="stable")
    return np.repeat(order, whole[order])


def padded(tokens: Tokens, n: int) -> Tokens:
    """The first `n` tokens, -1 where there are fewer."""
    return np.concatenate([tokens[:n], np.full(max(0, n - len(tokens)), -1)]).astype(np.int64)
