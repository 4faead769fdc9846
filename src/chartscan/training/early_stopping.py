"""Which evaluation was best so far, and whether to go on."""

import math
from collections.abc import Mapping

import msgspec

from chartscan.errors import ConfigError
from chartscan.training.config import TrainConfig


class Best(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The best evaluation so far and how many have passed since."""

    step: int | None = None  # steps done when it was seen; None before the first
    metrics: dict[str, float] = {}
    waited: int = 0  # evaluations since, without improvement


def judged(best: Best, step: int, metrics: Mapping[str, float], config: TrainConfig) -> Best:
    """`best` after an evaluation at `step`. A value that is not finite is never an improvement.

    Where the settings say that the last weights are kept, every evaluation replaces the one before.
    """
    if config.metric not in metrics:
        raise ConfigError(f"Evaluation gives no '{config.metric}'. Known: {', '.join(sorted(metrics))}.")
    if config.keep == "last":
        return _seen(step, metrics)
    value = metrics[config.metric]
    if not math.isfinite(value):
        return msgspec.structs.replace(best, waited=best.waited + 1)
    sign = 1 if config.direction == "min" else -1
    if best.step is None or sign * value < sign * best.metrics[config.metric]:
        return _seen(step, metrics)
    return msgspec.structs.replace(best, waited=best.waited + 1)


def _seen(step: int, metrics: Mapping[str, float]) -> Best:
    return Best(step, {name: float(v) for name, v in metrics.items() if math.isfinite(v)})


def out_of_patience(best: Best, config: TrainConfig) -> bool:
    """Whether `patience` evaluations in a row have brought nothing."""
    return config.patience is not None and best.waited >= config.patience
