"""Which batches belong to which step: a pure function, so that resuming needs no iterator state."""

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Protocol

from chartscan.errors import ConfigError
from chartscan.training.config import TrainConfig


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
