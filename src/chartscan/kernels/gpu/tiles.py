"""The division into tiles depends on state count alone, never on the batch.

So neither other rows nor padding change a result. A program has one warp. It holds a tile of states (N padded
to a power of two, channels) in registers and walks the steps of one row. All tiles in memory run along states
first, as A and the states do: were there a second order, Triton would compute in both and convert between
them at each step. Sizes are such that registers hold (nearly) everything at N = 16, by ptxas for compute
capability 8.0 and 9.0; not timed yet.
"""

from contextlib import nullcontext
from typing import Any

import torch

CHECKPOINT_STEPS = 32  # the state is kept for the backward pass this often
FORWARD_STEPS = 8  # steps whose inputs are loaded together, to hide the latency of memory
RECOMPUTED_STEPS = 4  # likewise in the backward pass, where states are computed again
BACKWARD_STEPS = 2  # steps whose states and decays stay in registers on the way back
STEP_WARPS = 4
_MOST_CHANNELS = 32
_FORWARD_ELEMENTS, _BACKWARD_ELEMENTS = 128, 256  # of a tile: 4 and 8 a lane
_STEP_ELEMENTS = 512


def padded(states: int) -> int:
    """The power of two at or above."""
    return 1 << max(states - 1, 0).bit_length()


def forward_channels(states: int) -> int:
    return _channels(_FORWARD_ELEMENTS, states)


def backward_channels(states: int) -> int:
    """Return the channels of a backward tile, more than in the forward pass.

    Each tile writes its own share of dB and dC, as long as they are.
    """
    return _channels(_BACKWARD_ELEMENTS, states)


def step_channels(states: int) -> int:
    return max(_STEP_ELEMENTS // padded(states), 1)


def count(total: int, size: int) -> int:
    """Tiles of `size` that cover `total`."""
    return -(-total // size)


def launch(
    kernel: Any, grid: tuple[int, ...], device: torch.device, warps: int = 1, **arguments: Any
) -> None:
    """Start a kernel on `device`, one program per element of `grid`; none if empty."""
    if 0 in grid:
        return
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        kernel[grid](**arguments, num_warps=warps)


def _channels(elements: int, states: int) -> int:
    return min(max(elements // padded(states), 1), _MOST_CHANNELS)
