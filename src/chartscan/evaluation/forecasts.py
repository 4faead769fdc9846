"""Scores of forecasts after 1, 2, 5 and 10 tokens, beside simple baselines.

One row is one subject. Intervals and paired differences come from resamples of subjects, the same for every
method. Beside them: whether the probabilities of next tokens mean what they say.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from chartscan.evaluation.bootstrap import Floats, bootstrap, estimate, number, share_beyond_zero
from chartscan.evaluation.result import CalibrationBin, Difference, Estimate
from chartscan.metrics.calibration import BINS

FIRST = (1, 2, 5, 10)
METRICS = ("accuracy", "overlap", "cosine", "set_cosine")
Tokens = NDArray[np.integer]


@dataclass(frozen=True)
class ForecastSet:
    """The true next tokens of S subjects, and each method's forecasts; -1: none."""

    view: str  # such as "all tokens" or "events"
    truth: Tokens  # (S, K)
    forecasts: Mapping[str, Tokens]  # (S, K) by method; the first is the model under study


@dataclass(frozen=True)
class NextTokens:
    """The likeliest next token at n places of records: its probability, and whether it came."""

    subjects: NDArray[np.int64]  # (n,) index
    probabilities: Floats  # (n,)
    came: NDArray[np.bool_]  # (n,)


class ForecastScore(msgspec.Struct, frozen=True):
    """One method by one metric over the first `first` tokens."""

    view: str
    method: str
    metric: str
    first: int
    estimate: Estimate
    difference: Difference | None  # the model less this baseline; None for the model itself


class ForecastEvaluation(msgspec.Struct, frozen=True):
    """All results of an evaluation of forecasts."""

    seed: int
    replicates: int
    subjects: dict[str, int]  # by view
    scores: list[ForecastScore]
    next_tokens: int
    next_accuracy: Estimate
    calibration_error: Estimate  # of the likeliest token's probability, equal-sized bins
    calibration: list[CalibrationBin]
    grammar_violations: dict[str, int]  # "tokens" forecast by the model, and those "out of order"

    def json(self) -> bytes:
        """The content of forecasts.json."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1)


def evaluate_forecasts(
    sets: list[ForecastSet],
    embedding: Floats,
    next_tokens: NextTokens,
    grammar_violations: dict[str, int],
    bootstrap_replicates: int = 1000,
    seed: int = 0,
) -> ForecastEvaluation:
    """Every method, metric and length of each view, and the calibration of next tokens.

    `embedding` (V, D) gives tokens directions.
    """
    scores = [score for one in sets for score in _scores(one, embedding, bootstrap_replicates, seed)]
    found, samples, bins = _calibration(next_tokens, bootstrap_replicates, seed)
    return ForecastEvaluation(
        seed=seed,
        replicates=bootstrap_replicates,
        subjects={one.view: len(one.truth) for one in sets},
        scores=scores,
        next_tokens=len(next_tokens.came),
        next_accuracy=estimate(found["accuracy"], samples["accuracy"]),
        calibration_error=estimate(found["error"], samples["error"]),
        calibration=bins,
        grammar_violations=grammar_violations,
    )


def _scores(one: ForecastSet, embedding: Floats, replicates: int, seed: int) -> list[ForecastScore]:
    methods = list(one.forecasts)
    keys = [(method, metric, first) for method in methods for metric in METRICS for first in FIRST]
    values = np.stack(
        [_per_subject(one.truth[:, :n], one.forecasts[m][:, :n], k, embedding) for m, k, n in keys], axis=1
    )
    subjects = len(values)
    means = values.mean(axis=0)
    drawn = bootstrap(lambda counts: {"all": counts @ values / subjects}, subjects, replicates, seed)["all"]
    found = []
    for i, (method, metric, first) in enumerate(keys):
        base = keys.index((methods[0], metric, first))
        difference = None
        if method != methods[0]:
            between = estimate(float(means[base] - means[i]), drawn[:, base] - drawn[:, i])
            p = number(share_beyond_zero(drawn[:, base] - drawn[:, i]))
            difference = Difference(methods[0], method, metric, between, p)
        score = estimate(float(means[i]), drawn[:, i])
        found.append(ForecastScore(one.view, method, metric, first, score, difference))
    return found


def _per_subject(truth: Tokens, forecast: Tokens, metric: str, embedding: Floats) -> Floats:
    match metric:
        case "accuracy":
            return accuracy(truth, forecast)
        case "overlap":
            return overlap(truth, forecast)
        case "cosine":
            return cosine(truth, forecast, embedding)
        case _:
            return set_cosine(truth, forecast, embedding)


def accuracy(truth: Tokens, forecast: Tokens) -> Floats:
    """Share of positions at which the forecast token is the one that came (S,)."""
    return np.asarray((truth == forecast).mean(axis=1), dtype=np.float64)


def overlap(truth: Tokens, forecast: Tokens) -> Floats:
    """Return the share of true tokens, with repeats, forecast at any position (S,)."""
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
    """Return the cosine of summed embedding directions (S,); 0 where one sum is 0."""
    sums = [_directions(tokens, embedding).sum(axis=1) for tokens in (truth, forecast)]
    lengths = np.linalg.norm(sums[0], axis=1) * np.linalg.norm(sums[1], axis=1)
    return np.asarray((sums[0] * sums[1]).sum(axis=1) / np.where(lengths > 0, lengths, 1), dtype=np.float64)


def _directions(tokens: Tokens, embedding: Floats) -> Floats:
    """Unit vectors (S, n, D) of tokens; 0 where there is none."""
    lengths = np.linalg.norm(embedding, axis=1, keepdims=True)
    found = (embedding / np.where(lengths > 0, lengths, 1))[tokens]
    return np.where((tokens >= 0)[..., None], found, 0.0)


def _calibration(
    next_tokens: NextTokens, replicates: int, seed: int
) -> tuple[dict[str, float], dict[str, Floats], list[CalibrationBin]]:
    """Accuracy and expected calibration error with resamples, and the bins, which are those of the data."""
    n = len(next_tokens.came)
    place = np.empty(n, dtype=np.int64)
    place[np.argsort(next_tokens.probabilities, kind="stable")] = np.arange(n) * BINS // max(n, 1)
    subjects = int(next_tokens.subjects.max(initial=-1)) + 1
    cell = next_tokens.subjects * BINS + place
    counts, said, came = (
        np.bincount(cell, weights, minlength=subjects * BINS).reshape(subjects, BINS)
        for weights in (np.ones(n), next_tokens.probabilities, next_tokens.came.astype(np.float64))
    )

    def statistic(drawn: Floats) -> dict[str, Floats]:
        rows, expected, observed = drawn @ counts, drawn @ said, drawn @ came  # (R, bins)
        total = rows.sum(axis=1)
        share = np.divide(observed, rows, out=np.full_like(rows, np.nan), where=rows > 0)
        error = np.abs(expected - observed).sum(axis=1) / total
        return {"accuracy": observed.sum(axis=1) / total, "error": error, "share": share}

    samples = bootstrap(statistic, subjects, replicates, seed)
    whole = statistic(np.ones((1, subjects)))
    bins = [
        CalibrationBin(
            predicted=float(said[:, b].sum() / counts[:, b].sum()),
            observed=estimate(float(whole["share"][0, b]), samples["share"][:, b]),
            predictions=int(counts[:, b].sum()),
        )
        for b in range(BINS)
        if counts[:, b].sum()
    ]
    return {name: float(whole[name][0]) for name in ("accuracy", "error")}, samples, bins
