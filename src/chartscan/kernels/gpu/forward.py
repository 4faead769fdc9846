"""The forward scan: one program runs all steps of a row and tile."""

import triton
import triton.language as tl
from torch import Tensor

from chartscan.kernels.gpu import tiles
from chartscan.kernels.gpu.inputs import ScanInputs
from chartscan.kernels.gpu.pieces import after_step, decay_of, load_steps, sigmoid, step_sizes, steps_of
from chartscan.kernels.gpu.tiles import launch


def forward(inputs: ScanInputs, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    """y (B, L, E), last state (B, E, N), and where `keep` the states every 32 steps (B, ., E, N)."""
    x, A = inputs.x, inputs.A
    y = inputs.unwritten(x.shape, x.dtype)
    last = A.new_empty(x.shape[0], *A.shape)
    checkpoints = inputs.unwritten(inputs.checkpoint_shape(), A.dtype) if keep else None
    channels = tiles.forward_channels(inputs.states)
    launch(
        _kernel,
        (inputs.batch, tiles.count(inputs.channels, channels)),
        x.device,
        **inputs.arguments(),
        y=y,
        last=last,
        checkpoints=checkpoints,
        N=inputs.states,
        TILE_N=tiles.padded(inputs.states),
        TILE_E=channels,
        STEPS=tiles.FORWARD_STEPS,
        KEEP=tiles.CHECKPOINT_STEPS,
    )
    return y, last, checkpoints if checkpoints is not None else A.new_empty(0)


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
    C,
    C_row,
    C_step,
    z,
    z_row,
    z_step,
    A,
    D,
    dt_bias,
    state,
    lengths,
    steps,
    channels,
    y,
    last,
    checkpoints,
    N: tl.constexpr,
    TILE_N: tl.constexpr,
    TILE_E: tl.constexpr,
    STEPS: tl.constexpr,
    KEEP: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    e = tl.program_id(1) * TILE_E + tl.arange(0, TILE_E)
    n = tl.arange(0, TILE_N)
    in_e, in_n = e < channels, n < N
    in_tile = in_n[:, None] & in_e[None, :]
    of_channel = e[None, :] * N + n[:, None]  # in (E, N)
    a = tl.load(A + of_channel, mask=in_tile, other=0.0)
    bias = tl.zeros([TILE_E], tl.float32)
    if dt_bias is not None:
        bias = tl.load(dt_bias + e, mask=in_e, other=0.0)
    skip = tl.zeros([TILE_E], tl.float32)
    if D is not None:
        skip = tl.load(D + e, mask=in_e, other=0.0)
    h = tl.zeros([TILE_N, TILE_E], tl.float32)
    if state is not None:
        h = tl.load(state + row * channels * N + of_channel, mask=in_tile, other=0.0)
    x += row * x_row
    dt += row * dt_row
    B += row * B_row
    C += row * C_row
    y += row * steps * channels
    if z is not None:
        z += row * z_row
    if checkpoints is not None:
        checkpoints += row * tl.cdiv(steps, KEEP) * N * channels
    length = steps_of(lengths, row, steps)
    for start in range(0, length, STEPS):
        if checkpoints is not None:
            if start % KEEP == 0:
                tl.store(checkpoints + of_channel, h, mask=in_tile)
                checkpoints += N * channels
        left = length - start
        xs = load_steps(x, x_step, e, in_e, left, STEPS)
        deltas = load_steps(dt, dt_step, e, in_e, left, STEPS)
        bs = load_steps(B, B_step, n, in_n, left, STEPS)
        cs = load_steps(C, C_step, n, in_n, left, STEPS)
        gates = xs
        if z is not None:
            gates = load_steps(z, z_step, e, in_e, left, STEPS)
            z += STEPS * z_step
        deltas = step_sizes(deltas, bias, left, STEPS)
        for t in tl.static_range(STEPS):
            h = after_step(h, decay_of(deltas[t], a), deltas[t], xs[t], bs[t])
            out = tl.sum(h * cs[t][:, None], axis=0) + skip * xs[t]
            if z is not None:
                out *= gates[t] * sigmoid(gates[t])
            tl.store(y + t * channels + e, out.to(y.dtype.element_ty), mask=in_e & (t < left))
        x += STEPS * x_step
        dt += STEPS * dt_step
        B += STEPS * B_step
        C += STEPS * C_step
        y += STEPS * channels
    tl.store(last + row * channels * N + of_channel, h, mask=in_tile)
