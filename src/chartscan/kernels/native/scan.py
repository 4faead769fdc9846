"""The native selective scan as a PyTorch operator: real, fake (shapes only) and backward.

`chartscan::selective_scan` returns what users see and, as a fourth result, the states that its backward pass
starts from, one every 32 steps. Everything is checked before a pointer is read.
"""

from typing import Any

import torch
from torch import Tensor

from chartscan.kernels import arguments
from chartscan.kernels.arguments import SortedReads, check_reads, pointer, sorted_reads, strided
from chartscan.kernels.native.library import library

CHECKPOINT_STEPS, CHECKPOINT_CHANNELS = 32, 16  # as in src/arguments.h


class ScanTensors:
    """The checked inputs of a scan, alive for as long as their pointers are used."""

    def __init__(
        self,
        x: Tensor,
        dt: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None,
        z: Tensor | None,
        dt_bias: Tensor | None,
        state: Tensor | None,
        lengths: Tensor | None,
        rows: Tensor | None,
        positions: Tensor | None,
    ):
        batch, steps, channels = x.shape
        states, kind = A.shape[-1], x.dtype
        arguments.check_type(x)
        wide, narrow = (batch, steps, channels), (batch, steps, states)
        self.x = arguments.sequence("x", x, wide, kind)
        self.dt = arguments.sequence("dt", dt, wide, kind)
        self.B = arguments.sequence("B", B, narrow, kind)
        self.C = arguments.sequence("C", C, narrow, kind)
        self.z = None if z is None else arguments.sequence("z", z, wide, kind)
        self.A = arguments.plain("A", A, (channels, states))
        self.D = arguments.optional("D", D, (channels,))
        self.dt_bias = arguments.optional("dt_bias", dt_bias, (channels,))
        self.state = arguments.optional("state", state, (batch, channels, states))
        self.lengths = arguments.lengths(lengths, batch, steps)
        self.reads: SortedReads | None = None
        if rows is not None and positions is not None and len(rows):
            check_reads(rows, positions, self.lengths, batch, steps)
            self.reads = sorted_reads(rows, positions, batch, steps)

    def pointers(self) -> tuple[int, ...]:
        """struct ScanInputs."""
        wide = (self.x, self.dt, self.B, self.C, self.z)
        return (
            arguments.TYPES[self.x.dtype],
            *self.x.shape,
            self.A.shape[1],
            *(number for tensor in wide for number in strided(tensor)),
            *(pointer(tensor) for tensor in (self.A, self.D, self.dt_bias, self.state, self.lengths)),
            *(self.reads.pointers() if self.reads else arguments.ABSENT),
            torch.get_num_threads(),
        )


