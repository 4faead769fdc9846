"""States inside a scan, recomputed from the last kept one: at most 32 steps.

A read is one program for each tile of channels, so reads may come in any order and repeat.
"""

import triton
import triton.language as tl
from torch import Tensor

from chartscan.kernels.gpu import tiles
from chartscan.kernels.gpu.inputs import ScanInputs
from chartscan.kernels.gpu.pieces import after_step, decay_of, load_steps, step_sizes
from chartscan.kernels.gpu.tiles import launch


def read_states(inputs: ScanInputs, checkpoints: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
    """The states (R, E, N) after `positions` of `rows`, both (R,) int64 and checked."""
    states = inputs.A.new_empty(len(rows), *inputs.A.shape)
    channels = tiles.forward_channels(inputs.states)
    launch(
        _kernel,
        (len(rows), tiles.count(inputs.channels, channels)),
        states.device,
        **{name: value for name, value in inputs.arguments().items() if name in _NEEDED},
        checkpoints=checkpoints,
        rows=rows.contiguous(),
        positions=positions.contiguous(),
        states=states,
        N=inputs.states,
        TILE_N=tiles.padded(inputs.states),
        TILE_E=channels,
        STEPS=tiles.FORWARD_STEPS,
        KEEP=tiles.CHECKPOINT_STEPS,
    )
    return states


_NEEDED = (
    *("x", "x_row", "x_step", "dt", "dt_row", "dt_step", "B", "B_row", "B_step"),
    *("A", "dt_bias", "steps", "channels"),
)


@triton.jit(do_not_specialize=["steps"])
def _kernel(
    x,
    x_row,
    x_step,
    dt,
    dt_row,
    dt_step,
    B,
    B_row,
    B_step,
    A,
    dt_bias,
    steps,
    channels,
    checkpoints,
    rows,
    positions,
    states,
    N: tl.constexpr,
    TILE_N: tl.constexpr,
    TILE_E: tl.constexpr,
    STEPS: tl.constexpr,
    KEEP: tl.constexpr,
):
    place = tl.program_id(0).to(tl.int64)
    row = tl.load(rows + place)
    end = tl.load(positions + place) + 1
    e = tl.program_id(1) * TILE_E + tl.arange(0, TILE_E)
    n = tl.arange(0, TILE_N)
    in_e, in_n = e < channels, n < N
    in_tile = in_n[:, None] & in_e[None, :]
    of_channel = e[None, :] * N + n[:, None]  # in (E, N)
    a = tl.load(A + of_channel, mask=in_tile, other=0.0)
    bias = tl.zeros([TILE_E], tl.float32)
    if dt_bias is not None:
        bias = tl.load(dt_bias + e, mask=in_e, other=0.0)
    chunk = (end - 1) // KEEP
    kept = (row * tl.cdiv(steps, KEEP) + chunk) * N * channels
    h = tl.load(checkpoints + kept + of_channel, mask=in_tile, other=0.0)
    for start in range(chunk * KEEP, end, STEPS):
        left = end - start
        xs = load_steps(x + row * x_row + start * x_step, x_step, e, in_e, left, STEPS)
        raw = load_steps(dt + row * dt_row + start * dt_step, dt_step, e, in_e, left, STEPS)
        bs = load_steps(B + row * B_row + start * B_step, B_step, n, in_n, left, STEPS)
        deltas = step_sizes(raw, bias, left, STEPS)
        for t in tl.static_range(STEPS):
            h = after_step(h, decay_of(deltas[t], a), deltas[t], xs[t], bs[t])
    tl.store(states + place * channels * N + of_channel, h, mask=in_tile)
