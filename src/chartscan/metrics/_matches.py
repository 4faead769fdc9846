"""How well forecast tokens match what happened, one number a sequence; shapes (S, n) of token ids.

-1 stands for a token that was not forecast: it matches nothing and has no direction.
"""

import numpy as np
from numpy.typing import NDArray

from chartscan.metrics._arrays import Floats

Tokens = NDArray[np.integer]


def accuracy(truth: Tokens, forecast: Tokens) -> Floats:
    """Share of positions at which the forecast token is the one that came (S,)."""
    return np.asarray((truth == forecast).mean(axis=1), dtype=np.float64)


def overlap(truth: Tokens, forecast: Tokens) -> Floats:
    """Share of the tokens that came which were forecast at any position, each as often as it came (S,)."""
    found = np.zeros(len(truth))
    for i, (came, said) in enumerate(zip(truth, forecast, strict=True)):
        tokens, counts = np.unique(came, return_counts=True)
        found[i] = np.minimum(counts, (said == tokens[:, None]).sum(axis=1)).sum()
    return found / truth.shape[1]


def cosine(truth: Tokens, forecast: Tokens, embedding: Floats) -> Floats:
    """Mean over positions of the cosine between the embeddings (V, D) of both tokens (S,)."""
    dots = (_directions(truth, embedding) * _directions(forecast, embedding)).sum(-1)
    return np.asarray(dots.mean(axis=1), dtype=np.float64)


def set_cosine(truth: Tokens, forecast: Tokens, embedding: Floats) -> Floats:
    """Cosine between the sums of the embeddings' directions over all positions (S,); 0 where one is 0."""
    sums = [_directions(tokens, embedding).sum(axis=1) for tokens in (truth, forecast)]
    lengths = np.linalg.norm(sums[0], axis=1) * np.linalg.norm(sums[1], axis=1)
    return np.asarray((sums[0] * sums[1]).sum(axis=1) / np.where(lengths > 0, lengths, 1), dtype=np.float64)


def _directions(tokens: Tokens, embedding: Floats) -> Floats:
    """Unit vectors (S, n, D) of tokens; 0 where there is none."""
    lengths = np.linalg.norm(embedding, axis=1, keepdims=True)
    found = (embedding / np.where(lengths > 0, lengths, 1))[tokens]
    return np.where((tokens >= 0)[..., None], found, 0.0)