def forward(tensors: ScanTensors, keep: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y, last state, states read, and where `keep` the states for the backward pass."""
    x, A = tensors.x, tensors.A
    y = torch.empty(x.shape, dtype=x.dtype)
    last = A.new_empty(x.shape[0], *A.shape)
    states = A.new_empty(len(tensors.reads.places) if tensors.reads else 0, *A.shape)
    checkpoints = A.new_empty(checkpoint_shape(x, A) if keep else (0,))
    library().scan_forward(
        (*tensors.pointers(), *strided(y), pointer(last), pointer(states), pointer(checkpoints))
    )
    return y, last, states, checkpoints


class ScanGradients:
    """Gradients of a scan; `dB`, `dC`, `dz` may be given slices to write to."""

    def __init__(
        self,
        tensors: ScanTensors,
        dB: Tensor | None = None,
        dC: Tensor | None = None,
        dz: Tensor | None = None,
    ):
        self.dx, self.ddt, self.dA = _like(tensors.x), _like(tensors.dt), _like(tensors.A)
        self.dB = _like(tensors.B) if dB is None else dB
        self.dC = _like(tensors.C) if dC is None else dC
        self.dz = _like_optional(tensors.z) if dz is None else dz
        self.dD, self.ddt_bias = _like_optional(tensors.D), _like_optional(tensors.dt_bias)
        self.dstate = _like_optional(tensors.state)

    def pointers(self) -> tuple[int, ...]:
        """The results in struct ScanBackward."""
        wide = (self.dx, self.ddt, self.dB, self.dC, self.dz)
        return (
            *(number for tensor in wide for number in strided(tensor)),
            *(pointer(tensor) for tensor in (self.dA, self.dD, self.ddt_bias, self.dstate)),
        )


def _like(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype)


def _like_optional(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else _like(tensor)


def backward(
    tensors: ScanTensors,
    gradients: ScanGradients,
    checkpoints: Tensor,
    dy: Tensor | None,
    dlast: Tensor | None,
    dstates: Tensor | None,
) -> None:
    """Fills `gradients`."""
    x, A = tensors.x, tensors.A
    if checkpoints.shape != checkpoint_shape(x, A):
        raise RuntimeError("the scan was not asked to keep what its gradient needs (keep=True)")
    dy = (
        torch.zeros(x.shape, dtype=x.dtype)
        if dy is None
        else arguments.sequence("dy", dy, tuple(x.shape), x.dtype)
    )
    dlast = arguments.optional("dlast", dlast, (x.shape[0], *A.shape))
    count = len(tensors.reads.places) if tensors.reads else 0
    dstates = arguments.optional("dstates", dstates, (count, *A.shape)) if count else None
    library().scan_backward(
        (
            *tensors.pointers(),
            pointer(checkpoints),
            *strided(dy),
            pointer(dlast),
            pointer(dstates),
            *gradients.pointers(),
        )
    )


def checkpoint_shape(x: Tensor, A: Tensor) -> tuple[int, ...]:
    """The layout inside is the kernels' own."""
    stretches = -(-x.shape[1] // CHECKPOINT_STEPS)
    channels = -(-A.shape[0] // CHECKPOINT_CHANNELS) * CHECKPOINT_CHANNELS
    return x.shape[0], stretches, channels, A.shape[1]


@torch.library.custom_op("chartscan::selective_scan", mutates_args=(), device_types="cpu")
def selective_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    state: Tensor | None,
    lengths: Tensor | None,
    rows: Tensor | None,
    positions: Tensor | None,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y (B, L, E), last state (B, E, N), states read (R, E, N); if `keep`, states for the backward pass."""
    return forward(ScanTensors(x, dt, A, B, C, D, z, dt_bias, state, lengths, rows, positions), keep)


@selective_scan.register_fake
def _shapes(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    state: Tensor | None,
    lengths: Tensor | None,
    rows: Tensor | None,
    positions: Tensor | None,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    count = 0 if rows is None else rows.shape[0]
    return (
        x.new_empty(x.shape),
        A.new_empty(x.shape[0], *A.shape),
        A.new_empty(count, *A.shape),
        A.new_empty(checkpoint_shape(x, A) if keep else (0,)),
    )


@torch.library.custom_op("chartscan::selective_scan_backward", mutates_args=(), device_types="cpu")
def selective_scan_backward(
    dy: Tensor | None,
    dlast: Tensor | None,
    dstates: Tensor | None,
    checkpoints: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    state: Tensor | None,
    lengths: Tensor | None,
    rows: Tensor | None,
    positions: Tensor | None,
) -> list[Tensor]:
    """Gradients of the inputs that are there, in their order."""
    tensors = ScanTensors(x, dt, A, B, C, D, z, dt_bias, state, lengths, rows, positions)
    g = ScanGradients(tensors)
    backward(tensors, g, checkpoints, dy, dlast, dstates)
    found = (g.dx, g.ddt, g.dA, g.dB, g.dC, g.dD, g.dz, g.ddt_bias, g.dstate)
    return [gradient for gradient in found if gradient is not None]


@selective_scan_backward.register_fake
def _gradient_shapes(
    dy: Tensor | None,
    dlast: Tensor | None,
    dstates: Tensor | None,
    checkpoints: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    state: Tensor | None,
    lengths: Tensor | None,
    rows: Tensor | None,
    positions: Tensor | None,
) -> list[Tensor]:
    inputs = (x, dt, A, B, C, D, z, dt_bias, state)
    return [tensor.new_empty(tensor.shape) for tensor in inputs if tensor is not None]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[3])
    ctx.save_for_backward(output[3], *inputs[:-1])


def _differentiate(
    ctx: Any, dy: Tensor | None, dlast: Tensor | None, dstates: Tensor | None, _: Tensor | None
) -> tuple[Tensor | None, ...]:
    checkpoints, *inputs = ctx.saved_tensors
    found = iter(selective_scan_backward(dy, dlast, dstates, checkpoints, *inputs))
    gradients = [None if tensor is None else next(found) for tensor in inputs[:9]]
    return (*gradients, None, None, None, None)


selective_scan.register_autograd(_differentiate, setup_context=_remember)
