"""One event of B sequences: single-step scan, state update and gate in one pass."""

import triton
import triton.language as tl
from torch import Tensor

from chartscan.kernels.gpu import tiles
from chartscan.kernels.gpu.inputs import ScanInputs
from chartscan.kernels.gpu.pieces import LOG2_E, sigmoid, softplus
from chartscan.kernels.gpu.tiles import launch


def step(inputs: ScanInputs) -> tuple[Tensor, Tensor]:
    """Return y (B, 1, E) and the next state (B, E, N), for L = 1 without lengths."""
    if inputs.steps != 1 or inputs.lengths is not None:
        raise ValueError(f"expected one step without lengths, found {inputs.steps} steps")
    x, A = inputs.x, inputs.A
    y, last = x.new_empty(x.shape), A.new_empty(inputs.batch, *A.shape)
    channels = tiles.step_channels(inputs.states)
    left_out = [f"{name}_step" for name in ("x", "dt", "B", "C", "z")] + ["lengths", "steps"]
    launch(
        _kernel,
        (inputs.batch, tiles.count(inputs.channels, channels)),
        x.device,
        warps=tiles.STEP_WARPS,
        **{name: value for name, value in inputs.arguments().items() if name not in left_out},
        y=y,
        last=last,
        N=inputs.states,
        TILE_N=tiles.padded(inputs.states),
        TILE_E=channels,
    )
    return y, last


@triton.jit
def _kernel(
    x,
    x_row,
    dt,
    dt_row,
    B,
    B_row,
    C,
    C_row,
    z,
    z_row,
    A,
    D,
    dt_bias,
    state,
    channels,
    y,
    last,
    N: tl.constexpr,
    TILE_N: tl.constexpr,
    TILE_E: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    e = tl.program_id(1) * TILE_E + tl.arange(0, TILE_E)
    n = tl.arange(0, TILE_N)
    in_e, in_n = e < channels, n < N
    in_tile = in_e[:, None] & in_n[None, :]
    of_channel = e[:, None] * N + n[None, :]  # in (E, N); lanes run along states here, as memory does
    a = tl.load(A + of_channel, mask=in_tile, other=0.0)
    value = tl.load(x + row * x_row + e, mask=in_e, other=0.0).to(tl.float32)
    delta = tl.load(dt + row * dt_row + e, mask=in_e, other=0.0).to(tl.float32)
    b = tl.load(B + row * B_row + n, mask=in_n, other=0.0).to(tl.float32)
    c = tl.load(C + row * C_row + n, mask=in_n, other=0.0).to(tl.float32)
    if dt_bias is not None:
        delta += tl.load(dt_bias + e, mask=in_e, other=0.0)
    delta = softplus(delta)
    h = (delta * value)[:, None] * b[None, :]
    if state is not None:
        before = tl.load(state + row * channels * N + of_channel, mask=in_tile, other=0.0)
        h += tl.exp2((delta * LOG2_E)[:, None] * a) * before
    out = tl.sum(h * c[None, :], axis=1)
    if D is not None:
        out += tl.load(D + e, mask=in_e, other=0.0) * value
    if z is not None:
        gate = tl.load(z + row * z_row + e, mask=in_e, other=0.0).to(tl.float32)
        out *= gate * sigmoid(gate)
    tl.store(y + row * channels + e, out.to(y.dtype.element_ty), mask=in_e)
    tl.store(last + row * channels * N + of_channel, h, mask=in_tile)
