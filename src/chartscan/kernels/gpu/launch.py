"""Starts a kernel on the device of its tensors."""

from contextlib import nullcontext
from typing import Any

import torch


def launch(
    kernel: Any, grid: tuple[int, ...], device: torch.device, warps: int = 1, **arguments: Any
) -> None:
    """One program for each element of `grid`; nothing where that is empty."""
    if 0 in grid:
        return
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        kernel[grid](**arguments, num_warps=warps)
