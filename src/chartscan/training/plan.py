"""How many steps a training has, and when it stops early."""

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Protocol

import msgspec

from chartscan.errors import ConfigError
from chartscan.training.config import TrainConfig

# Which evaluation was best so far, and whether to go on.


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


# Which batches belong to which step: a pure function, so that resuming needs no iterator state.


class Batches(Protocol):
    """The training data. Both methods depend on their arguments alone and draw no global random numbers."""

    def n_batches(self, epoch: int) -> int:
        """Number of batches of epoch `epoch` (0-based)."""
        ...

    def batch(self, epoch: int, index: int) -> Any:
        """Batch `index` of that epoch; moved to the device by its method `to`, if it has one."""
        ...


@dataclass(frozen=True)
class Plan:
    """The steps of a run: each takes `accumulate` batches, the last of an epoch what is left of it."""

    sizes: tuple[int, ...]  # batches of each epoch
    accumulate: int
    max_steps: int | None

    @cached_property
    def ends(self) -> list[int]:
        """Steps done at the end of each epoch."""
        return list(accumulate(-(-size // self.accumulate) for size in self.sizes))

    @property
    def total_steps(self) -> int:
        """Number of steps of the whole run."""
        return self.ends[-1] if self.max_steps is None else min(self.max_steps, self.ends[-1])

    def epoch(self, step: int) -> int:
        """The epoch that step `step` (0-based) belongs to."""
        return bisect_right(self.ends, step)

    def indices(self, step: int) -> range:
        """The batches of step `step` (0-based), as indices into its epoch."""
        epoch = self.epoch(step)
        first = (step - (self.ends[epoch - 1] if epoch else 0)) * self.accumulate
        return range(first, min(first + self.accumulate, self.sizes[epoch]))


def plan(data: Batches, config: TrainConfig) -> Plan:
    """The steps that `config` makes of `data`; ConfigError where there is nothing to train on."""
    sizes = tuple(data.n_batches(epoch) for epoch in range(config.epochs))
    made = Plan(sizes, config.accumulate, config.max_steps)
    if made.total_steps == 0:
        raise ConfigError("There is no batch to train on: is the training split empty?")
    return made
