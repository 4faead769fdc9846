"""Every setting of a training run."""

from typing import Literal

import msgspec
import torch

from chartscan.errors import check_settings
from chartscan.kernels.products import has_bf16

# These say how often to save, not what is computed: a resumed run may change them.
FREE_TO_CHANGE = ("checkpoint_every_steps", "checkpoint_every_seconds", "keep_checkpoints")


class TrainConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a model is trained; one step is one update of the weights, from `accumulate` batches."""

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
