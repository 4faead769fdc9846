"""Settings of a training, how many steps it has, and when it stops early."""

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Literal, Protocol

import msgspec
import torch

from chartscan.errors import ConfigError, check_settings
from chartscan.kernels.products import has_bf16

# These say how often to save, not what is computed: a resumed run may change them.
FREE_TO_CHANGE = ("checkpoint_every_steps", "checkpoint_every_seconds", "keep_checkpoints")


class TrainConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a training; one step updates the weights from `accumulate` batches."""

    learning_rate: float = 1e-3  # the peak
    faster: dict[str, float] = {}  # parameters by the beginning of their names -> multiple of the rate
    min_lr_ratio: float = 0.01  # first and last learning rate, as a part of the peak
    warmup_fraction: float = 0.1  # of all steps
    weight_decay: float = 0.01  # on matrix weights only, see `optimiser`
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float = 1.0  # of the whole gradient
    accumulate: int = 1
    epochs: int = 1
    max_steps: int | None = None
    precision: Literal["fp32", "bf16", "auto"] = "fp32"  # auto: bf16 where it is faster
    average_decay: float | None = None  # of a moving average of the weights, which is then what is kept
    evaluate_every: int | None = None  # steps; None: at the end of each epoch
    metric: str = "loss"  # the value of `evaluate` that decides which weights are best
    direction: Literal["min", "max"] = "min"
    keep: Literal["best", "last"] = "best"  # the weights a run ends with: of which evaluation
    patience: int | None = None  # evaluations without improvement before stopping; None: never stop early
    checkpoint_every_steps: int | None = None
    checkpoint_every_seconds: float | None = 300.0
    keep_checkpoints: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(self._sound(), "Training settings")

    def _sound(self) -> dict[str, bool]:
        every = (self.max_steps, self.evaluate_every, self.patience, self.checkpoint_every_steps)
        names = ("max_steps", "evaluate_every", "patience", "checkpoint_every_steps")
        return {
            "learning_rate": self.learning_rate > 0,
            "min_lr_ratio": 0 <= self.min_lr_ratio <= 1,
            "warmup_fraction": 0 <= self.warmup_fraction < 1,
            "weight_decay": self.weight_decay >= 0,
            "betas": all(0 <= beta < 1 for beta in self.betas),
            "faster": all(multiple > 0 for multiple in self.faster.values()),
            "clip_norm": self.clip_norm > 0,
            "accumulate": self.accumulate >= 1,
            "epochs": self.epochs >= 1,
            "average_decay": self.average_decay is None or 0 < self.average_decay < 1,
            "patience (needs keep=best)": self.patience is None or self.keep == "best",
            "keep_checkpoints": self.keep_checkpoints >= 1,
            **{name: value is None or value >= 1 for name, value in zip(names, every, strict=True)},
        }


def uses_bf16(config: TrainConfig, device: torch.device) -> bool:
    """Whether the forward pass runs in bfloat16; the weights stay float32 in any case."""
    if config.precision != "auto":
        return config.precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and has_bf16()


class Best(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The best evaluation so far and how many have passed since."""

    step: int | None = None  # steps done when it was seen; None before the first
    metrics: dict[str, float] = {}
    waited: int = 0  # evaluations since, without improvement


def judged(best: Best, step: int, metrics: Mapping[str, float], config: TrainConfig) -> Best:
    """`best` after an evaluation at `step`; only finite values improve it.

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


class Batches(Protocol):
    """The training data: pure functions of their arguments, without global random numbers."""

    def n_batches(self, epoch: int) -> int:
        """Number of batches of epoch `epoch` (0-based)."""
        ...

    def batch(self, epoch: int, index: int) -> Any:
        """Batch `index` of that epoch; its `to` moves it to the device."""
        ...


@dataclass(frozen=True)
class Plan:
    """The steps of a run, of `accumulate` batches each (fewer at an epoch's end)."""

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
        raise ConfigError("There is no batch to train on. Expected train subjects with data.")
    return made
