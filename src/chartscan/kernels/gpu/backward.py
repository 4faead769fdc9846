"""The scan's gradients: one program per row and tile, from last step to first.

States are computed again, from those that `forward` kept every 32 steps: once to know every second state,
then 2 steps at a time, whose states and decays stay in registers. Sums over channels (dB, dC) leave as one
share for each tile of channels, sums over rows (dA, dD, ddt_bias) as one for each row; they are
added in order.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from chartscan.kernels.arguments import SortedReads
from chartscan.kernels.gpu import tiles
from chartscan.kernels.gpu.add_partials import add_partials
from chartscan.kernels.gpu.inputs import ScanInputs
from chartscan.kernels.gpu.pieces import after_step, decay_of, load_steps, sigmoid, step_sizes, steps_of
from chartscan.kernels.gpu.tiles import launch


class ScanGradients(NamedTuple):
    """By the inputs of the same name; None where there was no input."""

    dx: Tensor
    ddt: Tensor
    dA: Tensor
    dB: Tensor
    dC: Tensor
    dD: Tensor | None
    dz: Tensor | None
    ddt_bias: Tensor | None
    dstate: Tensor | None


def backward(
    inputs: ScanInputs,
    checkpoints: Tensor,
    dy: Tensor,
    dlast: Tensor | None,
    dstates: Tensor | None,
    reads: SortedReads | None,
) -> ScanGradients:
    """From the gradients by y (B, L, E), the last state (B, E, N) and the states read (R, E, N)."""
    x, A, batch = inputs.x, inputs.A, inputs.batch
    channels = tiles.backward_channels(inputs.states)
    tile_count, tile_n = tiles.count(inputs.channels, channels), tiles.padded(inputs.states)
    blocks = tiles.CHECKPOINT_STEPS // tiles.BACKWARD_STEPS
    dx, ddt = inputs.unwritten(x.shape, x.dtype), inputs.unwritten(x.shape, x.dtype)
    dz = None if inputs.z is None else inputs.unwritten(x.shape, x.dtype)
    dB, dC = (inputs.unwritten((tile_count, *inputs.B.shape), torch.float32) for _ in range(2))
    dA = A.new_empty(batch, *A.shape)
    dD = None if inputs.D is None else A.new_empty(batch, len(A))
    ddt_bias = None if inputs.dt_bias is None else A.new_empty(batch, len(A))
    dstate = None if inputs.state is None else torch.empty_like(inputs.state)
    launch(
        _kernel,
        (batch, tile_count),
        x.device,
        **inputs.arguments(),
        checkpoints=checkpoints,
        block_states=A.new_empty(batch, tile_count, blocks, channels, tile_n),
        dy=dy,
        dy_row=dy.stride(0),
        dy_step=dy.stride(1),
        dlast=dlast,
        dstates=dstates,
        read_offsets=None if reads is None else reads.offsets,
        read_positions=None if reads is None else reads.positions,
        read_places=None if reads is None else reads.places,
        dx=dx,
        ddt=ddt,
        dz=dz,
        dB=dB,
        dC=dC,
        dA=dA,
        dD=dD,
        ddt_bias=ddt_bias,
        dstate=dstate,
        N=inputs.states,
        TILE_N=tile_n,
        TILE_E=channels,
        STEPS=tiles.BACKWARD_STEPS,
        AHEAD=tiles.RECOMPUTED_STEPS,
        KEEP=tiles.CHECKPOINT_STEPS,
    )
    return ScanGradients(
        dx,
        ddt,
        add_partials(dA, torch.float32),
        add_partials(dB, x.dtype),
        add_partials(dC, x.dtype),
        None if dD is None else add_partials(dD, torch.float32),
        dz,
        None if ddt_bias is None else add_partials(ddt_bias, torch.float32),
        dstate,
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
    checkpoints,
    block_states,
    dy,
    dy_row,
    dy_step,
    dlast,
    dstates,
    read_offsets,
    read_positions,
    read_places,
    dx,
    ddt,
    dz,
    dB,
    dC,
    dA,
    dD,
    ddt_bias,
    dstate,
    N: tl.constexpr,
    TILE_N: tl.constexpr,
    TILE_E: tl.constexpr,
    STEPS: tl.constexpr,
    AHEAD: tl.constexpr,
    KEEP: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    tile = tl.program_id(1)
    e = tile * TILE_E + tl.arange(0, TILE_E)
    n = tl.arange(0, TILE_N)
    in_e, in_n = e < channels, n < N
    in_tile = in_n[:, None] & in_e[None, :]
    of_channel = e[None, :] * N + n[:, None]  # in (E, N)
    in_block = tl.arange(0, TILE_E)[None, :] * TILE_N + n[:, None]
    a = tl.load(A + of_channel, mask=in_tile, other=0.0)
    bias = tl.zeros([TILE_E], tl.float32)
    if dt_bias is not None:
        bias = tl.load(dt_bias + e, mask=in_e, other=0.0)
    skip = tl.zeros([TILE_E], tl.float32)
    if D is not None:
        skip = tl.load(D + e, mask=in_e, other=0.0)
    own_state = row * channels * N + of_channel  # in (B, E, N)
    g = tl.zeros([TILE_N, TILE_E], tl.float32)  # gradient by the state after the step at hand
    if dlast is not None:
        g = tl.load(dlast + own_state, mask=in_tile, other=0.0)
    sum_a = tl.zeros([TILE_N, TILE_E], tl.float32)
    sum_bias = tl.zeros([TILE_E], tl.float32)
    sum_skip = tl.zeros([TILE_E], tl.float32)
    first_read, read, read_position = 0, 0, -1
    if dstates is not None:
        first_read = tl.load(read_offsets + row)
        read = tl.load(read_offsets + row + 1) - 1
        read_position = tl.load(read_positions + read, mask=read >= first_read, other=-1)
    x += row * x_row
    dt += row * dt_row
    B += row * B_row
    C += row * C_row
    dy += row * dy_row
    dx += row * steps * channels
    ddt += row * steps * channels
    if z is not None:
        z += row * z_row
        dz += row * steps * channels
    share = (tile * tl.num_programs(0) + row) * steps * N  # of dB and dC
    checkpoints += row * tl.cdiv(steps, KEEP) * N * channels
    block_states += (row * tl.num_programs(1) + tile) * (KEEP // STEPS) * TILE_N * TILE_E
    length = steps_of(lengths, row, steps)
    chunks = tl.cdiv(length, KEEP)
    for chunks_behind in range(0, chunks):
        chunk = (chunks - 1 - chunks_behind).to(tl.int64)
        blocks = tl.cdiv(tl.minimum(length - chunk * KEEP, KEEP), STEPS)
        h = tl.load(checkpoints + chunk * channels * N + of_channel, mask=in_tile, other=0.0)
        for ahead in range(0, tl.cdiv(blocks * STEPS, AHEAD)):
            start = chunk * KEEP + ahead * AHEAD
            left = length - start
            xs = load_steps(x + start * x_step, x_step, e, in_e, left, AHEAD)
            raw = load_steps(dt + start * dt_step, dt_step, e, in_e, left, AHEAD)
            bs = load_steps(B + start * B_step, B_step, n, in_n, left, AHEAD)
            deltas = step_sizes(raw, bias, left, AHEAD)
            for t in tl.static_range(AHEAD):
                if t % STEPS == 0:
                    block = (ahead * AHEAD + t) // STEPS
                    tl.store(block_states + block * TILE_N * TILE_E + in_block, h)
                h = after_step(h, decay_of(deltas[t], a), deltas[t], xs[t], bs[t])
        tl.debug_barrier()
        for blocks_behind in range(0, blocks):
            block = blocks - 1 - blocks_behind
            start = chunk * KEEP + block * STEPS
            left = length - start
            xs = load_steps(x + start * x_step, x_step, e, in_e, left, STEPS)
            raw = load_steps(dt + start * dt_step, dt_step, e, in_e, left, STEPS)
            bs = load_steps(B + start * B_step, B_step, n, in_n, left, STEPS)
            cs = load_steps(C + start * C_step, C_step, n, in_n, left, STEPS)
            dys = load_steps(dy + start * dy_step, dy_step, e, in_e, left, STEPS)
            zs = xs
            if z is not None:
                zs = load_steps(z + start * z_step, z_step, e, in_e, left, STEPS)
            deltas = step_sizes(raw, bias, left, STEPS)
            hs = (tl.load(block_states + block * TILE_N * TILE_E + in_block),)
            decays = ()
            for t in tl.static_range(STEPS):
                decays = decays + (decay_of(deltas[t], a),)
                hs = hs + (after_step(hs[t], decays[t], deltas[t], xs[t], bs[t]),)
            for t in tl.static_range(STEPS - 1, -1, -1):
                if dstates is not None:
                    while read_position == start + t:
                        place = tl.load(read_places + read)
                        g += tl.load(dstates + place * channels * N + of_channel, mask=in_tile, other=0.0)
                        read -= 1
                        read_position = tl.load(read_positions + read, mask=read >= first_read, other=-1)
                inside = t < left
                at = (start + t) * channels + e  # in (L, E)
                dout = dys[t]
                if z is not None:
                    out = tl.sum(hs[t + 1] * cs[t][:, None], axis=0) + skip * xs[t]
                    gate = sigmoid(zs[t])
                    dgate = dout * out * gate * (1.0 + zs[t] * (1.0 - gate))
                    tl.store(dz + at, dgate.to(dz.dtype.element_ty), mask=in_e & inside)
                    dout *= zs[t] * gate
                g += dout[None, :] * cs[t][:, None]
                at_n = share + (start + t) * N + n  # in (tiles, B, L, N)
                tl.store(dC + at_n, tl.sum(hs[t + 1] * dout[None, :], axis=1), mask=in_n & inside)
                tl.store(dB + at_n, tl.sum(g * (deltas[t] * xs[t])[None, :], axis=1), mask=in_n & inside)
                dinput = tl.sum(g * bs[t][:, None], axis=0)  # gradient by delta x
                g *= decays[t]  # now by the state before the step
                dexponent = g * hs[t]  # gradient by delta A
                sum_a += dexponent * deltas[t][None, :]
                ddelta = tl.sum(dexponent * a, axis=0) + dinput * xs[t]
                draw = tl.where(inside, ddelta * sigmoid(raw[t] + bias), 0.0)
                sum_bias += draw
                sum_skip += dout * xs[t]
                tl.store(ddt + at, draw.to(ddt.dtype.element_ty), mask=in_e & inside)
                dvalue = dinput * deltas[t] + skip * dout
                tl.store(dx + at, dvalue.to(dx.dtype.element_ty), mask=in_e & inside)
        tl.debug_barrier()
    tl.store(dA + own_state, sum_a, mask=in_tile)
    if dD is not None:
        tl.store(dD + row * channels + e, sum_skip, mask=in_e)
    if ddt_bias is not None:
        tl.store(ddt_bias + row * channels + e, sum_bias, mask=in_e)
    if dstate is not None:
        tl.store(dstate + own_state, g, mask=in_tile)
