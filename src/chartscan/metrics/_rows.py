"""What metrics share: checked arrays, cumulative counts, ties, and refits on the log odds."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chartscan.metrics import OfSums

# What every metric does first: labels, scores and weights as float arrays of one length.

Floats = NDArray[np.float64]
SMALLEST = (
    1e-7  # probabilities are kept this far from 0 and 1 where a logarithm is taken (float32's resolution)
)


class Rows(NamedTuple):
    """Rows of weight above 0."""

    labels: Floats  # (n,) 0 or 1
    scores: Floats  # (n,)
    weights: Floats  # (n,) above 0

    @property
    def one_class(self) -> bool:
        """True where there is no positive or no negative row (or no row)."""
        return len(self.labels) == 0 or self.labels.min() == self.labels.max()


def rows(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None) -> Rows:
    """The arguments of a metric as arrays, without the rows of weight 0."""
    y = np.asarray(labels, dtype=np.float64)
    s = np.asarray(scores, dtype=np.float64)
    w = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64)
    if not len(y) == len(s) == len(w):
        raise ValueError(f"labels, scores and weights differ in length: {len(y)}, {len(s)}, {len(w)}.")
    kept = w > 0
    return Rows(y[kept], s[kept], w[kept])


def log_odds(probabilities: ArrayLike) -> Floats:
    """log(p / (1 - p)), finite for 0 and 1 too (they count as SMALLEST away)."""
    p = np.clip(np.asarray(probabilities, dtype=np.float64), SMALLEST, 1 - SMALLEST)
    return np.log(p) - np.log1p(-p)


def sigmoid(log_odds: Floats) -> Floats:
    """The probability of each log odds, without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * log_odds))


# True and false positives at every distinct score: what AUROC, average precision, F1 and curves share.


class Cumulative(NamedTuple):
    """Weights at or above each distinct score, from the highest score down (k of them)."""

    thresholds: Floats  # (k,)
    positives: Floats  # (k,) weight of positive rows with a score >= threshold
    negatives: Floats  # (k,) weight of negative rows with a score >= threshold


def cumulative(rows: Rows) -> Cumulative:
    """Rows of one score enter together, so that the order of ties cannot matter."""
    order = np.argsort(-rows.scores, kind="stable")
    scores = rows.scores[order]
    positives = np.cumsum(rows.weights[order] * rows.labels[order])
    negatives = np.cumsum(rows.weights[order] * (1 - rows.labels[order]))
    last = np.append(scores[1:] != scores[:-1], True) if len(scores) else np.zeros(0, dtype=bool)
    return Cumulative(scores[last], positives[last], negatives[last])


# How well forecast tokens match what happened, one number a sequence; shapes (S, n) of token ids.
# -1 stands for a token that was not forecast: it matches nothing and has no direction.

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


# Logistic recalibration: the line logit P(y) = intercept + slope * logit(p), fitted by Newton's method.
# In the bootstrap a resample's is one Newton step from that of the whole set (Moulton and Zeger 1991,
# Computational Statistics and Data Analysis 11:53). That needs sums of rows only, and is exact for the
# whole.

MOST_STEPS = 50
LARGEST = 50.0  # a coefficient beyond this means that the classes are separated: no finite answer


def recalibration(rows: Rows, slope_free: bool = True) -> tuple[float, float]:
    """(intercept, slope) of greatest likelihood; slope 1 if not `slope_free`.

    (nan, nan) where there is no finite answer: one class, one score only, or classes that the scores
    separate perfectly. Cox 1958, Biometrika 45:562; Van Calster et al. 2016, J Clin Epidemiol 74:167.
    """
    if rows.one_class:
        return np.nan, np.nan
    z = log_odds(rows.scores)
    if slope_free and np.ptp(z) == 0:
        return np.nan, np.nan
    design = np.stack([np.ones_like(z), z], axis=1) if slope_free else np.ones((len(z), 1))
    offset = np.zeros_like(z) if slope_free else z
    beta = _newton(design, offset, rows)
    return (float(beta[0]), float(beta[1]) if slope_free else 1.0)


def _newton(design: Floats, offset: Floats, rows: Rows) -> Floats:
    beta = np.zeros(design.shape[1])
    loss = _loss(design @ beta + offset, rows)
    for _ in range(MOST_STEPS):
        p = sigmoid(design @ beta + offset)
        gradient = design.T @ (rows.weights * (rows.labels - p))
        hessian = (design * (rows.weights * p * (1 - p))[:, None]).T @ design
        try:
            step = np.linalg.solve(hessian, gradient)
        except np.linalg.LinAlgError:
            break
        if np.abs(step).max() < 1e-12 * (1 + np.abs(beta).max()):
            return beta + step
        beta, loss = _damped(design, offset, rows, beta, step, loss)
        if np.abs(beta).max() > LARGEST:
            break
    else:
        return beta
    return np.full(len(beta), np.nan)


def _damped(design, offset, rows, beta, step, loss):
    """`beta` after the longest of step, step/2, step/4, ... that does not raise the loss."""
    for _ in range(30):
        tried = _loss(design @ (beta + step) + offset, rows)
        if tried <= loss * (1 + 1e-15):
            return beta + step, tried
        step = step / 2
    return beta, loss


def _loss(eta: Floats, rows: Rows) -> float:
    return float(rows.weights @ (np.logaddexp(0, eta) - rows.labels * eta))


def line_row_sums(labels: Floats, scores: Floats, which: int) -> tuple[Floats, OfSums]:
    """Intercept (`which` 0) or slope (1) as sums of rows: derivatives of the log likelihood at the fit."""
    line = recalibration(Rows(labels, scores, np.ones_like(scores)))
    z = log_odds(scores)
    p = sigmoid(line[0] + line[1] * z)
    residual, spread = labels - p, p * (1 - p)
    columns = np.stack([residual, residual * z, spread, spread * z, spread * z * z], axis=1)

    def of_sums(totals: Floats) -> Floats:
        u0, u1, h00, h01, h11 = totals
        step = (h11 * u0 - h01 * u1, h00 * u1 - h01 * u0)[which]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(line[which] + step / (h00 * h11 - h01 * h01), dtype=np.float64)

    return columns, of_sums


def shift_row_sums(labels: Floats, scores: Floats) -> tuple[Floats, OfSums]:
    """Calibration in the large as sums of rows: derivatives of the log likelihood at the fit with slope 1."""
    shift = recalibration(Rows(labels, scores, np.ones_like(scores)), slope_free=False)[0]
    p = sigmoid(shift + log_odds(scores))
    columns = np.stack([labels - p, p * (1 - p)], axis=1)

    def of_sums(totals: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(shift + totals[0] / totals[1], dtype=np.float64)

    return columns, of_sums
