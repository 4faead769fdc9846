"""What makes two sessions parts of one run: settings, data, parameters and kind of device."""

import hashlib
import warnings
from typing import Any

import msgspec
import torch
from torch import nn

from chartscan.errors import ConfigError
from chartscan.kernels import described
from chartscan.training.config import FREE_TO_CHANGE, TrainConfig, uses_bf16
from chartscan.training.plan import Plan


def identity(
    module: nn.Module, plan: Plan, config: TrainConfig, device: torch.device, fingerprint: str
) -> dict[str, Any]:
    """Everything that decides the losses, as JSON values.

    `fingerprint` is the caller's name for the data and whatever else decides.
    """
    settings = msgspec.to_builtins(config)
    shapes = [f"{n} {tuple(p.shape)} {p.dtype} {p.requires_grad}" for n, p in module.named_parameters()]
    return {
        **{name: value for name, value in settings.items() if name not in FREE_TO_CHANGE},
        "precision": "bf16" if uses_bf16(config, device) else "fp32",
        "device": device.type,
        "data": fingerprint,
        "batches of each epoch": list(plan.sizes),
        "parameters": hashlib.sha256("\n".join(shapes).encode()).hexdigest(),
    }


def environment() -> dict[str, Any]:
    """What rounding may depend on."""
    return {
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        **described(),
    }


def check_same(before: dict[str, Any], now: dict[str, Any]) -> None:
    """ConfigError naming every part of the identity that is not as it was."""
    before, now = (msgspec.json.decode(msgspec.json.encode(side)) for side in (before, now))
    changed = [
        f"{key} was {before.get(key)!s:.80}, is {now.get(key)!s:.80}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if changed:
        raise ConfigError(
            f"Cannot resume, the run was started differently: {'; '.join(changed)}. "
            "Resume with what it was started with, or train into another folder."
        )


def warn_if_moved(before: dict[str, Any], now: dict[str, Any]) -> None:
    """A warning where the losses may differ in their last bits from those of an unbroken run."""
    moved = [f"{key} was {before.get(key)}, is {now[key]}" for key in now if before.get(key) != now[key]]
    if moved:
        warnings.warn(
            f"Resumed elsewhere, losses may differ in the last bits: {'; '.join(moved)}.", stacklevel=2
        )
