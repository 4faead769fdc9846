"""Many explanations of one task in numbers: reliability and targets of each method."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from chartscan.interpret.attention import by_type
from chartscan.interpret.explanation import RANDOM, Explanation
from chartscan.interpret.faithfulness import SHARES, spearman
from chartscan.metrics.discrimination import auroc
from chartscan.simulator.causes import CAUSES, is_cause, says_nothing

RESAMPLES = 1000


def summary(explanations: Sequence[Explanation], simulated: bool, seed: int) -> dict[str, Any]:
    """Return what explain.json holds on one task's answers; only the simulator's tasks have known causes."""
    simulated = simulated and explanations[0].question.task in CAUSES
    methods = list(explanations[0].attributions)
    types = by_type(table(explanations).rename({"prediction_time": "answer"}))
    return {
        "explained": len(explanations),
        "methods": {
            name: _method(explanations, name, simulated, seed)
            | {"by_type": types.filter(pl.col("method") == name).drop("method").to_dicts()}
            for name in methods
        },
        "random ranks": _faithfulness(explanations, RANDOM),
        "agreement": _agreement(explanations, methods),
    }


def table(explanations: Sequence[Explanation]) -> pl.DataFrame:
    """A row for each event of an answer and each method: attributions.parquet."""
    parts = []
    for one in explanations:
        question = one.question
        events = one.events.select(
            subject_id=pl.lit(question.subject_id, pl.Int64),
            prediction_time=pl.lit(question.prediction_time, pl.Datetime("us")),
            task=pl.lit(question.task),
            position=pl.col("position").cast(pl.Int64),
            time="time",
            code="code",
            type="type",
        )
        parts += [
            events.with_columns(method=pl.lit(name), attribution=pl.Series(values))
            for name, values in one.attributions.items()
        ]
    return pl.concat(parts)


def causes(explanation: Explanation) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which events drive the simulated outcome, and which the test counts (n,)."""
    alike = ("visit", "code")
    events = explanation.events.with_columns(
        place=pl.col("time").rank("ordinal").over(alike).fill_null(1) - 1, count=pl.len().over(alike)
    )
    hospital = set(events.filter(pl.col("event_type") == "admission")["visit"])
    latest = events["visit"].max()

    def causal(code: str, type_: str | None, visit: int, place: int, count: int) -> bool | None:
        if type_ is None and not code.startswith("LOINC//"):
            return None
        in_stay = visit == latest and not says_nothing(code, place, count)
        return is_cause(
            explanation.question.task, code, type_ or "", in_stay, type_ is None or visit in hospital
        )

    found = [
        causal(*row) for row in events.select("code", "event_type", "visit", "place", "count").iter_rows()
    ]
    return np.array([one is True for one in found]), np.array([one is not None for one in found])


def _method(explanations: Sequence[Explanation], name: str, simulated: bool, seed: int) -> dict[str, Any]:
    found: dict[str, Any] = _faithfulness(explanations, name)
    if name in explanations[0].change:
        changes = np.array([one.change[name] for one in explanations])
        gaps = np.abs([one.gap[name] for one in explanations])
        found["completeness_gap"] = {
            "relative": _number(gaps.sum() / np.abs(changes).sum()),
            "worst_log_odds": _number(gaps.max()),
        }
    if name in explanations[0].randomised:
        found["rank_correlation_with_random_weights"] = _mean(
            [spearman(np.abs(one.attributions[name]), np.abs(one.randomised[name])) for one in explanations]
        )
    if simulated:
        found["auroc_of_causes"] = _auroc_of_causes(explanations, name, seed)
    return found


def _faithfulness(explanations: Sequence[Explanation], name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for measure in ("comprehensiveness", "sufficiency"):
        values = np.stack([one.measures[name][measure] for one in explanations]).mean(0)
        found[measure] = {f"{share:.0%}": _number(value) for share, value in zip(SHARES, values, strict=True)}
    for measure in ("deletion", "insertion"):
        found[measure] = _mean([float(one.measures[name][measure]) for one in explanations])
    return found


def _agreement(explanations: Sequence[Explanation], methods: Sequence[str]) -> Mapping[str, Any]:
    def between(a: str, b: str) -> float | None:
        sizes = [(np.abs(one.attributions[a]), np.abs(one.attributions[b])) for one in explanations]
        return _mean([spearman(x, y) for x, y in sizes])

    return {a: {b: between(a, b) for b in methods if b != a} for a in methods}


def _auroc_of_causes(explanations: Sequence[Explanation], name: str, seed: int) -> dict[str, Any]:
    """Mean over answers of the probability that a cause is ranked above another event, with its interval."""
    found = []
    for one in explanations:
        causal, counted = causes(one)
        found.append(auroc(causal[counted], np.abs(one.attributions[name])[counted]))
    values = np.array(found)[np.isfinite(found)]
    if not len(values):
        return {"mean": None, "answers": 0}
    draws = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(values[draws].mean(1), [0.025, 0.975])
    return {
        "mean": _number(values.mean()),
        "low": _number(low),
        "high": _number(high),
        "answers": len(values),
    }


def _mean(values: Sequence[float]) -> float | None:
    defined = [value for value in values if np.isfinite(value)]
    return _number(np.mean(defined)) if defined else None


def _number(value: Any) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None
