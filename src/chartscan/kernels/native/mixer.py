"""The native causal convolution and mixer as PyTorch operators: real, fake (shapes only) and backward.

The mixer is convolution, the maps to step size, B and C, and scan in one operator over the joint input. So
the gradient by that input (B, L, 2E) is written once, in place: its first half by the convolution, its second
by the gate. As two slices it would cost two zero-filled tensors and an addition.
"""

from typing import Any

import torch
from torch import Tensor

from chartscan.kernels import arguments
from chartscan.kernels.arguments import pointer, strided
from chartscan.kernels.native import scan
from chartscan.kernels.native.library import library
from chartscan.kernels.native.scan import ScanGradients, ScanTensors, checkpoint_shape
from chartscan.kernels.products import by_input, by_weight, linear


class ConvTensors:
    """The checked inputs of a convolution, alive for as long as their pointers are used."""

    def __init__(self, x: Tensor, weight: Tensor, bias: Tensor, window: Tensor | None, silu: bool):
        arguments.check_type(x)
        batch, _, channels = x.shape
        taps = weight.shape[-1]
        self.x = arguments.sequence("x", x, tuple(x.shape), x.dtype)
        self.weight = arguments.plain("weight", weight, (channels, taps))
        self.bias = arguments.plain("bias", bias, (channels,))
        self.window = arguments.optional("window", window, (batch, taps - 1, channels))
        self.silu = silu

    def pointers(self) -> tuple[int, ...]:
        """struct ConvInputs."""
        return (
            arguments.TYPES[self.x.dtype],
            *self.x.shape,
            self.weight.shape[1],
            *strided(self.x),
            *(pointer(tensor) for tensor in (self.weight, self.bias, self.window)),
            int(self.silu),
            torch.get_num_threads(),
        )


class ConvGradients:
    """Gradients of a convolution; `dx` may be a given slice to write to."""

    def __init__(self, tensors: ConvTensors, dx: Tensor | None = None):
        x = tensors.x
        self.dx = torch.empty(x.shape, dtype=x.dtype) if dx is None else dx
        self.dweight, self.dbias = torch.empty_like(tensors.weight), torch.empty_like(tensors.bias)
        self.dwindow = None if tensors.window is None else torch.empty_like(tensors.window)

    def pointers(self) -> tuple[int, ...]:
        """The results in struct ConvBackward."""
        plain = (self.dweight, self.dbias, self.dwindow)
        return (*strided(self.dx), *(pointer(tensor) for tensor in plain))


def conv_forward(tensors: ConvTensors) -> Tensor:
    """y (B, L, E) in the type of x."""
    y = torch.empty(tensors.x.shape, dtype=tensors.x.dtype)
    library().conv_forward((*tensors.pointers(), *strided(y)))
    return y


def conv_backward(tensors: ConvTensors, gradients: ConvGradients, dy: Tensor) -> None:
    """Fills `gradients`."""
    dy = arguments.sequence("dy", dy, tuple(tensors.x.shape), tensors.x.dtype)
    library().conv_backward((*tensors.pointers(), *strided(dy), *gradients.pointers()))


@torch.library.custom_op("chartscan::causal_conv", mutates_args=(), device_types="cpu")
def causal_conv(x: Tensor, weight: Tensor, bias: Tensor, window: Tensor | None, silu: bool) -> Tensor:
    """y (B, L, E): see `chartscan.kernels.mixer`."""
    return conv_forward(ConvTensors(x, weight, bias, window, silu))


@causal_conv.register_fake
def _conv_shape(x: Tensor, weight: Tensor, bias: Tensor, window: Tensor | None, silu: bool) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.custom_op("chartscan::causal_conv_backward", mutates_args=(), device_types="cpu")
def causal_conv_backward(
    dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor, window: Tensor | None, silu: bool
) -> list[Tensor]:
    """Gradients by x, weight, bias and, where it is there, window."""
    tensors = ConvTensors(x, weight, bias, window, silu)
    g = ConvGradients(tensors)
    conv_backward(tensors, g, dy)
    return [gradient for gradient in (g.dx, g.dweight, g.dbias, g.dwindow) if gradient is not None]


@causal_conv_backward.register_fake
def _conv_gradient_shapes(
    dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor, window: Tensor | None, silu: bool
) -> list[Tensor]:
    return [t.new_empty(t.shape) for t in (x, weight, bias, window) if t is not None]


def _conv_remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.silu = inputs[4]


def _conv_differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    inputs = ctx.saved_tensors
    found = iter(causal_conv_backward(dy, *inputs, ctx.silu))
    return (*(None if tensor is None else next(found) for tensor in inputs), None)


causal_conv.register_autograd(_conv_differentiate, setup_context=_conv_remember)


