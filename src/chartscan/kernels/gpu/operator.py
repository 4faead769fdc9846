"""The Triton scan as a PyTorch operator, `chartscan::gpu_scan`: real, fake (shapes only) and backward.

It returns what users see and, as a fourth result, the states that its backward pass starts from. Kernels are
imported when an operator runs, and Triton with them.
"""

from typing import Any

import torch
from torch import Tensor

from chartscan.kernels.arguments import check_reads, plain, sequence, sorted_reads
from chartscan.kernels.gpu.inputs import checked, checkpoint_shape


@torch.library.custom_op("chartscan::gpu_scan", mutates_args=())
def gpu_scan(
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
    """y (B, L, E), last state (B, E, N), states read (R, E, N), and what the gradient needs if `keep`."""
    from chartscan.kernels.gpu.forward import forward
    from chartscan.kernels.gpu.read_states import read_states
    from chartscan.kernels.gpu.step import step

    inputs = checked(x, dt, A, B, C, D, z, dt_bias, state, lengths)
    none = A.new_empty(0)
    if rows is None or positions is None:
        if inputs.steps == 1 and lengths is None and not keep:
            return *step(inputs), A.new_empty(0, *A.shape), none
        y, last, checkpoints = forward(inputs, keep)
        return y, last, A.new_empty(0, *A.shape), checkpoints
    check_reads(rows, positions, inputs.lengths, inputs.batch, inputs.steps)
    y, last, checkpoints = forward(inputs, keep=True)
    states = read_states(inputs, checkpoints, rows.long(), positions.long())
    return y, last, states, checkpoints if keep else none


@gpu_scan.register_fake
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
    return (
        x.new_empty(x.shape),
        A.new_empty(x.shape[0], *A.shape),
        A.new_empty(0 if rows is None else rows.shape[0], *A.shape),
        A.new_empty(checkpoint_shape(x, A) if keep else (0,)),
    )


@torch.library.custom_op("chartscan::gpu_scan_backward", mutates_args=())
def gpu_scan_backward(
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
    from chartscan.kernels.gpu.backward import backward

    inputs = checked(x, dt, A, B, C, D, z, dt_bias, state, lengths)
    if checkpoints.shape != inputs.checkpoint_shape():
        raise RuntimeError("the scan was not asked to keep what its gradient needs (keep=True)")
    dy = torch.zeros_like(x) if dy is None else sequence("dy", dy, tuple(x.shape), x.dtype, x.device)
    dlast = None if dlast is None else plain("dlast", dlast, (inputs.batch, *A.shape), device=x.device)
    reads = None
    if dstates is None or rows is None or positions is None or len(rows) == 0:
        dstates = None
    else:
        dstates = plain("dstates", dstates, (len(rows), *A.shape), device=x.device)
        reads = sorted_reads(rows, positions, inputs.batch, inputs.steps)
    found = backward(inputs, checkpoints, dy, dlast, dstates, reads)
    return [gradient for gradient in found if gradient is not None]


@gpu_scan_backward.register_fake
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
    found = iter(gpu_scan_backward(dy, dlast, dstates, checkpoints, *inputs))
    gradients = [None if tensor is None else next(found) for tensor in inputs[:9]]
    return (*gradients, None, None, None, None)


gpu_scan.register_autograd(_differentiate, setup_context=_remember)
