"""What a pretrained model forecast after the prediction time of an answer, beside the record."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import polars as pl
import pyarrow as pa

from chartscan.artifact import Artifact
from chartscan.cohort.evidence import follow_up_rule
from chartscan.generate import Future, History, Plan, generate, history_of
from chartscan.inputs.readers import TokenReader
from chartscan.inputs.tokens import (
    Encoded,
    NumericBins,
    check_coverage,
    coverage,
    timelines,
    visible,
)
from chartscan.inputs.tokens.encoded import DAY_US
from chartscan.inputs.tokens.pace import is_event
from chartscan.inputs.tokens.vocabulary import TEXT_MARK
from chartscan.interpret.events import TYPES, token_events
from chartscan.interpret.explanation import Question
from chartscan.interpret.page import Coming, Forecast
from chartscan.runs.job import Watcher
from chartscan.store.dataset import Dataset

LIKELIEST = -1  # number of the future of likeliest tokens among the samples
MOST_SHARES = 80  # tokens of an answer whose share of the futures is shown
MOST_TOKENS = 2000  # of a future


@dataclass(frozen=True)
class Ahead:
    """What is forecast after each answer."""

    days: float
    samples: int
    seed: int


@dataclass(frozen=True)
class Beside:
    """All futures, and for each question what the page shows."""

    histories: list[History]
    futures: list[Future]  # LIKELIEST and samples 0 .. of each history
    shown: list[Forecast]


def forecasts_beside(
    artifact: Artifact[TokenReader],
    data: Dataset,
    questions: Sequence[Question],
    records: Mapping[int, pa.Table],
    ahead: Ahead,
    watcher: Watcher,
) -> Beside:
    """Futures from each question's prediction time; `records` are the whole EVENTS of their subjects.

    Nothing known after that time reaches the model: it reads the tokens known by then.
    """
    encoder, config = artifact.reader.encoder, artifact.reader.config
    check_coverage(coverage(encoder, list(records.values())), "events")
    whole = {subject: encoder.encode(record) for subject, record in records.items()}
    lines = {subject: timelines(record, config)[subject] for subject, record in records.items()}
    ends = [visible(whole[q.subject_id], np.datetime64(q.prediction_time, "us")) for q in questions]
    histories = [
        history_of(artifact, s, whole[s].prefix(end), lines[s], _instant(q))
        for q, s, end in zip(questions, (q.subject_id for q in questions), ends, strict=True)
    ]
    futures = list(_futures(artifact, histories, ahead, watcher))
    words = _Words(artifact, data)
    shown = []
    for number, history in enumerate(histories):
        subject, now = history.subject_id, history.now
        likeliest, drawn = _of(futures, number)
        came = words.came(records[subject], whole[subject], now, ahead.days)
        shown.append(
            Forecast(
                days=ahead.days,
                samples=ahead.samples,
                followed_days=_followed(data, whole[subject], now),
                came=came,
                likeliest=words.said(likeliest, now),
                shares=words.shares(drawn, now, {one.token for one in came}),
            )
        )
    return Beside(histories, futures, shown)


def _futures(
    artifact: Artifact[TokenReader], histories: list[History], ahead: Ahead, watcher: Watcher
) -> Iterator[Future]:
    likeliest = Plan(days=ahead.days, tokens=MOST_TOKENS, temperature=0)
    drawn = Plan(days=ahead.days, tokens=MOST_TOKENS, samples=ahead.samples, seed=ahead.seed)
    with watcher.progress("Forecasting the likeliest", "histories") as progress:
        yield from (replace(f, sample=LIKELIEST) for f in generate(artifact, histories, likeliest, progress))
    with watcher.progress("Forecasting samples", "histories") as progress:
        yield from generate(artifact, histories, drawn, progress)


def _of(futures: Sequence[Future], history: int) -> tuple[Future, list[Future]]:
    """The likeliest future of a history, and those drawn."""
    own = [future for future in futures if future.history == history]
    return next(f for f in own if f.sample == LIKELIEST), [f for f in own if f.sample != LIKELIEST]


def _instant(question: Question) -> int:
    return int(np.datetime64(question.prediction_time, "us").astype(np.int64))


def _followed(data: Dataset, whole: Encoded, now: int) -> float | None:
    """Days after `now` until which the record is complete; None where that is not known."""
    last = whole.known[-1].astype("datetime64[us]").item()
    end = follow_up_rule(data.follow_up).end(last)
    return None if end is None else (int(np.datetime64(end, "us").astype(np.int64)) - now) / DAY_US


class _Words:
    """Tokens as people read them."""

    def __init__(self, artifact: Artifact[TokenReader], data: Dataset):
        self._artifact, self._tokens = artifact, artifact.reader.vocabulary.tokens
        codes = pl.DataFrame(data.codes().select(["code", "description"]))
        self._described: dict[str, str | None] = dict(codes.iter_rows())
        self._ranges = ranges_of(artifact.reader.bins)

    def came(self, record: pa.Table, whole: Encoded, now: int, days: float) -> list[Coming]:
        """The events of the record that became known after `now`, up to `days` later."""
        since = (whole.known.astype(np.int64) - now) / DAY_US
        after = (since > 0) & (since <= days) & is_event(whole.types)
        events = token_events(self._artifact, whole, record).filter(pl.Series(after))
        rows = zip(
            since[after].tolist(),
            whole.codes[after].tolist(),
            events.select("code", "type", "value").iter_rows(),
            strict=True,
        )
        return [
            Coming(day, self._tokens[token], kind, self._described.get(code) or code, value)
            for day, token, (code, kind, value) in rows
        ]

    def said(self, future: Future, now: int) -> list[Coming]:
        """The events of one future after `now`, each with the model's probability."""
        since = (future.times - now) / DAY_US
        kept = np.flatnonzero((since > 0) & is_event(future.types))
        return [
            self._coming(
                float(since[i]), int(future.codes[i]), int(future.types[i]), np.exp(future.log_probs[i])
            )
            for i in kept.tolist()
        ]

    def shares(self, futures: Sequence[Future], now: int, came: set[str]) -> list[Coming]:
        """The tokens of most futures, and those that came: in what share of them, and when first (median)."""
        first: dict[int, list[float]] = {}
        types: dict[int, int] = {}
        for future in futures:
            since = (future.times - now) / DAY_US
            kept = np.flatnonzero((since > 0) & is_event(future.types))
            codes, places = np.unique(future.codes[kept], return_index=True)
            for code, place in zip(codes.tolist(), kept[places].tolist(), strict=True):
                first.setdefault(code, []).append(float(since[place]))
                types.setdefault(code, int(future.types[place]))
        most = sorted(first, key=lambda code: (-len(first[code]), code))
        most = [c for place, c in enumerate(most) if place < MOST_SHARES or self._tokens[c] in came]
        return [
            self._coming(float(np.median(first[code])), code, types[code], len(first[code]) / len(futures))
            for code in most
        ]

    def _coming(self, day: float, number: int, kind: int, weight: float) -> Coming:
        token = self._tokens[number]
        code, range_ = self._ranges.get(token) or (token, None)
        bare, _, text = code.partition(f"//{TEXT_MARK}")
        described = self._described.get(bare) or bare
        return Coming(day, token, TYPES[kind], described, range_ or text or None, float(weight))


def ranges_of(bins: NumericBins) -> dict[str, tuple[str, str]]:
    """Return code and value range, as people read them, of every bin token."""
    found = {}
    for group, (code, _, unit) in enumerate(bins.groups):
        edges = [f"{edge:.4g}" for edge in unit.edges]
        bounds = [*(f"below {edge}" for edge in edges[:1])]
        bounds += [f"{low} to below {high}" for low, high in pairwise(edges)]
        bounds += [f"{edge} or above" for edge in edges[-1:]]
        for place, bound in enumerate(bounds or ["any value"]):
            found[f"{code}//{bins.suffix(group, place)}"] = code, f"{bound} {unit.unit}".strip()
    return found
