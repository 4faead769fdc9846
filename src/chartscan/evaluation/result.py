"""What an evaluation found, as plain values: the content of metrics.json.

A number that the data cannot define is None, and null in JSON.
"""

from typing import Any

import msgspec

from chartscan.notes import Note

FEW_EVENTS = 20  # of the rarer class: an AUROC from fewer is marked wherever it stands


class Estimate(msgspec.Struct, frozen=True):
    """A number with its 95 % interval."""

    value: float | None
    low: float | None
    high: float | None


class Difference(msgspec.Struct, frozen=True):
    """`metric` of `model` less that of `baseline`, on the same rows and resamples."""

    model: str
    baseline: str
    metric: str
    estimate: Estimate
    p: float | None  # two-sided share of resamples beyond 0, at least 1 / (replicates + 1)
    not_estimable: str | None = None  # why the interval says nothing; None where it does
    direction: str = "max"  # or "min": which values of the metric are better


class Curve(msgspec.Struct, frozen=True):
    """Points to draw, at most about 200."""

    x: list[float]
    y: list[float]


class CalibrationBin(msgspec.Struct, frozen=True):
    """One bin of the calibration curve."""

    predicted: float  # mean probability
    observed: Estimate  # share of events
    predictions: int


class OperatingPoint(msgspec.Struct, frozen=True):
    """What acting above one threshold would mean."""

    threshold: float | None  # None: the decision that came with the predictions
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    alerts_per_100: Estimate


class Group(msgspec.Struct, frozen=True):
    """One subgroup; counts are None where suppressed, and estimates where too precise."""

    attribute: str
    group: str
    status: str  # "shown", "suppressed", "insufficient" or "not estimable"
    predictions: int | None
    events: int | None
    auroc: Estimate | None
    average_precision: Estimate | None
    observed_expected: Estimate | None
    gap: Estimate | None  # AUROC of the group less that of all rows
    flagged: bool  # a gap above 0.05 whose interval excludes 0


class ModelResult(msgspec.Struct, frozen=True):
    """One model on one task."""

    model: str
    estimates: dict[str, Estimate]  # by name of the metric
    share_of_ceiling: Estimate | None
    roc: Curve
    precision_recall: Curve
    calibration: list[CalibrationBin]
    histogram: list[int]  # predictions in 50 equal steps of the probability
    decision_curve: Curve  # net benefit against threshold
    operating_points: list[OperatingPoint]
    calibrated: str | None  # how the probabilities were calibrated; None: not said
    threshold: float | None  # behind the decisions, chosen on tuning rows
    run: dict[str, Any]


class TaskResult(msgspec.Struct, frozen=True):
    """One task: the first model is the one under study, the others are its baselines."""

    task: str
    subjects: int
    predictions: int
    events: int
    first_prediction: str  # ISO time
    last_prediction: str
    models: list[ModelResult]
    ceiling: ModelResult | None
    differences: list[Difference]
    groups: list[Group]
    treat_all: Curve
    undefined_resamples: int  # resamples that lack a class
    cohort: dict[str, Any] | None
    few: str | None = None  # such as "7 events" or "3 non-events": an AUROC from fewer than FEW_EVENTS

    @property
    def prevalence(self) -> float:
        """Share of predictions whose outcome came."""
        return self.events / self.predictions if self.predictions else float("nan")


def few_events(events: int, predictions: int) -> str | None:
    """Return the rarer class in words if below FEW_EVENTS, else None."""
    rarer, word = min((events, "event"), (predictions - events, "non-event"))
    return f"{rarer:,} {word}{'' if rarer == 1 else 's'}" if rarer < FEW_EVENTS else None


class MetricFacts(msgspec.Struct, frozen=True):
    """What a reader must know of a metric; in the order of the report's columns."""

    name: str  # as in `estimates`
    title: str
    direction: str | float  # "max", "min", or the best value
    shown: bool  # False: it has no column


class Evaluation(msgspec.Struct, frozen=True):
    """All results of an evaluation."""

    seed: int
    replicates: int
    tasks: list[TaskResult]
    notes: list[Note] = []
    metrics: list[MetricFacts] = []

    def json(self) -> bytes:
        """The content of metrics.json."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1)