@torch.library.custom_op("chartscan::mixer", mutates_args=(), device_types="cpu")
@torch.autocast("cpu", enabled=False)  # which would choose the types of the products
def mixer(
    xz: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor,
    x_proj: Tensor,
    dt_proj: Tensor,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    window: Tensor | None,
    state: Tensor | None,
    lengths: Tensor | None,
    rows: Tensor | None,
    positions: Tensor | None,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """y, last state, states read; then for the backward pass: convolved, projected, dt, kept states."""
    x, z = xz.chunk(2, dim=2)
    convolved = conv_forward(ConvTensors(x, conv_weight, conv_bias, window, True))
    projected = linear(convolved, x_proj.to(xz.dtype))  # (B, L, rank + 2N)
    low, B, C = _split(projected, dt_proj, A)
    dt = linear(low, dt_proj.to(xz.dtype))
    tensors = ScanTensors(convolved, dt, A, B, C, D, z, dt_bias, state, lengths, rows, positions)
    y, last, states, checkpoints = scan.forward(tensors, keep)
    if not keep:
        convolved, projected, dt = (xz.new_empty(0) for _ in range(3))
    return y, last, states, convolved, projected, dt, checkpoints


@mixer.register_fake
def _shapes(
    xz: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor,
    x_proj: Tensor,
    dt_proj: Tensor,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    window: Tensor | None,
    state: Tensor | None,
    lengths: Tensor | None,
    rows: Tensor | None,
    positions: Tensor | None,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    batch, steps, joint = xz.shape
    wide = (batch, steps, joint // 2)
    y = xz.new_empty(wide)
    return (
        y,
        A.new_empty(batch, *A.shape),
        A.new_empty(0 if rows is None else rows.shape[0], *A.shape),
        xz.new_empty(wide if keep else (0,)),
        xz.new_empty((batch, steps, x_proj.shape[0]) if keep else (0,)),
        xz.new_empty(wide if keep else (0,)),
        A.new_empty(checkpoint_shape(y, A) if keep else (0,)),
    )


@torch.library.custom_op("chartscan::mixer_backward", mutates_args=(), device_types="cpu")
@torch.autocast("cpu", enabled=False)
def mixer_backward(
    dy: Tensor | None,
    dlast: Tensor | None,
    dstates: Tensor | None,
    convolved: Tensor,
    projected: Tensor,
    dt: Tensor,
    checkpoints: Tensor,
    xz: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor,
    x_proj: Tensor,
    dt_proj: Tensor,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    window: Tensor | None,
    state: Tensor | None,
    lengths: Tensor | None,
    rows: Tensor | None,
    positions: Tensor | None,
) -> list[Tensor]:
    """Gradients of the inputs that are there, in their order."""
    x, z = xz.chunk(2, dim=2)
    low, B, C = _split(projected, dt_proj, A)
    tensors = ScanTensors(convolved, dt, A, B, C, D, z, dt_bias, state, lengths, rows, positions)
    dxz, dprojected = torch.empty(xz.shape, dtype=xz.dtype), torch.empty_like(projected)
    dlow, dB, dC = _split(dprojected, dt_proj, A)
    dx, dz = dxz.chunk(2, dim=2)
    g = ScanGradients(tensors, dz=dz, dB=dB, dC=dC)
    scan.backward(tensors, g, checkpoints, dy, dlast, dstates)
    dlow.copy_(by_input(g.ddt, dt_proj.to(xz.dtype)))
    ddt_proj = by_weight(g.ddt, low).to(dt_proj.dtype).contiguous()
    dconvolved = g.dx.add_(by_input(dprojected, x_proj.to(xz.dtype)))
    dx_proj = by_weight(dprojected, convolved).to(x_proj.dtype).contiguous()
    conv_tensors = ConvTensors(x, conv_weight, conv_bias, window, True)
    c = ConvGradients(conv_tensors, dx=dx)
    conv_backward(conv_tensors, c, dconvolved)
    found = (dxz, c.dweight, c.dbias, dx_proj, ddt_proj, g.ddt_bias, g.dA, g.dD, c.dwindow, g.dstate)
    return [gradient for gradient in found if gradient is not None]


@mixer_backward.register_fake
def _gradient_shapes(
    dy: Tensor | None,
    dlast: Tensor | None,
    dstates: Tensor | None,
    convolved: Tensor,
    projected: Tensor,
    dt: Tensor,
    checkpoints: Tensor,
    xz: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor,
    x_proj: Tensor,
    dt_proj: Tensor,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    window: Tensor | None,
    state: Tensor | None,
    lengths: Tensor | None,
    rows: Tensor | None,
    positions: Tensor | None,
) -> list[Tensor]:
    inputs = (xz, conv_weight, conv_bias, x_proj, dt_proj, dt_bias, A, D, window, state)
    return [tensor.new_empty(tensor.shape) for tensor in inputs if tensor is not None]


def _split(projected: Tensor, dt_proj: Tensor, A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Low-rank dt (B, L, rank), B and C (B, L, N): views."""
    low, B, C = projected.split([dt_proj.shape[1], A.shape[1], A.shape[1]], dim=2)
    return low, B, C


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    kept = output[3:]
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*kept)
    ctx.save_for_backward(*kept, *inputs[:-1])


def _differentiate(
    ctx: Any, dy: Tensor | None, dlast: Tensor | None, dstates: Tensor | None, *_: Tensor | None
) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors  # read once, or blocks could not be checkpointed
    kept, inputs = saved[:4], saved[4:]
    found = iter(mixer_backward(dy, dlast, dstates, *kept, *inputs))
    gradients = [None if tensor is None else next(found) for tensor in inputs[:10]]
    return (*gradients, None, None, None, None)


mixer.register_autograd(_differentiate, setup_context=_remember)
